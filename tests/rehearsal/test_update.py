"""Hosts changed through their region, without SSH: planned, carried by a signed word, carried out by the host's own script, and confirmed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.lab.release_mirror import write_releases
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS: Final = 3
NEWER: Final = "2.0.6"
FENCED: Final[dict[str, list[str] | None]] = {"default": ["docker"], "ionet-maintenance": ["exec"]}
JOB: Final = {
    "ID": "ionet-door",
    "Namespace": "ionet-maintenance",
    "Type": "system",
    "NodePool": "all",
    "TaskGroups": [{"Name": "door", "Count": 1, "Tasks": [{"Name": "door", "Driver": "exec"}]}],
}


class Site:
    """Hosts that were enrolled with a door, in a fenced region whose door's job runs."""

    def __init__(self, rehearsal: Rehearsal, admin: Admin, key: Path) -> None:
        self.rehearsal = rehearsal
        self.admin = admin
        self.key = key

    def inventory(self, power: str, *replacements: tuple[str, str]) -> Path:
        """The inventory with that value in the hosts' meta."""
        signer = self.key.with_suffix(".pub").read_text().strip()
        door = f'  own_builds: true\nmaintenance:\n  signers: ["{signer}"]\n'
        meta = "meta: {power: rehearsal}", f"meta: {{power: {power}}}"
        return self.rehearsal.edited(power, ("  own_builds: true\n", door), meta, *replacements)

    def update(self, inventory: Path, *options: str) -> CommandResult:
        return self.admin.run(
            "update", str(inventory), "--yes", f"--signer={self.key}", "-o", "json", *options
        )

    def fence(self, drivers: dict[str, list[str] | None]) -> None:
        """Let the jobs of the region's namespaces use these task drivers alone."""
        control = self.rehearsal.directory / "run/region-control.json"
        control.write_text(json.dumps({"task_drivers": drivers}))
        with self.rehearsal.api() as api:
            wait_until(lambda: _drivers(api) == drivers, "the region's namespaces")

    def shown(self) -> list[dict[str, str]]:
        """The metadata of all nodes, by the region."""
        with self.rehearsal.api() as api:
            nodes = api.get("/v1/nodes").raise_for_status().json()
            found = [api.get(f"/v1/node/{node['ID']}").raise_for_status().json() for node in nodes]
        return [node["Meta"] for node in found]


def signer(directory: Path) -> Path:
    """A new private key."""
    key = directory / "signer"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)), check=True)
    return key


def _drivers(api: httpx.Client) -> dict[str, list[str] | None]:
    found = api.get("/v1/namespaces").raise_for_status().json()
    return {
        each["Name"]: each["Capabilities"] and each["Capabilities"]["EnabledTaskDrivers"] for each in found
    }


def codes(result: CommandResult) -> set[str]:
    """The error codes of all hosts."""
    return {host["error"]["code"] for host in result.document["hosts"]}


def counts(result: CommandResult) -> dict[str, int]:
    return {name: count for name, count in result.document["summary"].items() if count}


