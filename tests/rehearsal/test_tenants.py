"""Drivers that jobs may use, from the inventory to the host and back: what is planned, what it says, and that it converges."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.rehearsal import lab_down, lab_up
from ionetctl.lab.site import LabSpec
from tests.rehearsal.site import Rehearsal
from tests.rehearsal.test_placement import described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin

CONFIG = "etc/nomad.d/nomad.hcl"
DRIVERS = "etc/nomad.d/drivers.hcl"
SIGNERS = "etc/ionet/allowed_signers"
OWN = "  own_builds: true\n"
KEYS = tuple(
    f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGIn1Jv4Cd9E7zSVOX9zQpKbpNNSUv2fCkVSFnzvBf0{end}" for end in "wx"
)


@pytest.fixture(scope="module")
def rehearsal(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(1) as one:
        yield one


@pytest.fixture(scope="module")
def admin(new_admin: NewAdmin) -> Admin:
    return new_admin()


@pytest.fixture(scope="module")
def with_exec(rehearsal: Rehearsal) -> Path:
    return rehearsal.edited(
        "exec", ("  own_builds: true\n", "  own_builds: true\n  drivers: [docker, exec]\n")
    )


def reasons(admin: Admin, inventory: Path) -> dict[str, str]:
    """Path → why it is changed, as the plan of the only host has it."""
    ended = admin.run("enroll", str(inventory), "--check", "-o", "ndjson")
    [planned] = [event for event in ended.lines if event.get("type") == "host_planned"]
    return {change["path"]: change["reason"] for change in planned["changes"]}


def test_exec_comes_on_request_and_stays(admin: Admin, rehearsal: Rehearsal, with_exec: Path) -> None:
    """With its plugin's configuration and the script that makes its root; a second run changes nothing."""
    first = admin.enroll(with_exec)
    tree = rehearsal.tree(rehearsal.hosts[0])
    again = admin.enroll(with_exec)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert list(again.outcomes().values()) == ["unchanged"]
    assert (tree / DRIVERS).is_file()
    assert (tree / "var/lib/ionet/exec_chroot.sh").stat().st_mode & 0o777 == 0o755


def test_loss_of_a_driver_is_planned_by_name(admin: Admin, rehearsal: Rehearsal, with_exec: Path) -> None:
    """Where the inventory no longer asks for it, and where a host was enrolled when nothing was limited."""
    assert admin.enroll(with_exec).exit_code == 0
    asked = reasons(admin, rehearsal.inventory)[f"/{CONFIG}"]
    config = rehearsal.tree(rehearsal.hosts[0]) / CONFIG
    limited = config.read_text()
    lines = limited.splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "driver.allowlist" not in line))
    before = reasons(admin, rehearsal.inventory)[f"/{CONFIG}"]
    config.write_text(limited)
    assert (asked, before) == (
        "differs; jobs may no longer use exec",
        "differs; jobs may no longer use exec, java, qemu",
    )


def test_driver_is_taken_away(admin: Admin, rehearsal: Rehearsal, with_exec: Path) -> None:
    """Its configuration is moved aside, and the plan is empty then."""
    assert admin.enroll(with_exec).exit_code == 0
    assert admin.enroll(rehearsal.inventory).exit_code == 0
    tree = rehearsal.tree(rehearsal.hosts[0])
    again = admin.enroll(rehearsal.inventory)
    assert (again.exit_code, list(again.outcomes().values())) == (0, ["unchanged"])
    assert not (tree / DRIVERS).exists()
    assert '"driver.allowlist" = "docker"\n' in (tree / CONFIG).read_text()


def can_verify(tree: Path) -> None:
    """Give a host an ``ssh-keygen`` that knows of signatures."""
    program = tree / "usr/bin/ssh-keygen"
    program.write_text("#!/bin/sh\necho 'Too few arguments for verify' >&2\nexit 255\n")
    program.chmod(0o755)


def with_door(*keys: str) -> tuple[str, str]:
    """What gives an inventory a maintenance door with these signers."""
    return OWN, f"{OWN}maintenance:\n  signers: [{', '.join(keys)}]\n"


def test_a_door_is_opened_and_closed_again(admin: Admin, rehearsal: Rehearsal) -> None:
    """Refused where tenants would have exec, and no host is touched; opened, and a second run changes nothing.

    A new signer restarts no agent; taken out, its files are moved aside and nothing is left to do.
    """
    tree = rehearsal.tree(rehearsal.hosts[0])
    can_verify(tree)
    one = rehearsal.edited("door", with_door(KEYS[0]))
    two = rehearsal.edited("doors", with_door(*KEYS))
    before = rehearsal.snapshots()
    refused = admin.enroll(one)
    checked = admin.run("region", "check", str(one), "-o", "json")
    assert (refused.exit_code, refused.document["error"]["code"]) == (3, "namespace_unfenced")
    assert (checked.exit_code, "namespace_unfenced" in checked.stdout) == (8, True)
    assert rehearsal.snapshots() == before
    rehearsal.fence_region()
    codes = [admin.enroll(inventory).exit_code for inventory in (one, one)]
    files = (
        SIGNERS,
        "var/lib/ionet/maintenance.sh",
        "etc/systemd/system/ionet-maintenance.path",
    )
    opened = [(tree / file).is_file() for file in files]
    added = reasons(admin, two)
    assert admin.enroll(two).exit_code == 0
    assert admin.enroll(rehearsal.inventory).exit_code == 0
    again = admin.enroll(rehearsal.inventory)
    assert (codes, opened, set(added)) == ([0, 0], [True] * 3, {f"/{SIGNERS}"})
    assert list(again.outcomes().values()) == ["unchanged"]
    assert [(tree / file).exists() for file in files] == [False] * 3


def test_region_without_fences_keeps_no_signer_of_another_region(
    raise_fleet: RaiseFleet, admin: Admin, tmp_path: Path
) -> None:
    """Its own host is left as it is and named; on the other region's a door is opened, and a signer taken off the list."""
    with raise_fleet(2) as fleet, contextlib.ExitStack() as stack:
        lab = lab_up(LabSpec(hosts=1, directory=tmp_path, region="us-east"))
        stack.callback(lab_down, tmp_path)
        Rehearsal(tmp_path, {}).fence_region()
        left, enrolled = fleet.hosts
        trees = [fleet.tree(host) for host in (left, enrolled)]
        for tree in trees:
            can_verify(tree)
        both = ("regions:\n", f"regions:\n{described(lab.inventory, tmp_path)}")
        away = (f"name: {enrolled},", f"name: {enrolled}, region: us-east,")
        two = fleet.edited("two", both, away, with_door(*KEYS))
        one = fleet.edited("one", both, away, with_door(KEYS[1]))
        before = fleet.snapshot(left)
        opened = admin.enroll(two)
        revoked = admin.enroll(one)
        after = fleet.snapshot(left)
        heeded = (trees[1] / SIGNERS).read_text()
    for ended in (opened, revoked):
        assert (ended.exit_code, ended.outcomes()) == (8, {left: "skipped", enrolled: "enrolled"})
        assert ended.host(left)["error"]["code"] == "namespace_unfenced"
    assert after == before
    assert (KEYS[0] in heeded, KEYS[1] in heeded) == (False, True)
