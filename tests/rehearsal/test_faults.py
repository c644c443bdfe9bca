"""A host for each fault, all in one rollout: each has the outcome of its fault, and none affects another host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.lab.faults.assignment import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

SOUND: Final = 2
LEFT_OUT: Final = frozenset({"slow"})
"""It changes nothing but speed, and would take minutes."""
TESTED_FAULTS: Final = tuple(name for name in FAULTS if name not in LEFT_OUT)
ENDS: Final = {
    # fault: outcome, code, step, attempts
    "unreachable": ("unreachable", "connect_refused", "survey", 3),
    "timeout": ("unreachable", "connect_timeout", "survey", 3),
    "refused": ("unreachable", "connection_lost", "survey", 3),
    "silent": ("unreachable", "connect_timeout", "survey", 3),
    "wrong-key": ("failed", "host_key_changed", "survey", 1),
    "auth": ("failed", "auth_failed", "survey", 1),
    "sudo": ("failed", "sudo_needs_password", "survey", 1),
    "disk-full": ("failed", "disk_full", "apply", 1),
    "read-only": ("failed", "read_only", "apply", 1),
    "gpu-missing": ("failed", "gpu_count_mismatch", "survey", 1),
    "foreign-nomad": ("failed", "foreign_nomad", "survey", 1),
    "start-fails": ("failed", "start_failed", "apply", 1),
    "start-hangs": ("failed", "start_timeout", "apply", 1),
    "clock": ("failed", "clock_off", "survey", 1),
    "no-route": ("unverified", "servers_unreachable", "confirm", 1),
    "endless": ("failed", "output_limit", "survey", 1),
    "trickle": ("failed", "step_timeout", "survey", 1),
    "locked": ("failed", "host_locked", "survey", 1),
    "noisy": ("enrolled", None, None, 1),
    "drop": ("enrolled", None, None, 2),
}
ROLLED_BACK: Final = ("start-fails", "start-hangs")
UNTOUCHED: Final = ("gpu-missing", "foreign-nomad", "clock", "read-only")


@dataclass(frozen=True, slots=True)
class Faulty:
    """One rollout over all faults; ``before`` are the snapshots before it."""

    admin: Admin
    rehearsal: Rehearsal
    before: dict[str, dict[str, tuple[int, int, str]]]
    ended: CommandResult

    def end_of(self, fault: str) -> tuple[str, str | None, str | None, int]:
        """Outcome, code, step and attempts of the host with this fault."""
        host = self.ended.host(self.rehearsal.host_with(fault))
        error = host["error"] or {"code": None, "step": None}
        return host["outcome"], error["code"], error["step"], host["attempts"]


def shorten_start_timeout(rehearsal: Rehearsal) -> None:
    """Shorten the wait for a start that hangs from ninety seconds to five."""
    folder = rehearsal.directory / "bin/start-hangs"
    folder.mkdir()
    (folder / "timeout").write_text(
        '#!/bin/sh\nshift 3\nPATH=$LAB_SYSTEM_PATH exec timeout 5 env "PATH=$PATH" "$@"\n'
    )
    (folder / "timeout").chmod(0o755)


@pytest.fixture(scope="module")
def faulty(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Faulty]:
    admin = new_admin(GITHUB_ACTIONS="true", CI="true")
    with raise_fleet(len(TESTED_FAULTS) + SOUND, *(f"{fault}=1" for fault in TESTED_FAULTS)) as rehearsal:
        shorten_start_timeout(rehearsal)
        before = rehearsal.snapshots()
        ended = admin.enroll(rehearsal.inventory, "--max-failures=100%", "--timeout=15", "-v")
        yield Faulty(admin, rehearsal, before, ended)


@pytest.mark.parametrize("fault", TESTED_FAULTS)
def test_each_fault_ends_in_its_own_way(faulty: Faulty, fault: str) -> None:
    """Outcome, code, the step that failed, and the number of attempts: one where another attempt would be pointless."""
    assert faulty.end_of(fault) == ENDS[fault]


@pytest.mark.parametrize("host", range(SOUND))
def test_sound_hosts_are_enrolled_all_the_same(faulty: Faulty, host: int) -> None:
    """The faults of other hosts do not matter."""
    assert faulty.ended.outcomes()[faulty.rehearsal.sound[host]] == "enrolled"


def test_exit_code_is_the_worst_of_all(faulty: Faulty) -> None:
    """Of 6, 7, 5, 8 and 4 it is 6: a host key differs from the pinned one."""
    assert (faulty.ended.exit_code, faulty.ended.document["exit_code"]) == (6, 6)


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (("unreachable",), 4),
        (("auth", "unreachable"), 5),
        (("locked", "auth", "unreachable"), 7),
        (("wrong-key", "auth"), 6),
    ],
)
def test_exit_code_by_the_hosts_at_hand(faulty: Faulty, faults: tuple[str, ...], expected: int) -> None:
    """The worst outcome decides, beside hosts without a fault."""
    chosen = [*map(faulty.rehearsal.host_with, faults), *faulty.rehearsal.sound]
    ended = faulty.admin.enroll(
        faulty.rehearsal.inventory, "--max-failures=100%", f"--limit={','.join(chosen)}"
    )
    assert (ended.exit_code, sorted(ended.outcomes())) == (expected, sorted(chosen))


@pytest.mark.parametrize("fault", UNTOUCHED)
def test_refused_hosts_are_as_they_were(faulty: Faulty, fault: str) -> None:
    """The fault is found before anything is changed."""
    host = faulty.rehearsal.host_with(fault)
    assert faulty.rehearsal.snapshot(host) == faulty.before[host]


@pytest.mark.parametrize("fault", ROLLED_BACK)
def test_hosts_whose_agent_does_not_start_are_put_back(faulty: Faulty, fault: str) -> None:
    """No configuration, program, unit or temporary file is left."""
    host = faulty.rehearsal.host_with(fault)
    tree = faulty.rehearsal.tree(host)
    places = ("etc/nomad.d", "opt/nomad/releases", "usr/local/bin", "etc/systemd/system")
    left = [path for place in places for path in (tree / place).rglob("*") if not path.is_dir()]
    assert (left, faulty.rehearsal.leftovers(host)) == ([], [])


@pytest.mark.parametrize("fault", ["noisy", "drop", "no-route", "disk-full"])
def test_nothing_is_left_of_an_apply(faulty: Faulty, fault: str) -> None:
    """Not after two attempts, a node that was never confirmed, or a full disk."""
    assert faulty.rehearsal.leftovers(faulty.rehearsal.host_with(fault)) == []


def test_messages_tell_what_to_look_for(faulty: Faulty) -> None:
    """A lock's owner and time, a foreign agent's version and jobs, the expected and the found number of GPUs."""
    said = {
        fault: faulty.ended.host(faulty.rehearsal.host_with(fault))["error"]["message"]
        for fault in ("locked", "foreign-nomad", "gpu-missing", "start-fails")
    }
    assert "somebody@elsewhere" in said["locked"]
    assert "2026-01-01T00:00:00Z" in said["locked"]
    assert "Nomad v1.6.5" in said["foreign-nomad"]
    assert "1 allocation" in said["foreign-nomad"]
    assert said["gpu-missing"] == "7 GPUs seen, 8 promised"
    assert "failed to create nomad cgroup" in said["start-fails"]


def test_nothing_raw_of_a_noisy_host_is_shown(faulty: Faulty) -> None:
    """No escape sequence, no direction mark, no workflow command at the start of a line; the host's output has them."""
    raw = (faulty.rehearsal.tree(faulty.rehearsal.host_with("noisy")) / "etc/os-release").read_text()
    report = faulty.admin.run("rollouts", "show", "-vv")
    shown = [faulty.ended.stdout, faulty.ended.stderr, report.stdout, report.stderr]
    shown += [journal.read_text() for journal in faulty.admin.journals()]
    assert is_raw(raw)
    assert [is_raw(text) for text in shown] == [False] * len(shown)


def is_raw(text: str) -> bool:
    """Whether the text has something that a terminal or a CI system would act on."""
    is_command = any(line.lstrip().startswith("::") for line in text.splitlines())
    return is_command or any(sign in text for sign in "\x1b\u202e\x07")


def test_foreign_agent_is_replaced_where_that_is_asked_for(faulty: Faulty) -> None:
    """With ``--takeover`` the host is enrolled, and the previous configuration is saved."""
    host = faulty.rehearsal.host_with("foreign-nomad")
    tree = faulty.rehearsal.tree(host)
    foreign = (tree / "etc/nomad.d/nomad.hcl").read_text()
    ended = faulty.admin.enroll(faulty.rehearsal.inventory, f"--limit={host}", "--takeover")
    kept = [path.read_text() for path in (tree / "var/lib/ionet/replaced").rglob("nomad.hcl")]
    assert (ended.exit_code, ended.outcomes(), kept) == (0, {host: "enrolled"}, [foreign])
    assert faulty.rehearsal.leftovers(host) == []
