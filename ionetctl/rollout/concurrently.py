"""Work on many hosts side by side: as many at once as asked for, taken from a queue in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ionetctl.core.ports import Clock

_Item = TypeVar("_Item")


class Slots(asyncio.Semaphore):
    """How many hosts may be under way at once. A host that waits for its next attempt is not."""

    def __init__(self, at_once: int, clock: Clock) -> None:
        super().__init__(at_once)
        self._clock = clock

    async def pause(self, seconds: float) -> None:
        """Wait for that long without the host's slot, then for one that is free."""
        self.release()
        await self._clock.sleep(seconds)
        await self.acquire()


async def concurrently(
    items: Iterable[_Item],
    work: Callable[[_Item], Awaitable[None]],
    slots: Slots,
    is_stopped: Callable[[], bool],
) -> tuple[_Item, ...]:
    """Do the work on the items in order, each in a slot; returns those not begun because ``is_stopped`` said so.

    ``work`` turns every failure into a value; what it raises all the same is a bug, or the end of the journal,
    and ends the whole run.
    """
    left: list[_Item] = []

    async def in_slot(item: _Item) -> None:
        try:
            if is_stopped():
                left.append(item)
            else:
                await work(item)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as tasks:
        for item in items:
            await slots.acquire()
            tasks.create_task(in_slot(item))
    return tuple(left)
