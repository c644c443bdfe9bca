"""Work side by side: order, concurrency, stopping, and what an error of the work does."""

from __future__ import annotations

import asyncio

import pytest

from ionetctl.rollout.concurrently import Slots, concurrently
from tests.support.clock import ManualClock


def never() -> bool:
    return False


def slots(at_once: int) -> Slots:
    return Slots(at_once, ManualClock())


class StillClock(ManualClock):
    """A clock whose sleepers are woken by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.wake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.wake.wait()


async def test_all_items_are_done_in_order() -> None:
    """One at a time, items are done as they come."""
    done: list[int] = []

    async def work(item: int) -> None:
        done.append(item)

    assert (await concurrently(iter(range(5)), work, slots(1), never), done) == ((), [0, 1, 2, 3, 4])


async def test_concurrency_is_kept() -> None:
    """No more pieces of work are under way than asked for, and all are done."""
    under_way, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        done.append(item)
        under_way -= 1

    left = await concurrently(range(10), work, slots(3), never)
    assert (left, most, done) == ((), 3, list(range(10)))


async def test_slow_item_holds_up_nobody() -> None:
    """While one is stuck, the others go through."""
    gate, done = asyncio.Event(), []

    async def work(item: int) -> None:
        if item == 0:
            await gate.wait()
        done.append(item)
        if item == 3:
            gate.set()

    await concurrently(range(4), work, slots(2), never)
    assert done == [1, 2, 3, 0]


async def test_stop_begins_nothing_else() -> None:
    """Items under way are finished; those not begun come back, in order."""
    done: list[int] = []

    async def work(item: int) -> None:
        await asyncio.sleep(0)
        done.append(item)

    both = slots(2)
    left = await concurrently(range(6), work, both, lambda: len(done) >= 2)
    assert (left, sorted(done)) == ((2, 3, 4, 5), [0, 1])
    assert await concurrently(range(2), work, both, never) == ()


async def test_pause_keeps_nobody_from_working() -> None:
    """While one waits for its next attempt, the others go through; it goes on once there is room."""
    clock, order = StillClock(), []
    one = Slots(1, clock)

    async def work(item: int) -> None:
        order.append(f"{item} begins")
        if item == 0:
            await one.pause(30)
        elif item == 1:
            clock.wake.set()
            await asyncio.sleep(0)
        order.append(f"{item} ends")

    assert await concurrently(range(3), work, one, never) == ()
    assert order == ["0 begins", "1 begins", "1 ends", "2 begins", "2 ends", "0 ends"]
    assert (clock.slept, one.locked()) == ([30], False)


@pytest.mark.parametrize("waits_for", ["its time", "a slot"])
async def test_pause_that_is_cut_short_gives_no_slot_away_twice(waits_for: str) -> None:
    """Cancelled while it has no slot, its end releases none: there are as many as there were."""
    clock = StillClock()
    one = Slots(1, clock)

    async def work() -> None:
        await one.acquire()
        try:
            await one.pause(30)
        finally:
            one.release()

    paused = asyncio.create_task(work())
    await asyncio.sleep(0)
    await one.acquire()  # another's
    if waits_for == "a slot":
        clock.wake.set()
    for _ in range(3):
        await asyncio.sleep(0)
    paused.cancel()
    await asyncio.gather(paused, return_exceptions=True)
    assert one.locked()
    one.release()
    await one.acquire()
    assert one.locked()


async def test_nothing_to_do_is_done_at_once() -> None:
    """No item, no work."""

    async def work(_: int) -> None:
        raise AssertionError

    assert await concurrently((), work, slots(5), never) == ()


async def test_error_of_the_work_ends_the_run() -> None:
    """What work raises is a bug or a broken journal: the others are ended, and it comes out."""
    is_cancelled = asyncio.Event()

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError("a bug")
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    with pytest.raises(ExceptionGroup) as caught:
        await concurrently(range(4), work, slots(2), never)
    assert ([str(error) for error in caught.value.exceptions], is_cancelled.is_set()) == (["a bug"], True)


async def test_cancellation_ends_the_work() -> None:
    """Whoever is told to stop now ends what is under way."""
    are_begun = asyncio.Barrier(3)
    ended: list[int] = []

    async def work(item: int) -> None:
        await are_begun.wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    running = asyncio.create_task(concurrently(range(3), work, slots(2), never))
    await are_begun.wait()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(ended) == [0, 1]
