"""What a rollout records of its hosts and of waiting, and that its record has an end whatever ended it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ionetctl.app.enroll import _Run
from ionetctl.app.open_inventory import Site
from ionetctl.app.open_rollout import _host_entry
from ionetctl.app.resume import Past
from ionetctl.core import events
from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    RegionError,
    UnwritableError,
    UsageError,
)
from ionetctl.core.events import HostEntry
from ionetctl.core.model.host import GpuPromise
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.outcome import Result
from ionetctl.core.settings import Settings
from ionetctl.history.catalog import Closure, ClosureState
from ionetctl.nomad import Wait
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.options import Goal, RolloutOptions
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from tests.support.clock import ManualClock
from tests.support.fakes import Emitted, FakeRegion
from tests.support.sample import EU_NORTH, HOST
from tests.support.sites import site_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ionetctl.core.model.inventory import Introduction
    from ionetctl.core.model.node import NodeView, RegionStatus

FIRST = RolloutId("20261123T010000-aaaaaa")
OPTIONS = RolloutOptions("site.yaml")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state directory of the test's own."""
    made = Settings.load({"HOME": str(tmp_path), "IONETCTL_STATE_DIR": str(tmp_path / "state")})
    made.prepare_state()
    return made


def run_of(
    region: FakeRegion,
    introduction: Introduction,
    goal: Goal = Goal.ENROLL,
    settings: Settings = cast("Settings", None),  # noqa: B008  what most do not need
) -> _Run:
    """A rollout of one host into ``region``; what it does not need here is left out."""
    nobody = cast("Any", None)
    site = site_of(region, introduction)
    options = replace(OPTIONS, goal=goal)
    stop = Stop()
    return _Run(options, settings, site, FIRST, Emitted(), region.clock, nobody, stop, StoppingSignals(stop))


async def test_beginning_that_cannot_be_recorded_touches_no_host(settings: Settings) -> None:
    """A disk that is full before the first event is an error of the site, 3; later it is 11."""
    full = UnwritableError("journal_broken", "No space left on device", "make room")
    run = replace(run_of(FakeRegion(), "auto"), settings=settings, emit=Emitted(error=full))
    with pytest.raises(ConfigurationError) as caught:
        await run.recorded(Past())
    assert (caught.value.code, caught.value.exit_code) == ("journal_broken", 3)


class Watched:
    """A lease that notes when it is looked at."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.looked: list[float] = []

    async def check(self) -> None:
        self.looked.append(self.clock.monotonic())


async def test_lease_is_looked_at_before_a_retry() -> None:
    """After the pause: the machine may have slept in it, and the hosts may be another rollout's by then."""
    nobody = cast("Any", None)
    run = run_of(FakeRegion(), "auto")
    clock = cast("ManualClock", run.clock)
    lease = Watched(clock)
    run = replace(run, lease=cast("Any", lease))
    slots = Slots(1, clock)
    await slots.acquire()
    await run._surroundings(nobody, nobody, slots).pause(3.0)
    assert lease.looked == [3.0]


async def test_waiting_for_a_region_is_recorded() -> None:
    """As an event with the region's name, once there is a record to write to."""
    nobody = cast("Any", None)
    site = Site(nobody, (HOST,), nobody, nobody, ManualClock())
    wait = Wait("https://n-1:4646", 2, 14.23, RegionError("region_unreachable", "nobody answers"))
    await site._waited(EU_NORTH, wait)
    site.emit = emit = Emitted()
    await site._waited(EU_NORTH, wait)
    assert emit.events == [
        events.RegionWaited(
            region=EU_NORTH,
            address="https://n-1:4646",
            attempt=2,
            waited_s=14.2,
            code="region_unreachable",
            message="nobody answers",
        )
    ]


def test_host_is_listed_with_its_promise() -> None:
    """The first event lists each host with what was promised of it."""
    host = replace(HOST, gpus=GpuPromise("rtx-4090", 2))
    assert _host_entry(host) == HostEntry(
        HOST.name, "10.20.1.1", EU_NORTH, "rey1", "a01", "gpu", 2, "rtx-4090"
    )


async def test_open_files_bound_the_hosts_at_once() -> None:
    """More than this process may have files for are not begun at once, and that is told; one host always is."""
    run = replace(run_of(FakeRegion(), "auto"), options=replace(OPTIONS, concurrency=10**12, engine="inline"))
    allowed = await run._hosts_at_once(10**12)
    assert allowed < 10**12
    assert await run._hosts_at_once(1) == 10**12
    assert cast("Emitted", run.emit).events == [
        events.Warned(
            code="concurrency_limited",
            message=f"{allowed} hosts at once instead of {10**12}: file descriptors",
            hint="raise the hard limit of open files (ulimit -Hn)",
        )
    ]


