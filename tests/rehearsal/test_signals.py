"""Signals during a rollout: started hosts are finished, no other is started, and the command to resume is printed."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

SIGNALS: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
HOSTS_EACH: Final = 3

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def rehearsal(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(HOSTS_EACH * (len(SIGNALS) + 1)) as rehearsal:
        rehearsal.install_wrapper()
        yield rehearsal


def chosen(rehearsal: Rehearsal, share: int) -> list[str]:
    """The hosts of one test."""
    return rehearsal.hosts[share * HOSTS_EACH : (share + 1) * HOSTS_EACH]


def resume_command(ended: CommandResult) -> list[str]:
    """The command for resuming that standard error shows, without the program's name."""
    told = next(line for line in ended.stderr.splitlines() if "To go on: " in line)
    program, *words = shlex.split(told.partition("To go on: ")[2])
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
