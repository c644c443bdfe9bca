"""A fleet is enrolled, shown and enrolled again: the second run changes nothing, and the state is read from the hosts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS = 12


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A fleet that was enrolled with default options, and the result."""

    admin: Admin
    rehearsal: Rehearsal
    ended: CommandResult


@pytest.fixture(scope="module")
def fleet(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Enrolled]:
    admin = new_admin()
    with raise_fleet(HOSTS) as rehearsal:
        ended = admin.run("enroll", str(rehearsal.inventory), "--yes", "-o", "json")
        yield Enrolled(admin, rehearsal, ended)


def counts(ended: CommandResult) -> dict[str, int]:
    """The document's counts that are not zero."""
    return {result: count for result, count in ended.document["summary"].items() if count}


def test_all_hosts_are_enrolled(fleet: Enrolled) -> None:
    """In a canary and waves of a tenth, each host once, with the GPUs that the inventory expects."""
    hosts = fleet.ended.document["hosts"]
    seen = [
        (host["outcome"], host["attempts"], host["gpus"]["seen"] == host["gpus"]["expected"])
        for host in hosts
    ]
    assert (fleet.ended.exit_code, counts(fleet.ended)) == (0, {"hosts": HOSTS, "enrolled": HOSTS})
    assert seen == [("enrolled", 1, True)] * HOSTS


def test_node_ids_are_the_hosts_own(fleet: Enrolled) -> None:
    """The id in the document is the client id on the host."""
    client_id = "opt/nomad/data/client/client-id"
    lying = {host: (fleet.rehearsal.tree(host) / client_id).read_text() for host in fleet.rehearsal.hosts}
    assert {host["name"]: host["node_id"] for host in fleet.ended.document["hosts"]} == lying


def test_status_shows_all_of_them_ready(fleet: Enrolled) -> None:
    """From the catalog and the region, without the inventory."""
    status = fleet.admin.run("status", "-o", "json")
    assert (status.exit_code, status.document["summary"]["ready"], len(status.document["nodes"])) == (
        0,
        HOSTS,
        HOSTS,
    )


def test_verify_asks_the_region_alone(fleet: Enrolled) -> None:
    """All nodes are confirmed, and no host is contacted."""
    before = fleet.rehearsal.snapshots()
    verify = fleet.admin.run("verify", str(fleet.rehearsal.inventory), "-o", "json")
    assert (verify.exit_code, verify.document["summary"]) == (
        0,
        {"hosts": HOSTS, "confirmed": HOSTS, "unconfirmed": 0},
    )
    assert fleet.rehearsal.snapshots() == before


def test_second_enrolment_touches_nothing(fleet: Enrolled) -> None:
    """Every file, its modification time and the number of agent starts stay the same."""
    before = fleet.rehearsal.snapshots()
    again = fleet.admin.enroll(fleet.rehearsal.inventory)
    assert (again.exit_code, counts(again)) == (0, {"hosts": HOSTS, "unchanged": HOSTS})
    assert fleet.rehearsal.snapshots() == before


def test_check_of_a_converged_fleet_plans_nothing(fleet: Enrolled) -> None:
    """``--check`` ends with 0 where there is nothing to do."""
    check = fleet.admin.enroll(fleet.rehearsal.inventory, "--check")
    assert (check.exit_code, counts(check)) == (0, {"hosts": HOSTS, "unchanged": HOSTS})


def test_changes_are_read_from_the_hosts(fleet: Enrolled) -> None:
    """Without journals and catalog, a host with an edited file is the only one that is changed, back to what it was."""
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
