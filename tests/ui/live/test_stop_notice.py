"""What is said when a rollout is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.core.events import (
    Envelope,
    HostFinished,
    RolloutResumed,
    RolloutStopped,
    StepFinished,
    StepStarted,
)
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.ui.live.stop_notice import StopNotice
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from ionetctl.core.events import AnyEvent

STOPPED = RolloutStopped(code="interrupted", message="SIGINT: no other host is begun")


def begun(name: str) -> AnyEvent:
    return StepStarted(host=HostName(name), step="apply", attempt=1)


def finished(name: str) -> AnyEvent:
    outcome = Outcome(HostName(name), "10.0.0.1", RegionName("eu-north"), "rey1", Result.ENROLLED)
    return HostFinished(host=HostName(name), outcome=outcome)


async def shown(*events: AnyEvent, verbosity: Verbosity | None = None) -> list[str]:
    lines: list[str] = []
    notice = StopNotice(lines.append, verbosity)
    await notice.take([Envelope(n, "2026-11-23T01:12:26.000Z", event) for n, event in enumerate(events, 1)])
    await notice.close()
    return lines


async def test_nothing_is_said_before() -> None:
    """As long as the rollout goes on, this sink is silent."""
    assert await shown(begun("g1"), finished("g1")) == []


async def test_finished_and_at_work() -> None:
    """Hosts that are finished are counted, those at work named; one between two steps is neither."""
    surveyed = StepFinished(host=HostName("g5"), step="survey", attempt=1, duration_s=1.0)
    story = (begun("g1"), begun("g2"), begun("g3"), begun("g5"), finished("g1"), surveyed, STOPPED)
    assert await shown(*story) == ["1 host finished, 2 at work: g[2-3]"]


async def test_reason_comes_first_where_nothing_else_shows_it() -> None:
    """On a redrawn screen the reason is said, too."""
    assert await shown(STOPPED, verbosity=Verbosity.NORMAL) == [
        "stopped (interrupted): SIGINT: no other host is begun",
        "0 hosts finished, none at work",
    ]


async def test_past_of_a_resumed_rollout_does_not_count() -> None:
    """What an earlier process left at work is not at work now."""
    resumed = RolloutResumed(owner="o", done=1)
    assert await shown(begun("g1"), finished("g2"), resumed, STOPPED) == ["0 hosts finished, none at work"]
