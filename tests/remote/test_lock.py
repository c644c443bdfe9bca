"""The host's lock: one apply at a time, and none that is dead."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ionetctl.facts.report_lines import AwaitToken, Done, Failed, Report
from ionetctl.remote import receive_script
from tests.e2e.waiting import wait_until
from tests.remote.rehearsal import ROLLOUT, Dialogue, Host, first_payload, shim

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def test_three_contenders_for_a_dead_lock_leave_one(one_host: Host, tmp_path: Path) -> None:
    """However slow one of them is between finding a dead lock and taking it, one gets it and the others learn whose it is.

    ``b`` is held wherever it removes, moves or makes the lock, until the one that came meanwhile is through or waits for it.
    """
    path = one_host.path(LOCK)
    path.parent.mkdir(parents=True)
    path.symlink_to("nonsense")
    for name in ("mv", "rm", "ln"):
        shim(one_host, name, HELD.format(here=tmp_path, real=shutil.which(name)))
    shim(one_host, "flock", f'touch "{tmp_path}/$WHO.waits"; exec {shutil.which("flock")} "$@"')

    def said(who: str) -> str:
        output = tmp_path / f"{who}.said"
        return output.read_text() if output.exists() else ""

    def is_through(who: str) -> bool:
        return bool(said(who)) or (tmp_path / f"{who}.waits").exists()

    def is_held(turn: int) -> bool:
        return (tmp_path / f"held-{turn}").exists() or bool(said("b"))

    with ExitStack() as contenders:
        contenders.enter_context(_contender(one_host, "b", tmp_path))
        for turn, who in enumerate(("a", "c")):
            wait_until(partial(is_held, turn), f"b is held for the {turn}th time")
            contenders.enter_context(_contender(one_host, who, tmp_path))
            wait_until(partial(is_through, who), f"{who} has the lock, or waits")
            (tmp_path / f"open-{turn}").touch()
        (tmp_path / "open-2").touch()
        wait_until(lambda: all(map(said, "abc")), "all are through")
        holder = path.readlink().name.split("\t")[0]
        found = {who: said(who).split("\n")[0] for who in "abc"}
    locked = f"error\tlocked\trollout-{holder[-1]} ada@ops 2026-03-01T12:00:00Z"
    assert found == {who: "ready\tn0nce" if holder.endswith(who) else locked for who in "abc"}


HELD = """\
case "$WHO $*" in
"b "*/lock*)
    turn=0
    while [ -e "{here}/held-$turn" ]; do turn=$((turn + 1)); done
    touch "{here}/held-$turn"
    while [ ! -e "{here}/open-$turn" ] && [ ! -e "{here}/open-2" ]; do sleep 0.02; done
    ;;
esac
exec {real} "$@"
"""


@contextmanager
def _contender(host: Host, who: str, directory: Path) -> Iterator[None]:
    """A controller's first exec, which gets the lock or not, until the end of the block."""
    arguments = ("n0nce", f"rollout-{who}", "ada@ops", "2026-03-01T12:00:00Z", "0", "-")
    with (
        (directory / f"{who}.said").open("wb") as said,
        subprocess.Popen(
            host.argv("-c", receive_script(), "sh", *arguments),
            stdin=subprocess.PIPE,
            stdout=said,
            env={**host.environ(), "WHO": who},
            start_new_session=True,
        ) as process,
    ):
        yield
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _fields(pid: int, ticks: str, boot: str, owner: str = "bob@ops") -> str:
    return "\t".join(("old", owner, "2026-02-28T12:00:00Z", str(pid), ticks, boot))


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


def test_an_apply_that_ended_and_that_nobody_waited_for_holds_nothing(host: Host, tmp_path: Path) -> None:
    """Its process is there until its parent asks for its status, which some never do."""
    path = host.path(LOCK)
    path.parent.mkdir(parents=True)
    with subprocess.Popen(("true",)) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        path.symlink_to(_fields(ended.pid, _ticks(ended.pid), BOOT_ID))
        assert host.survey().lock_owner is None
        assert host.apply(first_payload(tmp_path)).reports[-1] == Done()


@pytest.mark.parametrize("owner", ["bob@ops", "ci@quota-01", "/etc/p*", "No space"])
def test_a_living_process_is_recognised(host: Host, tmp_path: Path, owner: str) -> None:
    """The control: the same lock of a process that lives is respected, whatever its owner is called; so is what it has staged."""
    staged = "/var/lib/ionet/staging/steps"
    host.write(staged, "another's")
    with subprocess.Popen(("sleep", "60")) as living:
        path = host.path(LOCK)
        path.symlink_to(_fields(living.pid, _ticks(living.pid), BOOT_ID, owner))
        dialogue = host.apply(first_payload(tmp_path))
        living.kill()
    assert dialogue.failure == Failed("locked", f"old {owner} 2026-02-28T12:00:00Z")
    assert path.is_symlink()
    assert host.read(staged) == "another's"