@pytest.fixture(scope="module")
def site(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    key = signer(tmp_path_factory.mktemp("keys"))
    with raise_fleet(HOSTS) as rehearsal:
        site = Site(rehearsal, new_admin(), key)
        site.fence(FENCED)
        enrolled = site.admin.enroll(site.inventory("one"))
        assert enrolled.exit_code == 0, enrolled.stderr + enrolled.stdout
        with rehearsal.api() as api:
            api.post("/v1/jobs", json={"Job": JOB}).raise_for_status()
        yield site


def test_change_of_metadata_is_carried_and_confirmed(site: Site) -> None:
    """Nobody logs in; each host has the new value and a new stamp by its region, and a second run changes nothing."""
    check = site.admin.run("update", str(site.inventory("two")), "--check", "-o", "json")
    assert (check.exit_code, counts(check)) == (9, {"hosts": HOSTS, "skipped": HOSTS}), check.stderr
    updated = site.update(site.inventory("two"))
    assert (updated.exit_code, counts(updated)) == (0, {"hosts": HOSTS, "done": HOSTS}), updated.stdout
    assert {meta["power"] for meta in site.shown()} == {"two"}
    assert counts(site.update(site.inventory("two"))) == {"hosts": HOSTS, "unchanged": HOSTS}


def test_controller_that_is_killed_leaves_what_the_next_run_completes(site: Site) -> None:
    """With a word on its way: the host has the old or the new configuration, and is known by either."""
    inventory = site.inventory("three")
    words = ("update", str(inventory), "--yes", f"--signer={site.key}", "--canary=0", "--batch-size=100%")
    running = site.admin.start(*words)
    running.until(type="host_installed")
    running.kill()
    again = site.update(inventory)
    assert again.exit_code == 0, again.stdout
    assert {meta["power"] for meta in site.shown()} == {"three"}
    assert counts(site.update(inventory)) == {"hosts": HOSTS, "unchanged": HOSTS}
    enrolled = site.admin.enroll(inventory)
    assert set(enrolled.outcomes().values()) == {"unchanged"}


def test_hosts_that_were_enrolled_elsewhere_are_left_alone(site: Site, new_admin: NewAdmin) -> None:
    """By another state directory: nothing is recorded here then, or another configuration."""
    stranger = new_admin()
    inventory = site.inventory("four")
    argv = ("update", str(inventory), "--yes", f"--signer={site.key}", "-o", "json")
    assert codes(stranger.run(*argv)) == {"host_unrecorded"}
    assert stranger.enroll(inventory).exit_code == 0
    assert codes(site.update(site.inventory("five"))) == {"host_changed"}
    assert {meta["power"] for meta in site.shown()} == {"four"}
    assert site.admin.enroll(inventory).exit_code == 0
    assert counts(site.update(inventory)) == {"hosts": HOSTS, "unchanged": HOSTS}


def test_words_of_nobody_are_refused(site: Site, tmp_path: Path) -> None:
    """Before any host is touched where the inventory does not know the key; by the host where it does not."""
    stranger = signer(tmp_path)
    inventory = site.inventory("six")
    refused = site.admin.run("update", str(inventory), "--yes", f"--signer={stranger}", "-o", "json")
    assert (refused.exit_code, refused.document["error"]["code"]) == (3, "signer_unknown")
    unsigned = site.admin.run("update", str(inventory), "--yes", "-o", "json")
    assert (unsigned.exit_code, unsigned.document["error"]["code"]) == (2, "signer_missing")
    off = site.admin.run("update", str(site.rehearsal.inventory), "--check", "-o", "json")
    assert (off.exit_code, off.document["error"]["code"]) == (3, "maintenance_off")


def test_region_without_fences_carries_nothing(site: Site) -> None:
    """Its hosts are left as they are, and its trouble is named."""
    before = site.shown()
    site.fence({"default": None})
    try:
        open_region = site.update(site.inventory("seven"))
    finally:
        site.fence(FENCED)
    assert (open_region.exit_code, codes(open_region)) == (8, {"namespace_unfenced"})
    assert site.shown() == before


def test_version_comes_from_the_mirror(site: Site, tmp_path: Path) -> None:
    """A word names it, and the host fetches it by its digest; without a mirror only an enrolment can bring it."""
    write_releases(tmp_path / "releases", NEWER, "9.9.9", 1 << 20)
    artifacts = site.rehearsal.directory / "artifacts/nomad"
    shutil.copytree(tmp_path / "releases/nomad" / NEWER, artifacts / NEWER)
    versions = "  version: 2.0.5\n", f"  version: {NEWER}\n"
    assert codes(site.update(site.inventory("eight", versions))) == {"word_needs_dialogue"}
    newer = site.inventory("eight", versions)
    assert site.admin.run("artifacts", "fetch", str(newer)).exit_code == 0
    with site.admin.mirror(newer) as port:
        mirrored = site.inventory(
            "eight", versions, ("\nnomad:\n", f"\nmirror: http://127.0.0.1:{port}\n\nnomad:\n")
        )
        updated = site.update(mirrored)
    assert (updated.exit_code, counts(updated)) == (0, {"hosts": HOSTS, "done": HOSTS}), updated.stdout
    with site.rehearsal.api() as api:
        nodes = api.get("/v1/nodes").raise_for_status().json()
    assert {node["Version"] for node in nodes} == {NEWER}
