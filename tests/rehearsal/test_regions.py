"""A region that does not answer, answers from an old log, or is not the host's own: what becomes of its hosts, and of all others."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, Rehearsal


@pytest.fixture(scope="module")
def fleet(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(3) as rehearsal:
        yield rehearsal


@pytest.fixture
def admin(new_admin: NewAdmin) -> Admin:
    return new_admin()


def with_other_region(fleet: Rehearsal, host: str, api: str | None = None, name: str = "two") -> Path:
    """The inventory with a region ``us-east``, at ``api`` or at the first region's address, to which ``host`` belongs."""
    found = re.search(r"^  eu-north:\n(.*?)\n\n", fleet.inventory.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    other = f"  us-east:\n{found[1]}\n"
    if api is not None:
        other = re.sub(r"api: \[.*?\]", f"api: [{api}]", other)
    return fleet.edited(
        name, ("regions:\n", f"regions:\n{other}"), (f"name: {host},", f"name: {host}, region: us-east,")
    )


@contextlib.contextmanager
def old_log(fleet: Rehearsal) -> Iterator[None]:
    """Within the block the region answers stale reads as a server that has just restarted."""
    control = fleet.directory / "run/region-control.json"
    control.write_text(json.dumps({"old_log": True}))
    with fleet.api() as api:
        wait_until(lambda: _knows_leader(api.get("/v1/nodes?stale=true")) is False, "the log is old")
        try:
            yield
        finally:
            control.unlink()
            wait_until(lambda: _knows_leader(api.get("/v1/nodes?stale=true")), "the log is current")


def _knows_leader(answer: object) -> bool:
    return answer.headers["X-Nomad-KnownLeader"] == "true"  # type: ignore[attr-defined,no-any-return]


def test_dead_region_leaves_its_hosts_alone_and_no_others(fleet: Rehearsal, admin: Admin) -> None:
    """The other region's hosts are enrolled and verified; the dead one's are skipped, untouched, and count as 8."""
    first, second, third = fleet.hosts
    inventory = with_other_region(fleet, third, "https://127.0.0.1:1")
    before = fleet.snapshot(third)
    ended = admin.enroll(inventory)
    assert (ended.exit_code, ended.outcomes()) == (
        8,
        {first: "enrolled", second: "enrolled", third: "skipped"},
    ), ended.stderr
    error = ended.host(third)["error"]
    assert (error["code"], error["step"], "region us-east: " in error["message"]) == (
        "region_unreachable",
        "region",
        True,
    )
    assert (fleet.snapshot(third), "us-east" in ended.stderr) == (before, True)
    verified = admin.run("verify", str(inventory), "-o", "json")
    codes = {host["name"]: (host["error"] or {}).get("code") for host in verified.document["hosts"]}
    assert (verified.exit_code, codes) == (8, {first: None, second: None, third: "region_unreachable"})


def test_answer_from_an_old_log_is_no_false_alarm(fleet: Rehearsal, admin: Admin) -> None:
    """A region whose server has just restarted does not make verify and enroll take nodes for gone."""
    assert admin.enroll(fleet.inventory).exit_code == 0
    with old_log(fleet):
        verified = admin.run("verify", str(fleet.inventory), "-o", "json")
        again = admin.enroll(fleet.inventory)
    assert (verified.exit_code, verified.document["summary"]["unconfirmed"]) == (0, 0), verified.stdout
    assert (again.exit_code, set(again.outcomes().values())) == (0, {"unchanged"}), again.stderr


def test_changed_region_of_an_enrolled_host_is_refused(fleet: Rehearsal, admin: Admin) -> None:
    """Nothing is touched, and its node stays where it is."""
    assert admin.enroll(fleet.inventory).exit_code == 0
    moved = fleet.hosts[0]
    before = fleet.snapshots()
    ended = admin.enroll(with_other_region(fleet, moved, name="moved"))
    assert (ended.exit_code, ended.host(moved)["error"]["code"]) == (5, "node_of_other_region"), ended.stderr
    assert (fleet.snapshots(), fleet.is_ready(moved)) == (before, True)
