"""Worker processes: what they carry out, what they ask for, and what happens when one ends. The processes are real."""

from __future__ import annotations

import asyncio
import pickle
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import HostFailedError, RegionError, UnwritableError
from ionetctl.core.events import StepStarted, Warned
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host.survey import Surveyed
from ionetctl.rollout.engines.jobs import EnrollJob, SurveyJob
from ionetctl.rollout.engines.worker_processes import REPLACEMENTS, Launch, ProcessEngine
from tests.rollout.engines import rehearsed_worker
from tests.support.fakes import Emitted
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.rollout.engines.messages import Call


@dataclass
class Site:
    """An engine with real processes; ``calls`` are those of workers, ``error`` is raised by the next ones."""

    directory: Path
    emit: Emitted = field(default_factory=Emitted)
    calls: list[Call] = field(default_factory=list)
    error: Exception | None = None
    is_waiting: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def engine(self, workers: int = 2) -> AsyncIterator[ProcessEngine]:
        command = (sys.executable, "-P", rehearsed_worker.__file__, str(self.directory))
        environ = {"PYTHONPATH": str(Path(__file__).parents[3])}
        async with ProcessEngine(
            Launch(command, environ, "an order"), self.answer, self.emit, workers
        ) as engine:
            yield engine

    async def answer(self, call: Call) -> object:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        if call.path == ("emit",):
            await self.emit(call.arguments[0])  # type: ignore[arg-type]
            return None
        if call.path == ("waiting",):
            self.is_waiting.set()
        return f"answer to {call.path}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def job(name: str) -> SurveyJob:
    return SurveyJob(replace(HOST, name=HostName(name)))


async def outcome(engine: ProcessEngine, name: str) -> Outcome:
    result = await engine.do(job(name))
    assert isinstance(result, Outcome)
    return result


def reason(ended: Outcome) -> str:
    assert ended.problem is not None
    return f"{ended.problem.code}: {ended.problem.message}"


async def test_jobs_are_spread_over_workers(site: Site) -> None:
    """Each comes back with its own result; several processes were at work, and an event that is waited for was recorded."""
    names = [f"tells-{number}" for number in range(20)]
    async with site.engine(2) as engine:
        ended = await asyncio.gather(*(outcome(engine, name) for name in names))
    told = [event for event in site.emit.events if isinstance(event, Warned)]
    begun = [str(event.host) for event in site.emit.events if isinstance(event, StepStarted)]
    assert [one.host for one in ended] == names
    assert (sorted(begun), {event.host for event in told}) == (sorted(names), set(names))
    assert len({event.message for event in told}) == 2


async def test_host_keeps_its_worker(site: Site) -> None:
    """What a worker learned of a host, its key say, is known when the host comes again."""
    async with site.engine(3) as engine:
        for _ in range(3):
            await outcome(engine, "tells-1")
    assert len({event.message for event in site.emit.events if isinstance(event, Warned)}) == 1


async def test_worker_asks_the_coordinator(site: Site) -> None:
    """A call has its path, arguments and keywords, and its answer comes back."""
    async with site.engine() as engine:
        ended = await outcome(engine, "asks-1")
    assert reason(ended) == "said: answer to ('eu', 'api', 'node')"
    assert [(call.arguments, call.keywords) for call in site.calls] == [(("asks-1",), {"exact": True})]


async def test_refused_call_is_raised_in_the_job(site: Site) -> None:
    """An error of ours goes through both ways, with all that is known of it."""
    site.error = RegionError("region_failing", "no leader", "wait")
    async with site.engine() as engine:
        with pytest.raises(RegionError, match="no leader") as caught:
            await engine.do(job("asks-1"))
    assert (caught.value.code, caught.value.hint) == ("region_failing", "wait")


async def test_error_of_a_job_is_raised(site: Site) -> None:
    """As if it had been carried out here."""
    async with site.engine() as engine:
        with pytest.raises(HostFailedError, match="the host refused"):
            await engine.do(job("errs-1"))


async def test_bug_in_a_worker_is_raised_with_its_traceback(site: Site) -> None:
    """It is a bug here as well, and it says where it is."""
    async with site.engine() as engine:
        with pytest.raises(RuntimeError, match=r"rehearsed_worker\.py.*\n.*\n.*a bug in a worker"):
            await engine.do(job("crashes-1"))


