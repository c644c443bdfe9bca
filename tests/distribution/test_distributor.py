"""The port: who waits is woken when something was settled, and is pushed when its patience is over."""

from __future__ import annotations

import asyncio
import pickle

from ionetctl.core.model.names import Digest, HostName
from ionetctl.distribution.distributor import EVERYTHING_PUSHED, PATIENCE_S, Fanout, Fixed
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.scheduler import PUSH
from tests.support.clock import ManualClock

FILES = frozenset({Digest("a" * 64)})
FIRST = Request(HostName("first"), "a01", FILES, can_serve=True)
SECOND = Request(HostName("second"), "a01", FILES, can_serve=True)
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
    """A mirror is asked for; where all is pushed, nothing is. Nobody serves."""
    mirror = Source(Origin.MIRROR, "http://mirror")
    fixed = Fixed(mirror)
    assert (await fixed.acquire(FIRST), await EVERYTHING_PUSHED.acquire(FIRST)) == (mirror, PUSH)
    await fixed.settle(FIRST.host, Obtained(is_whole=True))
    assert (fixed.is_needed, EVERYTHING_PUSHED.is_needed, await fixed.seeds()) == (True, False, ())


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
