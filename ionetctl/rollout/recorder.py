"""The one ordered stream: takes events from all steps, numbers them, and hands them to the sinks in a fixed order.

The first sink is the journal: an event counts as told once that sink has it, and when it fails, nothing may follow.
The others are conveniences that can be rebuilt: one that fails is dropped with a warning. The recorder knows sinks and
a clock; it must not know what an event means or where sinks keep it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import IonetctlError, UnwritableError
from ionetctl.core.events import AnyEvent, Envelope, Warned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from ionetctl.core.ports import Clock, Sink

BATCH_LIMIT: Final = 1024
"""How many events share one write: bounds what a sink must hold at once."""

JOURNAL_BROKEN: Final = "journal_broken"

_Pending = tuple[AnyEvent, "asyncio.Future[None] | None"]


class Recorder:
    """The recording end of ``ports.Emit``; use it as an asynchronous context manager.

    An event has its place from the moment of the call, so a caller that is cancelled while it waits loses nothing.
    The queue needs no limit of its own: every caller waits for its event, so it holds one event a task at most.
    """

    def __init__(self, sinks: Sequence[Sink], clock: Clock, first_seq: int = 1) -> None:
        if not sinks:
            raise ValueError("a recorder needs a journal")
        self._journal = sinks[0]
        self._others = list(sinks[1:])
        self._clock = clock
        self._next_seq = first_seq
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._failure: UnwritableError | None = None
        self._consumer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._consumer = asyncio.create_task(self._consume(), name="recorder")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except UnwritableError:
            # The block's own error is nearer to the cause; most often it is this very failure.
            if error is None:
                raise

    async def __call__(self, event: AnyEvent) -> None:
        """Hand over one event; returns when the journal has it.

        Raises ``UnwritableError`` (``journal_broken``) when it cannot be recorded: then nothing may follow.
        """
        if self._failure is not None:
            raise _same(self._failure)
        if self._is_closing or self._consumer is None:
            raise RuntimeError("the recorder is not open")
        told = asyncio.get_running_loop().create_future()
        self._pending.append((event, told))
        self._wake.set()
        await told

    async def close(self) -> None:
        """Record what is pending, then close the sinks, the journal last.

        Goes on to the end even when the caller is cancelled. Raises ``UnwritableError`` (``journal_broken``)
        when the journal failed.
        """
        if self._consumer is None:
            return
        self._is_closing = True
        self._wake.set()
        # Not awaited directly: a cancelled closer would cancel the consumer with it.
        await asyncio.wait({self._consumer})
        self._consumer.result()
        if self._failure is not None:
            raise _same(self._failure)

    async def _consume(self) -> None:
        try:
            while not (self._is_closing and not self._pending):
                await self._wake.wait()
                self._wake.clear()
                await self._drain()
            await self._close_others()
            await self._close_journal()
        finally:
            self._refuse_pending()

    async def _drain(self) -> None:
        while self._pending:
            size = min(len(self._pending), BATCH_LIMIT)
            batch = [self._pending.popleft() for _ in range(size)]
            await self._record(batch)

    async def _record(self, batch: Sequence[_Pending]) -> None:
        envelopes = self._numbered([event for event, _ in batch])
        waiting = [told for _, told in batch if told is not None]
        if self._failure is None:
            try:
                await self._journal.take(envelopes)
            except Exception as error:  # noqa: BLE001  whatever it was, the record is broken and all must hear it
                self._failure = _broken(error)
            except BaseException:
                self._failure = _broken(asyncio.CancelledError())
                _settle(waiting, self._failure)
                raise
        _settle(waiting, self._failure)
        if self._failure is None:
            for sink in tuple(self._others):
                await self._hand(sink, envelopes)

    def _numbered(self, events: Sequence[AnyEvent]) -> tuple[Envelope, ...]:
        time = self._clock.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        first = self._next_seq
        self._next_seq += len(events)
        return tuple(Envelope(first + index, time, event) for index, event in enumerate(events))

    async def _hand(self, sink: Sink, envelopes: Sequence[Envelope]) -> None:
        try:
            await sink.take(envelopes)
        except Exception as error:  # noqa: BLE001  a sink that can be rebuilt must not stop a rollout
            self._others.remove(sink)
            self._warn(sink, error)

    async def _close_others(self) -> None:
        while self._others:
            sink = self._others.pop(0)
            try:
                await sink.close()
            except Exception as error:  # noqa: BLE001  as above
                self._warn(sink, error)
            await self._drain()

    async def _close_journal(self) -> None:
        try:
            await self._journal.close()
        except Exception as error:  # noqa: BLE001  as in _record
            self._failure = self._failure or _broken(error)

    def _warn(self, sink: Sink, error: Exception) -> None:
        name = type(sink).__name__
        if isinstance(error, IonetctlError):
            warning = Warned(code=error.code, message=f"{name} is off: {error.message}", hint=error.hint)
        else:
            warning = Warned(code="sink_failed", message=f"{name} is off: {type(error).__name__}")
        self._pending.append((warning, None))
        self._wake.set()

    def _refuse_pending(self) -> None:
        if self._pending and self._failure is None:
            self._failure = _broken(asyncio.CancelledError())
        _settle([told for _, told in self._pending if told is not None], self._failure)
        self._pending.clear()


def _settle(waiting: Sequence[asyncio.Future[None]], failure: UnwritableError | None) -> None:
    for told in waiting:
        if told.done():
            continue
        if failure is None:
            told.set_result(None)
        else:
            told.set_exception(_same(failure))


def _broken(error: BaseException) -> UnwritableError:
    if isinstance(error, UnwritableError) and error.code == JOURNAL_BROKEN:
        return error
    message = f"the journal cannot be written ({type(error).__name__}), so nothing more is done"
    return UnwritableError(JOURNAL_BROKEN, message, "mend it, then go on with --resume")


def _same(error: UnwritableError) -> UnwritableError:
    """A copy of its own for each who raises it: one exception object must not gather everybody's traceback."""
    return UnwritableError(error.code, error.message, error.hint)
