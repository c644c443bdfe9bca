"""A fleet from bare to shown, and shown again: nothing is done twice, and what is there is read off the hosts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, Ended, Rehearsal

HOSTS = 24

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A fleet that was enrolled with everybody's defaults, and how that went."""

    admin: Admin
    rehearsal: Rehearsal
    ended: Ended


@pytest.fixture(scope="module")
def fleet(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Enrolled]:
    admin = new_admin()
    with raise_fleet(HOSTS) as rehearsal:
        ended = admin.run("enroll", str(rehearsal.inventory), "--yes", "-o", "json")
        yield Enrolled(admin, rehearsal, ended)


def counts(ended: Ended) -> dict[str, int]:
    """What a document counts, without what it counts none of."""
    return {result: count for result, count in ended.document["summary"].items() if count}


def test_all_hosts_are_enrolled(fleet: Enrolled) -> None:
    """In a canary and waves of a tenth, each once, with the GPUs that were promised."""
    hosts = fleet.ended.document["hosts"]
    seen = [
        (host["outcome"], host["attempts"], host["gpus"]["seen"] == host["gpus"]["expected"])
        for host in hosts
    ]
    assert (fleet.ended.exit_code, counts(fleet.ended)) == (0, {"hosts": HOSTS, "enrolled": HOSTS})
    assert seen == [("enrolled", 1, True)] * HOSTS


def test_node_ids_are_the_hosts_own(fleet: Enrolled) -> None:
    """What the region was asked about is what lies on each host."""
    client_id = "opt/nomad/data/client/client-id"
    lying = {host: (fleet.rehearsal.tree(host) / client_id).read_text() for host in fleet.rehearsal.hosts}
    assert {host["name"]: host["node_id"] for host in fleet.ended.document["hosts"]} == lying


def test_status_shows_all_of_them_ready(fleet: Enrolled) -> None:
    """The catalog refreshed from the region, without the inventory."""
    status = fleet.admin.run("status", "-o", "json")
    assert (status.exit_code, status.document["summary"]["ready"], len(status.document["nodes"])) == (
        0,
        HOSTS,
        HOSTS,
    )


def test_verify_asks_the_region_alone(fleet: Enrolled) -> None:
    """All confirmed, and no host was asked."""
    before = fleet.rehearsal.snapshots()
    verify = fleet.admin.run("verify", str(fleet.rehearsal.inventory), "-o", "json")
    assert (verify.exit_code, verify.document["summary"]) == (
        0,
        {"hosts": HOSTS, "confirmed": HOSTS, "unconfirmed": 0},
    )
    assert fleet.rehearsal.snapshots() == before


def test_second_enrolment_touches_nothing(fleet: Enrolled) -> None:
    """Every file, its time and the agents' starts are as before."""
    before = fleet.rehearsal.snapshots()
    again = fleet.admin.enroll(fleet.rehearsal.inventory)
    assert (again.exit_code, counts(again)) == (0, {"hosts": HOSTS, "unchanged": HOSTS})
    assert fleet.rehearsal.snapshots() == before


def test_check_of_a_converged_fleet_plans_nothing(fleet: Enrolled) -> None:
    """``--check`` ends with 0 where there is nothing to do."""
    check = fleet.admin.enroll(fleet.rehearsal.inventory, "--check")
    assert (check.exit_code, counts(check)) == (0, {"hosts": HOSTS, "unchanged": HOSTS})


def test_what_changes_is_read_off_the_hosts(fleet: Enrolled) -> None:
    """With all records gone and one host's file edited, exactly that host changes, and is as it was."""
    shutil.rmtree(fleet.admin.state)
    edited = fleet.rehearsal.hosts[HOSTS // 2]
    config = fleet.rehearsal.tree(edited) / "etc/nomad.d/docker.hcl"
    right = config.read_text()
    config.write_text(right + "# an admin was here\n")
    before = fleet.rehearsal.snapshots()

    again = fleet.admin.enroll(fleet.rehearsal.inventory)

    after = fleet.rehearsal.snapshots()
    changed = {host for host, outcome in again.outcomes().items() if outcome == "enrolled"}
    assert (again.exit_code, changed) == (0, {edited})
    assert {host for host in after if after[host] != before[host]} == {edited}
    assert config.read_text() == right
