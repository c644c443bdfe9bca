"""The port: who waits is woken when something was settled, and is pushed when its patience is over."""

from __future__ import annotations

import asyncio
import pickle

import pytest

from ionetctl.core.events import Warned
from ionetctl.core.model.names import Digest, HostName
from ionetctl.distribution.distributor import (
    EVERYTHING_PUSHED,
    HOSTS_IN_VAIN,
    PATIENCE_S,
    Fanout,
    Fixed,
    Mirror,
)
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.scheduler import PUSH
from tests.support.clock import ManualClock
from tests.support.fakes import Emitted

FILES = frozenset({Digest("a" * 64)})
FIRST = Request(HostName("first"), "a01", FILES, can_serve=True)
SECOND = Request(HostName("second"), "a01", FILES, can_serve=True)
MIRROR = Source(Origin.MIRROR, "http://mirror")
SEED = Seed(FIRST.host, FILES, "http://first/token", "unit")


class StillClock(ManualClock):
    """Nobody's sleep ends."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.asked.release()
        await asyncio.Event().wait()

    async def has_slept(self, times: int) -> None:
        """Returns once ``sleep`` was called so many times more."""
        for _ in range(times):
            await self.asked.acquire()


async def test_fixed_source_is_everybodys() -> None:
    """Where all is pushed, nothing is asked. Nobody serves."""
    fixed = Fixed(MIRROR)
    assert (await fixed.acquire(FIRST), await EVERYTHING_PUSHED.acquire(FIRST)) == (MIRROR, PUSH)
    await fixed.settle(FIRST.host, Obtained(is_whole=True))
    assert (fixed.is_needed, EVERYTHING_PUSHED.is_needed, await fixed.seeds()) == (True, False, ())


def hosts(count: int) -> list[Request]:
    return [Request(HostName(f"h{n}"), "a01", FILES, can_serve=True) for n in range(count)]


IN_VAIN = Obtained(is_whole=False, is_sources_fault=True)
IN_PART = Obtained(is_whole=False, is_sources_fault=True, has_some=True)
OWN_FAULT = Obtained(is_whole=False)
WHOLE = Obtained(is_whole=True, has_some=True)


async def test_mirror_that_serves_nobody_is_given_up() -> None:
    """Some hosts find it dead; the rest is pushed without asking, and one warning says so, when those asking are done."""
    mirror = Mirror(MIRROR, emit := Emitted())
    *failing, late, after = hosts(HOSTS_IN_VAIN + 2)
    assert [await mirror.acquire(each) for each in (*failing, late)] == [MIRROR] * (HOSTS_IN_VAIN + 1)
    for each in failing:
        await mirror.settle(each.host, IN_VAIN)
    assert (await mirror.acquire(after), emit.events) == (PUSH, [])
    await mirror.settle(after.host, Obtained(is_whole=True))
    await mirror.settle(late.host, IN_VAIN)
    await mirror.acquire(after)
    await mirror.settle(after.host, Obtained(is_whole=True))
    assert [(warned.code, warned.host) for warned in emit.events if isinstance(warned, Warned)] == [
        ("mirror_given_up", None)
    ]


@pytest.mark.parametrize("served", [WHOLE, IN_PART])
@pytest.mark.parametrize("is_first", [True, False])
async def test_mirror_that_only_some_hosts_cannot_reach_goes_on(served: Obtained, *, is_first: bool) -> None:
    """Who had something from it, before the others failed or while they did, shows that it is not dead."""
    mirror = Mirror(MIRROR, emit := Emitted())
    *failing, good, after = hosts(HOSTS_IN_VAIN + 2)
    for each in (*failing, good):
        await mirror.acquire(each)
    outcomes = [(each, IN_VAIN) for each in failing]
    outcomes.insert(0 if is_first else len(outcomes), (good, served))
    for each, obtained in outcomes:
        await mirror.settle(each.host, obtained)
    assert (await mirror.acquire(after), emit.events) == (MIRROR, [])


@pytest.mark.parametrize("obtained", [OWN_FAULT, Obtained(is_whole=True)])
async def test_mirror_is_not_blamed_for_what_hosts_lack(obtained: Obtained) -> None:
    """A host without a program that fetches, or one that has the files already, says nothing about it; nor does one twice."""
    mirror = Mirror(MIRROR, emit := Emitted())
    *failing, twice, after = hosts(HOSTS_IN_VAIN + 2)
    for each in failing:
        await mirror.acquire(each)
        await mirror.settle(each.host, obtained)
    for _ in range(HOSTS_IN_VAIN):
        await mirror.acquire(twice)
        await mirror.settle(twice.host, IN_VAIN)
    assert (await mirror.acquire(after), emit.events) == (MIRROR, [])


async def test_waiting_host_is_woken_by_its_seed() -> None:
    """It is given the seed as soon as that serves."""
    clock = StillClock()
    fanout = Fanout(clock)
    assert fanout.is_needed
    assert (await fanout.acquire(FIRST)).serves
    waiting = asyncio.create_task(fanout.acquire(SECOND))
    await clock.has_slept(1)
    assert not waiting.done()
    await fanout.settle(FIRST.host, Obtained(is_whole=True, seed=SEED))
    assert await waiting == Source(Origin.PEER, SEED.url, FIRST.host)
    assert await fanout.seeds() == (SEED,)


async def test_patience_ends() -> None:
    """Who waits in vain is pushed after a while."""
    clock = ManualClock()
    fanout = Fanout(clock)
    await fanout.acquire(FIRST)
    assert (await fanout.acquire(SECOND)).origin is Origin.PUSH
    assert clock.monotonic() == PATIENCE_S


async def test_host_that_is_cancelled_waits_no_more() -> None:
    """A cancelled wait ends at once, and counts no more among those for whom seeds are wanted."""
    clock = StillClock()
    fanout = Fanout(clock)
    await fanout.acquire(FIRST)
    waits = [
        asyncio.create_task(fanout.acquire(Request(HostName(f"w{n}"), "a01", FILES, can_serve=True)))
        for n in range(9)
    ]
    await clock.has_slept(len(waits))
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await fanout.settle(FIRST.host, Obtained(is_whole=True, seed=SEED))
    assert not (await fanout.acquire(SECOND)).serves


def test_values_can_be_sent_to_a_process() -> None:
    """What is asked and answered is plain data."""
    values = (FIRST, SEED, Source(Origin.PEER, SEED.url, FIRST.host), Obtained(is_whole=True, seed=SEED))
    assert pickle.loads(pickle.dumps(values)) == values  # noqa: S301  (our own bytes)
