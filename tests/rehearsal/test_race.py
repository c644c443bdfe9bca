"""Two controllers with different state folders race for the same hosts: each host is wholly one's, and both are told the truth.

``IONETCTL_TEST_RACES`` says how often (3 times where it is not set); with ``pytest -s`` each race is shown.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

RACES: Final = int(os.environ.get("IONETCTL_TEST_RACES", "3"))
HOSTS: Final = 2
START_WITHIN_S: Final = 3.0
"""How far apart they start at most: so each meets the other in another phase."""
META: Final = "meta: {power: rehearsal}"
REFUSED: Final = {"host_locked", "host_changed"}
ALONE: Final = """cd "$IONET_ROOT/run/lab"
mkdir busy || { echo overlap >>overlaps; exit 1; }
sleep 0.2
rmdir busy
"""
"""Before each start of a host's agent, which is in the midst of an apply: notes where another is in there."""

pytestmark = pytest.mark.timeout(120 + 60 * RACES)


def race(rehearsal: Rehearsal, admins: Mapping[str, Admin], turn: int) -> str:
    """One race, and how it ended; what must not be fails."""
    inventories = {
        name: rehearsal.edited(f"{name}-{turn}", (META, f"meta: {{power: rehearsal, race: {name}-{turn}}}"))
        for name in admins
    }
    chance = random.Random(turn)  # noqa: S311  (no secret)
    running = {}
    for name in chance.sample(sorted(admins), len(admins)):
        running[name] = admins[name].start_enroll(inventories[name])
        time.sleep(chance.random() * START_WITHIN_S)
    ended = {name: one.end() for name, one in running.items()}
    endings = {name: ending(ended[name]) for name in sorted(ended)}
    for name, one in ended.items():
        told = set(endings[name].values())
        assert told <= REFUSED | {"enrolled"}, one.stderr
        assert one.exit_code == (0 if told == {"enrolled"} else 7)
    for host in rehearsal.hosts:
        [winner] = [name for name in admins if f'"{name}-{turn}"' in configuration(rehearsal, host)]
        assert endings[winner][host] == "enrolled"
        assert is_wholly(admins[winner], inventories[winner], host)
        assert rehearsal.leftovers(host) == []
        assert rehearsal.is_ready(host)
        assert not (rehearsal.tree(host) / "run/lab/overlaps").exists()
    return "  ".join(f"{name} {ended[name].exit_code} {endings[name]}" for name in endings)


def ending(ended: CommandResult) -> dict[str, str]:
    """Host → outcome, or the code of its error."""
    return {
        host["name"]: host["error"]["code"] if host["error"] else host["outcome"]
        for host in ended.lines[-1]["hosts"]
    }


def configuration(rehearsal: Rehearsal, host: str) -> str:
    return (rehearsal.tree(host) / "etc/nomad.d/nomad.hcl").read_text()


def is_wholly(admin: Admin, inventory: Path, host: str) -> bool:
    """Whether nothing on the host is other than this admin has it."""
    checked = admin.enroll(inventory, "--check", f"--limit={host}")
    return (checked.exit_code, checked.outcomes()) == (0, {host: "unchanged"})


def test_two_controllers_race(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """One applies at a time; the other looks at the host again, or ends with 7 and changes nothing there."""
    admins = {name: new_admin(USER=f"admin-{name}") for name in ("a", "b")}
    with raise_fleet(HOSTS) as rehearsal:
        rehearsal.install_wrapper()
        for host in rehearsal.hosts:
            rehearsal.before_start(host, ALONE)
        for turn in range(RACES):
            print(f"race {turn}: {race(rehearsal, admins, turn)}")  # noqa: T201  (for pytest -s)