async def test_bug_in_an_answer_ends_the_job(site: Site) -> None:
    """Nobody waits for an answer that never comes."""
    site.error = ValueError("a bug here")
    async with site.engine() as engine:
        with pytest.raises(ValueError, match="a bug here"):
            await engine.do(job("asks-1"))


async def test_broken_records_reach_the_job(site: Site) -> None:
    """An event that must be on disk is not; one that nobody waits for says nothing."""
    site.emit = Emitted(error=UnwritableError("journal_broken", "No space left", "make room"))
    async with site.engine() as engine:
        with pytest.raises(UnwritableError, match="No space left"):
            await engine.do(job("tells-1"))


async def test_worker_that_dies_loses_nothing(site: Site) -> None:
    """Its hosts are looked at again by another process, and it is said that it died."""
    names = ["once-1", *(f"tells-{number}" for number in range(10))]
    async with site.engine(1) as engine:
        ended = await asyncio.gather(*(outcome(engine, name) for name in names))
    assert {one.result for one in ended} == {Result.UNCHANGED}
    said = [
        event.message
        for event in site.emit.events
        if isinstance(event, Warned) and event.code == "worker_lost"
    ]
    assert said == ["worker process 1 ended with signal 9; what it was at is begun again"]


async def test_closing_that_a_dead_worker_had_begun_is_what_the_next_is_told_of(site: Site) -> None:
    """Its key may be gone, so that no login would show how far the host is: by what was recorded it is confirmed."""
    planned: Any = Surveyed(replace(HOST, name=HostName("closes-1")), "closes-1", BARE, ())
    async with site.engine(1) as engine:
        ended = await engine.do(EnrollJob(planned, "aaaaaaaaaaaa"))
    assert reason(ended) == "said: n miner ssh-ed25519 AAAA"


async def test_host_that_ends_workers_is_given_up(site: Site) -> None:
    """After the second process; the other hosts are done by a third."""
    async with site.engine(1) as engine:
        ended = await outcome(engine, "dies-1")
        assert (await outcome(engine, "tells-1")).result is Result.UNCHANGED
    assert (ended.result, reason(ended)) == (
        Result.UNREACHABLE,
        "worker_lost: the worker process that was at this host ended, twice",
    )


async def test_processes_are_replaced_so_often_and_no_more(site: Site) -> None:
    """A machine that ends every process is no reason to start them for ever."""
    async with site.engine(1) as engine:
        for number in range(REPLACEMENTS):
            await outcome(engine, f"dies-{number}")
        assert reason(await outcome(engine, "tells-1")).startswith("worker_lost")
    assert len((site.directory / "deaths").read_text().splitlines()) == REPLACEMENTS + 1


async def test_worker_that_says_nonsense_is_ended(site: Site) -> None:
    """What it says is not taken for records: it is killed, and its jobs raise."""
    async with site.engine(1) as engine:
        with pytest.raises(pickle.UnpicklingError):
            await engine.do(job("babbles-1"))


async def test_shared_values_reach_all_workers(site: Site) -> None:
    """Those that run, and those that are started later: the last value counts."""
    async with site.engine(1) as engine:
        engine.share("first")
        assert reason(await outcome(engine, "knows-1")) == "said: first"
        engine.share("second")
        assert reason(await outcome(engine, "knows-1")) == "said: second"
        await outcome(engine, "once-1")
        assert reason(await outcome(engine, "knows-1")) == "said: second"


async def test_end_that_is_asked_for_reaches_all_workers(site: Site) -> None:
    """Those that run, and those that are started later."""
    async with site.engine(1) as engine:
        waiting = asyncio.create_task(outcome(engine, "stops-1"))
        await site.is_waiting.wait()
        engine.stop()
        await waiting
        await outcome(engine, "once-1")
        await outcome(engine, "stops-2")


async def test_closing_cancels_what_is_under_way(site: Site) -> None:
    """A worker tidies up, and nothing is said of its end."""
    async with site.engine(1) as engine:
        waiting = asyncio.create_task(engine.do(job("waits-1")))
        await site.is_waiting.wait()
        waiting.cancel()
    assert ((site.directory / "tidied").exists(), site.emit.events) == (True, [])
