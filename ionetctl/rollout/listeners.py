"""Those who are told what the journal has: catalog, screen, streams. Each has a queue and a task of its own.

A listener that is slow holds up neither the rollout nor the others. Its queue is bounded: what does not fit is left out,
and a warning says how much. A listener that fails is dropped with a warning. All that they hold can be rebuilt from the journal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import IonetctlError
from ionetctl.core.events import Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ionetctl.core.events import Envelope
    from ionetctl.core.ports import Sink

QUEUE_LIMIT: Final = 50_000
"""How many events a queue holds: bounds the memory that a reader can cost who has stopped reading."""
BATCH_LIMIT: Final = 1024
"""How many events are handed over at once."""


class Listeners:
    """Hands events to sinks; ``warn`` is given what is to be said of them."""

    def __init__(
        self, sinks: Sequence[Sink], warn: Callable[[Warned], None], limit: int = QUEUE_LIMIT
    ) -> None:
        self._queues = [_Queue(sink, limit, warn) for sink in sinks]
        self._open = deque(self._queues)

    def put(self, envelopes: Sequence[Envelope]) -> None:
        """Queue the events for every listener; waits for none of them."""
        for queue in self._queues:
            queue.put(envelopes)

    async def end_one(self, patience_s: float) -> bool:
        """Close the next listener once it has everything, and wait for that as long as ``patience_s``; false after the last."""
        if not self._open:
            return False
        queue = self._open.popleft()
        await asyncio.wait({queue.end()}, timeout=patience_s)
        return True

    async def close(self, patience_s: float | None) -> None:
        """Wait until all listeners have everything and are closed; those that take longer than ``patience_s`` are given up.

        All are given up where the caller is cancelled meanwhile.
        """
        tasks = {queue.end() for queue in self._queues}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=patience_s)
        finally:
            for task in tasks:
                task.cancel()


class _Queue:
    """One listener's events, and the task that hands them over while there are any."""

    def __init__(self, sink: Sink, limit: int, warn: Callable[[Warned], None]) -> None:
        self._sink = sink
        self._limit = limit
        self._warn = warn
        self._events: deque[Envelope] = deque()
        self._left_out = 0
        self._is_ending = False
        self._is_off = False
        self._task: asyncio.Task[None] | None = None

    def put(self, envelopes: Sequence[Envelope]) -> None:
        if self._is_off:
            return
        fitting = envelopes[: max(0, self._limit - len(self._events))]
        self._events.extend(fitting)
        self._left_out += len(envelopes) - len(fitting)
        self._working()

    def end(self) -> asyncio.Task[None]:
        """Have the sink closed once it has everything; the task that does so."""
        self._is_ending = True
        return self._working()

    def _working(self) -> asyncio.Task[None]:
        if self._task is None or (self._task.done() and not self._is_off):
            self._task = asyncio.create_task(self._work(), name=f"to {type(self._sink).__name__}")
        return self._task

    async def _work(self) -> None:
        try:
            while self._events:
                size = min(len(self._events), BATCH_LIMIT)
                await self._sink.take([self._events.popleft() for _ in range(size)])
            if self._left_out:
                self._warn(_behind(self._sink, self._left_out))
                self._left_out = 0
            if self._is_ending:
                self._is_off = True
                await self._sink.close()
        except Exception as error:  # noqa: BLE001  a listener that can be rebuilt must not stop a rollout
            self._is_off = True
            self._events.clear()
            self._warn(_failed(self._sink, error))


def _failed(sink: Sink, error: Exception) -> Warned:
    name = type(sink).__name__
    if isinstance(error, IonetctlError):
        return Warned(code=error.code, message=f"{name} is off: {error.message}", hint=error.hint)
    return Warned(code="sink_failed", message=f"{name} is off: {type(error).__name__}")


def _behind(sink: Sink, left_out: int) -> Warned:
    message = f"{type(sink).__name__} was too slow, so {left_out:,} events were left out of it"
    return Warned(code="sink_behind", message=message, hint="the journal has them: `ionetctl rollouts show`")
