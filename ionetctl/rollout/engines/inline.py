"""Pipelines in this process's own event loop: as many at once as asked for, taken from a queue in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_Item = TypeVar("_Item")


class InlineEngine:
    """``ports.Engine`` with at most ``concurrency`` pieces of work under way."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency

    async def run(
        self,
        items: Iterable[_Item],
        work: Callable[[_Item], Awaitable[None]],
        is_stopped: Callable[[], bool],
    ) -> tuple[_Item, ...]:
        """Do the work on the items in order; returns those not begun because ``is_stopped`` said so.

        ``work`` turns every failure into a value; what it raises all the same is a bug, or the end of the journal,
        and ends the whole run.
        """
        queue = list(items)
        position = 0

        async def labour() -> None:
            nonlocal position
            while position < len(queue) and not is_stopped():
                item = queue[position]
                position += 1
                await work(item)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._concurrency, len(queue))):
                tasks.create_task(labour())
        return tuple(queue[position:])
