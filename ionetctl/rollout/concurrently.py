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
        self._owed = 0
        """Slots that will be released by hosts that do not have them."""

    def release(self) -> None:
        """Give a slot back."""
        if self._owed:
            self._owed -= 1
        else:
            super().release()

    async def pause(self, seconds: float) -> None:
        """Wait for that long without the host's slot, then for one that is free.

        Its slot is released by the host's end, however this ends: where it has none then, there is one fewer to release.
        """
        self.release()
        try:
            await self._clock.sleep(seconds)
            await self.acquire()
        except BaseException:
            self._owed += 1
            raise


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
