"""Waves, budgets and when a rollout stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import AnyEvent, RolloutStopped, WaveFinished, WaveStarted
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Outcome, Problem, Result
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.survey import Surveyed
from ionetctl.plan.difference import PlanContext, make_plan
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.options import Size, Strategy
from ionetctl.rollout.stop import FailureBudget, Stop
from ionetctl.rollout.waves import Rollout, waves
from tests.support.clock import ManualClock
from tests.support.fakes import Emitted
from tests.support.sample import BARE, HOST, bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.model.host import Host

BUNDLE = bundle()


def planned(name: str) -> PlannedHost:
    host = replace(HOST, name=HostName(name))
    plan = make_plan(BUNDLE, BARE, PlanContext("f" * 12, None, is_known=False))
    return PlannedHost(Surveyed(host, name, BARE, ()), BUNDLE, plan, Mark.NEW, unconfirmed=None)


def hosts(count: int) -> list[PlannedHost]:
    return [planned(f"h{number}") for number in range(count)]


def strategy(canary: int, batch: str, failures: str = "5%") -> Strategy:
    return Strategy(canary, Size.parse(batch, "--batch-size"), Size.parse(failures, "--max-failures"))


@pytest.mark.parametrize(
    ("count", "canary", "batch", "sizes"),
    [
        (10, 1, "10%", [1] * 10),
        (200, 1, "10%", [1, *[20] * 9, 19]),
        (5, 0, "2", [2, 2, 1]),
        (3, 5, "10%", [3]),
        (4, 1, "100%", [1, 3]),
        (4, 0, "0", [1, 1, 1, 1]),
        (0, 1, "10%", []),
    ],
)
def test_waves_cut_the_hosts(count: int, canary: int, batch: str, sizes: list[int]) -> None:
    """The canary goes first, then batches of the size asked for, and nobody is left out."""
    cut = waves(hosts(count), strategy(canary, batch))
    assert [len(wave.hosts) for wave in cut] == sizes
    assert [one.host.name for wave in cut for one in wave.hosts] == [f"h{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("failed", "canary", "rest"),
    [
        (["h0"], ["h1"], ["h0", "h2"]),
        (["h1", "h2"], ["h0"], ["h1", "h2"]),
        (["h0", "h1", "h2"], [], ["h0", "h1", "h2"]),
    ],
)
def test_host_that_failed_before_is_no_canary(failed: list[str], canary: list[str], rest: list[str]) -> None:
    """As the canary it would stop the rollout again; where all have failed there is none."""
    cut = waves(hosts(3), strategy(1, "100%"), [HostName(name) for name in failed])
    names = {wave.is_canary: [str(each.host.name) for each in wave.hosts] for wave in cut}
    assert (names.get(True, []), names[False]) == (canary, rest)


def test_only_the_first_wave_is_a_canary() -> None:
    """Waves know their place."""
    cut = waves(hosts(3), strategy(1, "1"))
    assert [(wave.index, wave.of, wave.is_canary) for wave in cut] == [
        (1, 3, True),
        (2, 3, False),
        (3, 3, False),
    ]


class Stage:
    """A rollout whose hosts end as told."""

    def __init__(
        self,
        results: Mapping[str, Result],
        *,
        allowed: int = 0,
        stop: Stop | None = None,
        of_region: frozenset[str] = frozenset(),
        of_other: frozenset[str] = frozenset(),
    ) -> None:
        self.of_region = of_region
        self.of_other = of_other
        self.events: list[AnyEvent] = []
        self.outcomes: list[Outcome] = []
        self.results = results
        self.stop = stop or Stop()
        budget = FailureBudget(allowed)
        self.rollout = Rollout(
            self.emit, Slots(1, ManualClock()), self.enroll, self.finish, budget, self.stop
        )

    async def emit(self, event: AnyEvent) -> None:
        self.events.append(event)

    async def enroll(self, one: PlannedHost, _nonce: str) -> Outcome:
        result = self.results.get(one.host.name, Result.ENROLLED)
        step = "region" if one.host.name in self.of_region else "apply"
        problem = None if result is Result.ENROLLED else self.problem(one, step)
        host = one.host
        return Outcome(host.name, host.address, host.region, host.datacenter, result, problem=problem)

    def problem(self, one: PlannedHost, step: str) -> Problem:
        exit_code = ExitCode.LOCKED if one.host.name in self.of_other else ExitCode.FAILED
        return Problem("broken", step, "it broke", "", int(exit_code))

    async def finish(self, _host: Host, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    async def run(self, count: int, canary: int = 0, batch: str = "2") -> list[str]:
        left = await self.rollout.run(waves(hosts(count), strategy(canary, batch)))
        return [one.host.name for one in left]


async def test_all_waves_run() -> None:
    """Without failures every host is enrolled, wave after wave."""
    stage = Stage({})
    assert (await stage.run(3, canary=1), [o.host for o in stage.outcomes]) == ([], ["h0", "h1", "h2"])
    assert stage.events == [
        WaveStarted(index=1, of=2, hosts=(HostName("h0"),), is_canary=True),
        WaveFinished(index=1, of=2, failed=0),
        WaveStarted(index=2, of=2, hosts=(HostName("h1"), HostName("h2"))),
        WaveFinished(index=2, of=2, failed=0),
    ]


async def test_too_many_failures_stop_within_the_wave() -> None:
    """The host after the one too many is not begun."""
    stage = Stage({"h0": Result.FAILED, "h1": Result.FAILED}, allowed=1)
    assert await stage.run(6, batch="4") == ["h2", "h3", "h4", "h5"]
    assert (stage.stop.exit_code, stage.events[-1]) == (
        ExitCode.STOPPED,
        RolloutStopped(code="too_many_failures", message="2 hosts failed, 1 may (--max-failures)"),
    )


async def test_allowed_failures_do_not_stop() -> None:
    """As many failures as may be are no reason to end."""
    stage = Stage({"h0": Result.FAILED}, allowed=1)
    assert (await stage.run(4), stage.stop.is_requested) == ([], False)


async def test_unconfirmed_hosts_are_counted() -> None:
    """A region that dies in the middle must not have the rest of the fleet installed for nothing."""
    stage = Stage({"h0": Result.UNVERIFIED, "h1": Result.UNVERIFIED}, allowed=1)
    assert await stage.run(4, batch="1") == ["h2", "h3"]
    assert stage.stop.exit_code is ExitCode.UNVERIFIED


async def test_unreachable_hosts_are_not_counted() -> None:
    """A rack without power is no bad rollout."""
    stage = Stage({"h0": Result.UNREACHABLE, "h1": Result.UNREACHABLE})
    assert (await stage.run(4), stage.stop.is_requested) == ([], False)


async def test_hosts_of_another_rollout_are_not_counted() -> None:
    """Another admin is no bad rollout: neither the limit nor the canary stops it, so that it ends with 7."""
    stage = Stage(
        {"h0": Result.FAILED, "h1": Result.FAILED, "h3": Result.FAILED},
        of_other=frozenset({"h0", "h1", "h3"}),
    )
    assert (await stage.run(4, canary=1), stage.stop.is_requested) == ([], False)
    assert [(hosts, is_canary) for _, _, hosts, is_canary in started(stage)] == [
        (("h0",), True),
        (("h1",), True),
        (("h2",), True),
        (("h3",), False),
    ]
    assert [e.failed for e in stage.events if isinstance(e, WaveFinished)] == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("result", "code", "exit_code"),
    [
        (Result.FAILED, "canary_failed", ExitCode.STOPPED),
        (Result.UNVERIFIED, "canary_unverified", ExitCode.UNVERIFIED),
    ],
)
async def test_canary_that_dies_stops_the_rest(result: Result, code: str, exit_code: ExitCode) -> None:
    """What the canary dies of, the others would die of too."""
    stage = Stage({"h0": result}, allowed=5)
    assert await stage.run(4, canary=1) == ["h1", "h2", "h3"]
    reason = stage.stop.reason
    assert (reason.code if reason else None, stage.stop.exit_code) == (code, exit_code)


async def test_canary_without_followers_stops_nothing() -> None:
    """A fleet of one has its own outcome, and no stopped rollout beside it."""
    stage = Stage({"h0": Result.FAILED}, allowed=5)
    assert (await stage.run(1, canary=1), stage.stop.is_requested) == ([], False)


def started(stage: Stage) -> list[tuple[int, int, tuple[str, ...], bool]]:
    """The waves as they began: index, number of waves, hosts, whether it was a canary."""
    return [(e.index, e.of, e.hosts, e.is_canary) for e in stage.events if isinstance(e, WaveStarted)]


async def test_next_host_takes_the_place_of_a_canary_that_is_unreachable() -> None:
    """A canary that cannot be reached proves nothing; batches keep their size."""
    stage = Stage({"h0": Result.UNREACHABLE, "h1": Result.UNREACHABLE})
    assert await stage.run(6, canary=1) == []
    assert started(stage) == [
        (1, 4, ("h0",), True),
        (2, 4, ("h1",), True),
        (3, 5, ("h2",), True),
        (4, 5, ("h3", "h4"), False),
        (5, 5, ("h5",), False),
    ]


async def test_only_those_canaries_are_replaced_that_proved_nothing() -> None:
    """Of two one was enrolled, so one more is asked for."""
    stage = Stage({"h1": Result.UNREACHABLE})
    await stage.run(5, canary=2)
    assert [(hosts, is_canary) for _, _, hosts, is_canary in started(stage)] == [
        (("h0", "h1"), True),
        (("h2",), True),
        (("h3", "h4"), False),
    ]


async def test_next_canary_that_fails_stops_the_rest() -> None:
    """It is a canary like the first."""
    stage = Stage({"h0": Result.UNREACHABLE, "h1": Result.FAILED}, allowed=5)
    assert await stage.run(4, canary=1) == ["h2", "h3"]


async def test_canary_whose_region_is_lost_proves_nothing() -> None:
    """Unverified or skipped for its region: neither stops the rollout, and the next host is the canary."""
    stage = Stage({"h0": Result.UNVERIFIED, "h1": Result.SKIPPED}, of_region=frozenset({"h0", "h1"}))
    assert await stage.run(4, canary=1) == []
    assert [(hosts, is_canary) for _, _, hosts, is_canary in started(stage)] == [
        (("h0",), True),
        (("h1",), True),
        (("h2",), True),
        (("h3",), False),
    ]
    assert [e.failed for e in stage.events if isinstance(e, WaveFinished)] == [0, 0, 0, 0]


async def test_stop_that_was_requested_before_begins_nothing() -> None:
    """After a signal no wave begins, and the reason is told once."""
    stop = Stop()
    stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    stop.request("other", "later", ExitCode.STOPPED)
    stage = Stage({}, stop=stop)
    assert await stage.run(2) == ["h0", "h1"]
    await stop.record(stage.emit)
    assert stage.events == [RolloutStopped(code="interrupted", message="SIGINT")]


async def test_stop_is_told_while_hosts_are_at_work() -> None:
    """Who waits for the reason hears it when it comes, and it is told once."""
    stop, emit = Stop(), Emitted()
    telling = asyncio.create_task(stop.record_when_requested(emit))
    await asyncio.sleep(0)
    before = list(emit.events)
    stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    await telling
    await stop.record(emit)
    told = RolloutStopped(code="interrupted", message="SIGINT")
    assert (before, emit.events, stop.is_requested) == ([], [told], True)


async def test_stop_without_a_reason_has_nothing_to_tell() -> None:
    """A rollout that nobody ended ends without a word."""
    emit = Emitted()
    await Stop().record(emit)
    assert emit.events == []
