"""Hosts without a region in the inventory, and two regions: where they are placed, when they stay, when there is no room."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.lab.rehearsal import lab_down, lab_up
from ionetctl.lab.site import LabSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS = 5
OPEN = ("  region: eu-north\n", "  region: auto\n")


@pytest.fixture
def admin(new_admin: NewAdmin) -> Admin:
    return new_admin()


@pytest.fixture
def us_east(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The inventory entry of a second region, whose rehearsal's hosts are not used."""
    directory = tmp_path_factory.mktemp("us-east")
    lab = lab_up(LabSpec(hosts=1, directory=directory, region="us-east"))
    with contextlib.ExitStack() as stack:
        stack.callback(lab_down, directory)
        yield described(lab.inventory, directory)


@pytest.fixture
def fleet(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(HOSTS) as rehearsal:
        yield rehearsal


def described(inventory: Path, directory: Path) -> str:
    """The inventory's entry of its region, with absolute paths."""
    found = re.search(r"^regions:\n(.*?)\n\n", inventory.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    whole = re.sub(r"(?<=: )(token|pki/[a-z-]+\.pem)", rf"{directory}/\1", found[1])
    return f"{whole}\n"


def open_site(
    fleet: Rehearsal, us_east: str, capacity: int, *more: tuple[str, str], name: str = "open"
) -> Path:
    """The fleet's inventory with both regions, the first one with this capacity, and hosts without a region."""
    limited = ("regions:\n  eu-north:\n", f"regions:\n{us_east}  eu-north:\n    capacity: {capacity}\n")
    return fleet.edited(name, limited, OPEN, *more)


def only(region: str) -> tuple[str, str]:
    """Options that allow this region only."""
    return ("  node_pool: gpu\n", f"  node_pool: gpu\n  placement: {{regions: [{region}]}}\n")


def codes_of(ended: CommandResult) -> Counter[str | None]:
    return Counter((host["error"] or {}).get("code") for host in ended.document["hosts"])


def regions_of(ended: CommandResult) -> Counter[str]:
    return Counter(host["region"] for host in ended.document["hosts"])


def error_of(ended: CommandResult) -> str:
    document: Any = ended.document
    return str(document["error"]["code"])


def test_hosts_go_where_they_may_and_stay_there(fleet: Rehearsal, us_east: str, admin: Admin) -> None:
    """Hosts stay in the region where they are enrolled, even when it is full and the other one empty."""
    first = admin.enroll(open_site(fleet, us_east, 10, only("us-east")))
    assert (first.exit_code, regions_of(first)) == (0, {"us-east": HOSTS}), first.stderr
    full = us_east.replace("us-east:\n", f"us-east:\n    capacity: {HOSTS}\n")
    fuller = open_site(fleet, full, 10_000, name="fuller")
    again = admin.enroll(fuller)
    assert (again.exit_code, set(again.outcomes().values())) == (0, {"unchanged"}), again.stderr
    assert regions_of(again) == {"us-east": HOSTS}
    verified = admin.run("verify", str(fuller), "-o", "json")
    assert (verified.exit_code, regions_of(verified)) == (0, {"us-east": HOSTS}), verified.stdout
    before = fleet.snapshots()
    moved = admin.enroll(open_site(fleet, us_east, 10, only("eu-north"), name="elsewhere"))
    assert (moved.exit_code, codes_of(moved)) == (10, {"region_left": HOSTS}), moved.stderr
    assert fleet.snapshots() == before


def test_regions_are_filled_and_none_beyond_its_capacity(
    fleet: Rehearsal, us_east: str, admin: Admin
) -> None:
    """With room for three and for one, four of five hosts are enrolled and one is unplaced."""
    small = us_east.replace("us-east:\n", "us-east:\n    capacity: 1\n")
    ended = admin.enroll(open_site(fleet, small, 3), "--max-failures=100%")
    assert (ended.exit_code, codes_of(ended)) == (5, {None: 4, "no_region": 1}), ended.stderr
    assert regions_of(ended) == {"eu-north": 3, "us-east": 1, "auto": 1}


def test_named_region_that_would_overflow_stops_everything(fleet: Rehearsal, admin: Admin) -> None:
    """Existing nodes count towards the capacity. No host is touched."""
    first = admin.enroll(fleet.inventory, "--limit", fleet.hosts[0])
    assert first.exit_code == 0, first.stderr
    gone = next(
        line for line in fleet.inventory.read_text().splitlines(True) if f"name: {fleet.hosts[0]}," in line
    )
    limited = ("regions:\n  eu-north:\n", f"regions:\n  eu-north:\n    capacity: {HOSTS - 1}\n")
    before = fleet.snapshots()
    ended = admin.enroll(fleet.edited("others", limited, (gone, "")))
    assert (ended.exit_code, error_of(ended)) == (3, "region_overfull"), ended.stdout
    assert fleet.snapshots() == before


def test_plan_says_where_hosts_go_and_why(fleet: Rehearsal, us_east: str, admin: Admin) -> None:
    """``--check`` shows the placement as text and as JSON."""
    inventory = open_site(fleet, us_east, 10, only("us-east"))
    shown = admin.run("enroll", str(inventory), "--check")
    assert (shown.exit_code, f"{HOSTS} hosts to us-east" in shown.stdout) == (9, True), shown.stderr
    told = admin.run("enroll", str(inventory), "--check", "-o", "ndjson")
    placed = [event for event in told.lines if event.get("type") == "host_placed"]
    assert [event["region"] for event in placed] == ["us-east"] * HOSTS
    assert re.match(r"us-east: \d+ ms, 0 of 10,000 nodes$", placed[0]["reasons"][0])


def test_regions_are_checked_for_the_hosts_that_may_come(
    fleet: Rehearsal, us_east: str, admin: Admin
) -> None:
    """Each region separately, in the inventory's order; hosts without a region count for both."""
    checked = admin.run("region", "check", str(open_site(fleet, us_east, 10)), "-o", "json")
    rows = {row["region"]: (row["is_fit"], row["hosts"]) for row in checked.document["regions"]}
    coming = {"named": 0, "joining": 0, "undecided": HOSTS}
    assert (checked.exit_code, rows) == (0, {"us-east": (True, coming), "eu-north": (True, coming)}), (
        checked.stderr
    )


def test_region_that_cannot_take_its_hosts_is_told(fleet: Rehearsal, admin: Admin) -> None:
    """As text with a remedy, and by the exit code; a region that does not answer is shown with the reason."""
    pool = fleet.edited("pool", ("  node_pool: gpu\n", "  node_pool: gpus\n"))
    unfit = admin.run("region", "check", str(pool))
    assert (unfit.exit_code, "block node_pool_missing" in unfit.stdout) == (8, True), unfit.stderr
    foreign = fleet.edited("foreign", ("    tls:\n", "    tls:\n      server_name: server.mars.nomad\n"))
    silent = admin.run("region", "check", str(foreign), "-o", "json")
    codes = [row["error"]["code"] for row in silent.document["regions"]]
    assert (silent.exit_code, codes) == (6, ["region_untrusted"]), silent.stderr
