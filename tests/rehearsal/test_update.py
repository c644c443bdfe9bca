"""Hosts changed through their region, without SSH: planned, carried by a signed word, carried out by the host's own script, and confirmed."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS: Final = 3
FENCED: Final = {"default": ["docker"], "ionet-maintenance": ["exec"]}
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

    def shown(self) -> list[dict[str, str]]:
        """The metadata of all nodes, by the region."""
        with self.rehearsal.api() as api:
            nodes = api.get("/v1/nodes").raise_for_status().json()
            found = [api.get(f"/v1/node/{node['ID']}").raise_for_status().json() for node in nodes]
        return [node["Meta"] for node in found]


def counts(result: CommandResult) -> dict[str, int]:
    return {name: count for name, count in result.document["summary"].items() if count}


@pytest.fixture(scope="module")
def site(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    key = tmp_path_factory.mktemp("keys") / "signer"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)), check=True)
    with raise_fleet(HOSTS) as rehearsal:
        site = Site(rehearsal, new_admin(), key)
        (rehearsal.directory / "run/region-control.json").write_text(json.dumps({"task_drivers": FENCED}))
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
