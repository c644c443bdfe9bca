"""The controller is killed while a host is at each step of its apply; running again brings every host to where it should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

STEPS: Final = (
    "receive",
    "verify",
    "validate",
    "token",
    "backup",
    "install",
    "switch",
    "start",
    "node",
    "finish",
)


@dataclass(frozen=True, slots=True)
class Killed:
    """Each host's apply was begun by a controller that was killed at one step; then all were enrolled again."""

    rehearsal: Rehearsal
    host_of: dict[str, str]
    journaled: dict[str, list[str]]
    between: dict[str, list[str]]
    resumed: CommandResult
    again: CommandResult
    third: CommandResult


def kill_at(admin: Admin, rehearsal: Rehearsal, host: str, step: str) -> list[str]:
    """The parts of the apply that the journal of the killed controller names."""
    running = admin.start_enroll(rehearsal.inventory, f"--limit={host}")
    running.until(type="step_started", step="apply", detail=step)
    running.kill()
    lines = admin.journals()[-1].read_bytes().splitlines()
    events = [msgspec.json.decode(line) for line in lines]
    started = [event for event in events if event["type"] == "step_started" and event["step"] == "apply"]
    return [event["detail"] for event in started if event["detail"] in STEPS]


@pytest.fixture(scope="module")
def killed(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Killed]:
    admin = new_admin()
    with raise_fleet(len(STEPS)) as rehearsal:
        host_of = dict(zip(STEPS, rehearsal.hosts, strict=True))
        journaled = {step: kill_at(admin, rehearsal, host, step) for step, host in host_of.items()}
        for host in rehearsal.hosts:
            rehearsal.wait_unlocked(host)
        between = {step: rehearsal.leftovers(host) for step, host in host_of.items()}
        resumed = admin.enroll(rehearsal.inventory, "--resume")
        again = admin.enroll(rehearsal.inventory)
        third = admin.enroll(rehearsal.inventory)
        yield Killed(rehearsal, host_of, journaled, between, resumed, again, third)


@pytest.mark.parametrize("step", STEPS)
def test_step_was_journaled_before_the_end(killed: Killed, step: str) -> None:
    """The journal of the killed controller has all parts up to this step, in the protocol's order."""
    expected = list(STEPS[: STEPS.index(step) + 1])
    assert killed.journaled[step][: len(expected)] == expected


@pytest.mark.parametrize("step", STEPS)
def test_host_cleans_up_by_itself(killed: Killed, step: str) -> None:
    """Without its controller the host finishes or undoes the apply, and leaves no temporary file."""
    assert killed.between[step] == []


@pytest.mark.parametrize("step", STEPS)
def test_host_converges(killed: Killed, step: str) -> None:
    """The next run enrols the host without leftovers; it reports no change only where the apply was complete."""
    host = killed.host_of[step]
    outcome = killed.again.outcomes()[host]
    assert (outcome in {"enrolled", "unchanged"}, killed.rehearsal.leftovers(host)) == (True, [])


def test_last_one_can_be_resumed(killed: Killed) -> None:
    """A killed rollout is resumed from its journal, with its own hosts only."""
    done = {"enrolled", "unchanged"}
    assert (killed.resumed.exit_code, list(killed.resumed.outcomes())) == (0, [killed.host_of[STEPS[-1]]])
    assert set(killed.resumed.outcomes().values()) <= done


def test_all_hosts_are_enrolled_in_the_end(killed: Killed) -> None:
    """Exit code 0, and another run changes no host."""
    ends = (killed.again.exit_code, killed.third.exit_code, set(killed.third.outcomes().values()))
    assert ends == (0, 0, {"unchanged"})
