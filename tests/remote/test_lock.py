"""The host's lock: one apply at a time, and none that is dead."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ionetctl.facts.report_lines import AwaitToken, Done, Failed, Report
from tests.remote.rehearsal import ROLLOUT, Dialogue, Host, first_payload

if TYPE_CHECKING:
    from pathlib import Path

BOOT_ID = "b0071d00-0000-4000-8000-000000000001"
LOCK = "/var/lib/ionet/lock"


def test_a_living_apply_holds_the_lock(host: Host, tmp_path: Path) -> None:
    """A second apply is refused with the first one's name, and the first one goes on."""
    second: list[Dialogue] = []

    def intrude(report: Report, _process: object) -> None:
        if isinstance(report, AwaitToken):
            second.append(host.apply(first_payload(tmp_path, "two")))

    first = host.apply(first_payload(tmp_path), on_report=intrude)
    assert first.reports[-1] == Done()
    message = f"{ROLLOUT} ada@ops 2026-03-01T12:00:00Z"
    assert second == [Dialogue((Failed("locked", message),), 75, "")]


def test_the_survey_names_the_holder(host: Host, tmp_path: Path) -> None:
    """While an apply is at work, a survey names its owner and its start."""
    seen = []

    def look(report: Report, _process: object) -> None:
        if isinstance(report, AwaitToken):
            facts = host.survey()
            seen.append((facts.lock_owner, facts.lock_started_at))

    host.apply(first_payload(tmp_path), on_report=look)
    assert seen == [(f"ada@ops (rollout {ROLLOUT})", "2026-03-01T12:00:00Z")]


def _fields(pid: int, ticks: str, boot: str) -> str:
    return "\t".join(("old", "bob@ops", "2026-02-28T12:00:00Z", str(pid), ticks, boot))


def _ticks(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  (a Path would say no more)
        return stat.read().rpartition(")")[2].split()[19]


@pytest.mark.parametrize("what", ["gone", "another process", "another boot", "nonsense"])
def test_a_dead_apply_holds_nothing(host: Host, tmp_path: Path, what: str) -> None:
    """A lock whose process or boot is gone is taken over."""
    with subprocess.Popen(("sleep", "60")) as living:
        locks = {
            "gone": _fields(999_999_999, "1", BOOT_ID),
            "another process": _fields(living.pid, "1", BOOT_ID),
            "another boot": _fields(living.pid, _ticks(living.pid), "another"),
            "nonsense": "nonsense",
        }
        path = host.path(LOCK)
        path.parent.mkdir(parents=True)
        path.symlink_to(locks[what])
        dialogue = host.apply(first_payload(tmp_path))
        living.kill()
    assert dialogue.reports[-1] == Done()
    assert not path.is_symlink()


def test_a_living_process_is_recognised(host: Host, tmp_path: Path) -> None:
    """The control: the same lock of a process that lives is respected."""
    with subprocess.Popen(("sleep", "60")) as living:
        path = host.path(LOCK)
        path.parent.mkdir(parents=True)
        path.symlink_to(_fields(living.pid, _ticks(living.pid), BOOT_ID))
        dialogue = host.apply(first_payload(tmp_path))
        living.kill()
    assert dialogue.failure == Failed("locked", "old bob@ops 2026-02-28T12:00:00Z")
    assert path.is_symlink()
