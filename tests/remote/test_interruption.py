"""An apply that is killed, at every part and at every command: running again converges, or goes back to before both."""

from __future__ import annotations

import shutil
import signal
from functools import cache
from typing import TYPE_CHECKING

import pytest

from ionetctl.facts.report_lines import STEPS, Done, Report, Step
from tests.remote.rehearsal import Host, arrived, first_payload, kill_after, make_host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

KILLED = -signal.SIGKILL
COMMANDS = (
    "mv",
    "cp",
    "ln",
    "rm",
    "mkdir",
    "cat",
    "sync",
    "chmod",
    "gzip",
    "tar",
    "systemctl",
    "sha256sum",
)
STRIDE = 5
"""Every fifth command is enough to hit each part; which ones are hit moves whenever the script changes."""


def kill_at(name: str) -> Callable[[Report, subprocess.Popen[bytes]], None]:
    """What kills the apply as soon as it announces that part."""

    def kill(report: Report, process: subprocess.Popen[bytes]) -> None:
        if isinstance(report, Step) and report.name == name:
            process.kill()

    return kill


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, tuple[object, ...]]]:
    """What a host of that shell looks like that went from one to two without trouble; made once."""

    @cache
    def tree(shell: str) -> dict[str, tuple[object, ...]]:
        directory = tmp_path_factory.mktemp("peer")
        host = make_host(directory, shell)
        host.apply(first_payload(directory))
        host.apply(first_payload(directory, "two", start="restart"))
        return files_of(host)

    return tree


def files_of(host: Host) -> dict[str, tuple[object, ...]]:
    return {place: seen for place, seen in host.tree().items() if seen[0] != "link"}


@pytest.mark.parametrize("step", [step for step in STEPS if step != "certificate"])
def test_a_killed_apply_converges(
    host: Host, tmp_path: Path, upgraded: Callable[[str], dict[str, tuple[object, ...]]], step: str
) -> None:
    """Killed at any part, the next apply ends as if nothing had happened."""
    host.apply(first_payload(tmp_path))
    payload = first_payload(tmp_path, "two", start="restart")
    # Only the last part can be through before it is killed: nothing in it waits for us.
    endings = {KILLED, 0} if step == "finish" else {KILLED}
    assert host.apply(payload, on_report=kill_at(step)).exit_status in endings
    assert host.apply(payload).reports[-1] == Done()
    assert files_of(host) == upgraded(host.shell)


@pytest.mark.parametrize("step", ["validate", "backup", "install", "switch", "start", "node"])
def test_the_state_before_both_is_kept(host: Host, tmp_path: Path, step: str) -> None:
    """When the apply after a killed one fails too, the host is as it was before the first of them, but for what has arrived."""
    host.apply(first_payload(tmp_path))
    before = host.tree()
    host.apply(first_payload(tmp_path, "two", start="restart"), on_report=kill_at(step))
    host.write("/standin/behaviour", "fail")
    payload = first_payload(tmp_path, "three", start="restart")
    dialogue = host.apply(payload)
    assert dialogue.failure is not None
    assert dialogue.failure.code == "start_failed"
    assert host.tree(besides=arrived(payload)) == before
    assert host.read("/standin/active") == "active\n"


@pytest.mark.parametrize(("step", "expected"), [("token", False), ("install", True), ("node", True)])
def test_the_survey_tells_of_it(host: Host, tmp_path: Path, step: str, *, expected: bool) -> None:
    """A survey says that an apply was cut off exactly when it had begun to change the host."""
    host.apply(first_payload(tmp_path))
    host.apply(first_payload(tmp_path, "two"), on_report=kill_at(step))
    assert host.survey().nomad.is_interrupted is expected
    assert host.survey().lock_owner is None


def test_every_command_may_be_the_last(
    one_host: Host, tmp_path: Path, upgraded: Callable[[str], dict[str, tuple[object, ...]]]
) -> None:
    """Killed at any command that it runs, the next apply ends as if nothing had happened."""
    expected = upgraded(one_host.shell)
    one_host.apply(first_payload(tmp_path))
    kept = tmp_path / "kept"
    one_host.root.rename(kept)
    counter = tmp_path / "counter"
    for name in COMMANDS:
        kill_after(one_host, name, counter)
    deaths = 0
    for last in range(1, 400, STRIDE):
        _restore(kept, one_host.root)
        one_host.environment["IONET_TEST_LAST"] = str(last)
        counter.write_text("")
        killed = one_host.apply(first_payload(tmp_path, "two", start="restart"))
        one_host.environment["IONET_TEST_LAST"] = "0"
        if killed.exit_status == 0:
            break
        deaths += 1
        assert killed.exit_status == KILLED
        again = one_host.apply(first_payload(tmp_path, "two", start="restart"))
        assert (last, again.reports[-1]) == (last, Done())
        assert (last, files_of(one_host)) == (last, expected)
    assert deaths > 10


def _restore(kept: Path, root: Path) -> None:
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(kept, root, symlinks=True)
