"""Signals during a rollout: started hosts are finished, no other is started, and the command to resume is printed."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Final

import pexpect
import pytest

from tests.e2e.waiting import wait_until
from tests.rehearsal.site import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal, Running

SIGNALS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
HOSTS_EACH: Final = 2
READ_AHEAD: Final = 4096 + 8192
"""What may lie in the pipe, and what the test's own buffer takes from it."""


@pytest.fixture(scope="module")
def rehearsal(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(HOSTS_EACH * (len(SIGNALS) + 1)) as rehearsal:
        rehearsal.install_wrapper()
        yield rehearsal


def chosen(rehearsal: Rehearsal, share: int) -> list[str]:
    """The hosts of one test."""
    return rehearsal.hosts[share * HOSTS_EACH : (share + 1) * HOSTS_EACH]


def resume_command(ended: CommandResult) -> list[str]:
    """The one command for resuming that standard error shows, without the program's name."""
    [told] = [line for line in ended.stderr.splitlines() if "to go on: " in line]
    program, *words = shlex.split(told.partition("to go on: ")[2])
    assert program == "ionetctl"
    return words


def outcomes(ended: CommandResult) -> dict[str, str]:
    """Host → outcome of the document that ends a stream."""
    return {host["name"]: host["outcome"] for host in ended.lines[-1]["hosts"]}


@pytest.mark.parametrize(("share", "number"), list(enumerate(SIGNALS)))
def test_signal_ends_a_rollout_in_order(
    rehearsal: Rehearsal, new_admin: NewAdmin, share: int, number: signal.Signals
) -> None:
    """The started host is enrolled, the others are skipped, and the printed command enrols exactly those."""
    admin = new_admin()
    first, *others = chosen(rehearsal, share)
    hold = rehearsal.hold(first)
    running = admin.start(
        "enroll", str(rehearsal.inventory), "--yes", f"--limit={','.join([first, *others])}", "--batch-size=1"
    )
    running.until(type="step_started", detail="start")
    running.signal(number)
    running.until(type="rollout_stopped")
    hold.release()
    ended = running.end()

    assert (ended.exit_code, outcomes(ended)) == (
        SIGNALS[number],
        {first: "enrolled"} | dict.fromkeys(others, "skipped"),
    )
    assert f"0 hosts finished, 1 at work: {first}" in ended.stderr.splitlines()
    assert rehearsal.leftovers(first) == []
    before = rehearsal.snapshot(first)
    resumed = admin.run(*resume_command(ended))
    assert (resumed.exit_code, outcomes(resumed)) == (0, dict.fromkeys([first, *others], "enrolled"))
    assert rehearsal.snapshot(first) == before


def test_second_signal_ends_it_at_once(rehearsal: Rehearsal, new_admin: NewAdmin) -> None:
    """A host whose start hangs is not waited for; it cleans up by itself, and the next run enrols it."""
    admin: Admin = new_admin()
    hosts = chosen(rehearsal, len(SIGNALS))
    hold = rehearsal.hold(hosts[0])
    running = admin.start_enroll(rehearsal.inventory, f"--limit={','.join(hosts)}")
    running.until(type="step_started", host=hosts[0], detail="start")
    running.signal(signal.SIGINT)
    running.until(type="rollout_stopped")
    running.signal(signal.SIGINT)
    ended = running.end()
    hold.release()
    rehearsal.wait_unlocked(hosts[0])

    assert (ended.exit_code, "Traceback" in ended.stderr) == (130, False)
    assert "given up while at work on " in ended.stderr
    begun = {event["host"] for event in ended.lines[:-1] if event.get("step") == "apply"}
    left = {host for host, outcome in outcomes(ended).items() if outcome == "unverified"}
    assert hosts[0] in left <= begun
    assert {row["error"]["code"] for row in ended.lines[-1]["hosts"] if row["name"] in left} == {
        "outcome_unknown"
    }
    assert json.loads(admin.journals()[0].read_text().splitlines()[-2])["type"] == "rollout_finished"
    again = admin.enroll(rehearsal.inventory, f"--limit={','.join(hosts)}")
    assert (again.exit_code, [rehearsal.leftovers(host) for host in hosts]) == (0, [[]] * len(hosts))


def test_nothing_is_tried_again_after_a_signal(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """A host that does not answer is tried once, not three times."""
    with raise_fleet(1, "silent=1") as silent:
        host = silent.hosts[0]
        running = new_admin().start_enroll(silent.inventory, "--timeout=3")
        running.until(type="step_started", step="survey")
        running.signal(signal.SIGTERM)
        ended = running.end()
    retries = [event for event in ended.lines[:-1] if event["type"] == "step_retried"]
    assert (ended.exit_code, retries, outcomes(ended)) == (143, [], {host: "unreachable"})


def test_region_that_does_not_answer_is_not_waited_for(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """A signal while a region is asked ends the run: no host was touched, and the record has its end."""
    with raise_fleet(1) as rehearsal, rehearsal.region_silent():
        admin = new_admin()
        running = admin.start_enroll(rehearsal.inventory)
        running.until(type="rollout_started")
        running.signal(signal.SIGINT)
        ended = running.end()
    assert (ended.exit_code, outcomes(ended)) == (130, {rehearsal.hosts[0]: "skipped"})
    assert json.loads(admin.journals()[0].read_text().splitlines()[-2])["type"] == "rollout_finished"


def unread(admin: Admin, rehearsal: Rehearsal) -> Running:
    """A rollout whose stream nobody reads behind its first event, and which has ended in its record."""
    running = admin.start_enroll(rehearsal.inventory, "-vv")
    assert running.process.stdout is not None
    fcntl.fcntl(running.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    running.until(type="rollout_started")
    [journal] = admin.journals()
    wait_until(lambda: '"type":"rollout_finished"' in journal.read_text(), "the rollout has ended")
    return running


def test_reader_who_stops_reading_holds_nothing_up(rehearsal: Rehearsal, new_admin: NewAdmin) -> None:
    """The rollout ends in its record while nobody reads the stream; then the stream comes whole."""
    ended = unread(new_admin(), rehearsal).end()
    told = [line["seq"] for line in ended.lines[:-1]]
    assert told == list(range(1, len(told) + 1))
    assert (ended.lines[-1]["schema"], len(ended.stdout) > READ_AHEAD) == ("ionetctl.enroll/1", True)


def test_reader_who_stops_reading_is_not_waited_for_at_a_signal(
    rehearsal: Rehearsal, new_admin: NewAdmin
) -> None:
    """When all is done but the reading, one signal ends it at once, and the hosts are free."""
    admin = new_admin()
    running = unread(admin, rehearsal)
    running.signal(signal.SIGINT)
    assert running.process.wait(PATIENCE_S) == 130
    running.end()
    assert admin.enroll(rehearsal.inventory).exit_code == 0


def hear_interrupts() -> None:
    """Not to ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def at_terminal(admin: Admin, *arguments: str) -> pexpect.spawn[str]:
    """A command at a terminal of 80x24."""
    return pexpect.spawn(
        sys.executable,
        ["-m", "ionetctl", *arguments],
        env=admin.environment() | {"TERM": "xterm-256color", "NO_COLOR": "1"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=int(PATIENCE_S),
        # Whoever runs the tests in the background has SIGINT ignored, and children would inherit that.
        preexec_fn=hear_interrupts,
    )


def rest(child: pexpect.spawn[str]) -> str:
    """What is shown until the end."""
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before)


def test_ctrl_c_at_a_terminal(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """At the prompt it ends the run; later it is answered with what is finished and what is still at work."""
    with raise_fleet(1) as fleet:
        fleet.install_wrapper()
        admin, [host] = new_admin(), fleet.hosts
        asked = at_terminal(admin, "enroll", str(fleet.inventory), "--timeout=60")
        asked.expect(r"\[y/N\] ")
        asked.sendintr()
        shown = rest(asked)
        assert (asked.exitstatus, fleet.leftovers(host)) == (130, [])
        assert ("0 hosts finished, none at work" in shown, "Traceback" in shown) == (True, False)
        assert "--timeout 60.0 --state-dir" in shown.replace("\r\n", "")

        hold = fleet.hold(host)
        running = at_terminal(admin, "enroll", str(fleet.inventory), "--yes")
        hold.wait_reached()
        running.sendintr()
        running.expect(re.escape(f"0 hosts finished, 1 at work: {host}"))
        hold.release()
        assert "to go on: ionetctl enroll" in rest(running)
        assert running.exitstatus == 130


def test_terminal_that_stands_holds_nothing_up(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """After Ctrl-S the rollout ends in its record; after Ctrl-Q the screen is as it was, and the summary is shown."""
    with raise_fleet(1) as fleet:
        fleet.install_wrapper()
        admin, [host] = new_admin(), fleet.hosts
        hold = fleet.hold(host)
        running = at_terminal(admin, "enroll", str(fleet.inventory), "--yes", "-v")
        hold.wait_reached()
        running.send("\x13")
        hold.release()
        [journal] = admin.journals()
        wait_until(lambda: '"type":"rollout_finished"' in journal.read_text(), "the rollout has ended")
        running.send("\x11")
        shown = rest(running)
    assert (running.exitstatus, "1 enrolled in " in shown) == (0, True)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
