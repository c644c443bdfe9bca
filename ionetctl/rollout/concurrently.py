"""Work on many hosts side by side: as many at once as asked for, taken from a queue in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_Item = TypeVar("_Item")


async def concurrently(
    items: Iterable[_Item],
    work: Callable[[_Item], Awaitable[None]],
    at_once: int,
    is_stopped: Callable[[], bool],
) -> tuple[_Item, ...]:
    """Do the work on the items in order, ``at_once`` at most; returns those not begun because ``is_stopped`` said so.

    ``work`` turns every failure into a value; what it raises all the same is a bug, or the end of the journal,
    and ends the whole run.
    """
    queue = list(items)
    position = 0

    async def worker() -> None:
        nonlocal position
        while position < len(queue) and not is_stopped():
            item = queue[position]
            position += 1
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(at_once, len(queue))):
            tasks.create_task(worker())
    return tuple(queue[position:])