async def test_each_worker_has_open_files_of_its_own() -> None:
    """Twice as many hosts may be at work where two processes have the connections."""
    allowed = []
    for engine, workers in (("inline", None), ("processes", 2)):
        options = replace(OPTIONS, concurrency=10**12, engine=cast("Any", engine), workers=workers)
        allowed.append(await replace(run_of(FakeRegion(), "auto"), options=options)._hosts_at_once(10**12))
    assert allowed[1] == 2 * allowed[0]


def test_connections_have_the_rollouts_bounds(settings: Settings) -> None:
    """No deadline of a connection is longer than a step's, and the rate is that of the command line."""
    options = replace(OPTIONS, timeout_s=7.0, bytes_per_s=5000)
    run = replace(run_of(FakeRegion(), "auto"), settings=settings, options=options)
    found = run._transport
    assert (found.connect_timeout_s, found.login_timeout_s, found.bytes_per_s) == (7.0, 7.0, 5000)


# --- the end of the record -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (RuntimeError("a bug"), 1),
        (MemoryError(), 1),
        (asyncio.CancelledError(), 130),
        (UsageError("size_invalid", "no", ""), 2),
        (BaseExceptionGroup("several", [RegionError("region_failing", "no"), KeyError("bug")]), 1),
        (BaseExceptionGroup("several", [RegionError("region_failing", "no")]), 8),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_record_has_its_end(settings: Settings, error: BaseException, exit_code: int) -> None:
    """A bug, a lack of memory, a cancellation: whatever ends the run is raised, and the record says that it ended."""
    run = run_of(FakeRegion(errors={"status": [error]}), "auto", Goal.SURVEY, settings)
    with pytest.raises(type(error)):
        await run.recorded(Past())
    told = cast("Emitted", run.emit).events
    assert [type(event) for event in told] == [events.RolloutStarted, events.RolloutFinished]
    assert told[-1] == events.RolloutFinished(exit_code=exit_code)


async def test_broken_record_has_no_end(settings: Settings) -> None:
    """Where the journal itself fails, its error is the one that is raised."""
    broken = ConfigurationError("journal_broken", "No space left on device")
    run = replace(run_of(FakeRegion(), "auto", Goal.SURVEY, settings), emit=Emitted(error=broken, from_=0))
    with pytest.raises(ConfigurationError, match="No space"):
        await run.recorded(Past())


class Silent(FakeRegion):
    """A region that accepts the question, and never answers."""

    asked = asyncio.Event()

    async def status(self) -> RegionStatus:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


class SilentOfNodes(FakeRegion):
    """A region that never says which nodes it has."""

    asked = asyncio.Event()

    async def nodes(
        self, filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        del filter_expression, with_devices
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_missing_mirror_is_found_before_anything_is_asked(settings: Settings) -> None:
    """It is an error of the input: without it the region is asked next."""
    run = run_of(FakeRegion(errors={"status": [RuntimeError("asked")]}), "auto", Goal.SURVEY, settings)
    with pytest.raises(ConfigurationError) as caught:
        await replace(run, options=replace(run.options, distribution="mirror")).recorded(Past())
    assert caught.value.code == "mirror_missing"
    with pytest.raises(RuntimeError, match="asked"):
        await run.recorded(Past())


async def test_region_is_not_waited_for_once_the_end_is_asked_for(settings: Settings) -> None:
    """A signal while a region does not answer ends the run: no host was touched, each has its outcome."""
    region = Silent()
    run = run_of(region, "auto", Goal.SURVEY, settings)
    running = asyncio.create_task(run.recorded(Past()))
    await region.asked.wait()
    run.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    assert await running is ExitCode.INTERRUPTED
    names = cast("Emitted", run.emit).names
    assert names == ["RolloutStarted", "RolloutStopped", "HostFinished", "RolloutFinished"]


async def test_closed_host_has_its_outcome_where_the_end_is_asked_for_before_it_is_judged(
    settings: Settings,
) -> None:
    """While its region is asked for its node: it is skipped as every other host that the rollout did not come to."""
    region = SilentOfNodes()
    closure = Closure(HOST.name, HOST.address, ClosureState.CLOSED, "miner", "SHA256:x")
    run = replace(run_of(region, "auto", Goal.PLAN, settings), closures=(closure,))
    running = asyncio.create_task(run.recorded(Past()))
    async with asyncio.timeout(10):
        await region.asked.wait()
    run.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    assert await running is ExitCode.INTERRUPTED
    (outcome,) = (
        event.outcome for event in cast("Emitted", run.emit).events if isinstance(event, events.HostFinished)
    )
    assert outcome.problem is not None
    assert (outcome.result, outcome.problem.code, outcome.problem.message) == (
        Result.SKIPPED,
        "not_begun",
        "SIGINT",
    )
