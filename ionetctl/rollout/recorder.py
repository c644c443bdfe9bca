"""The one ordered stream: takes events from all steps, numbers them, and writes them to the journal.

An event that announces a change is on disk before its emitter goes on (group commit: one sync for all that wait). Nothing
else waits: it is written with what comes in the next moment, and synced with the next announcement or a second later. Once the journal has failed,
nothing may follow. Listeners are told what is written, and never waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC
from typing import TYPE_CHECKING, Final, Protocol, Self

from ionetctl.core.errors import UnwritableError
from ionetctl.core.events import AnyEvent, Envelope, announces_change
from ionetctl.core.ports import Sink
from ionetctl.rollout.listeners import Listeners

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from ionetctl.core.events import Warned
    from ionetctl.core.ports import Clock

BATCH_LIMIT: Final = 1024
"""How many events share one write."""
GATHER_S: Final = 0.05
"""How long an event that nobody waits for is kept for others to share its write: each write costs a turn of a thread."""
SYNC_S: Final = 1.0
"""How long an event that nobody waits for may be written and not synced."""
SETTLE_S: Final = 2.0
"""How long the end of the record waits for each listener, so that what is to be said of it is in the record."""

JOURNAL_BROKEN: Final = "journal_broken"

_Pending = tuple[str, AnyEvent, "asyncio.Future[None] | None"]
"""An event with its time, and who waits for it."""


class Record(Sink, Protocol):
    """The journal, as the recorder writes it: ``take`` writes a batch."""

    async def sync(self) -> None:
        """Put on disk all that was taken."""
        ...


class Recorder:
    """The recording end of ``ports.Emit``; use it as an asynchronous context manager.

    An event has its place from the moment of the call, so a caller that is cancelled while it waits loses nothing.
    The queue needs no limit of its own: a host comes to its next announcement within a few events, and waits there.
    Its end does not wait for slow ``listeners``: close those afterwards.
    """

    def __init__(
        self, journal: Record, clock: Clock, listeners: Sequence[Sink] = (), first_seq: int = 1
    ) -> None:
        self.listeners = Listeners(listeners, self._note)
        self._journal = journal
        self._clock = clock
        self._next_seq = first_seq
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._sync_due: float | None = None
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
        """Hand over one event; returns when it is on disk if it announces a change, else at once.

        Raises ``UnwritableError`` (``journal_broken``) when the journal cannot be written: then nothing may follow.
        """
        if self._failure is not None:
            raise _same(self._failure)
        if self._is_closing or self._consumer is None:
            raise RuntimeError("the recorder is not open")
        told = asyncio.get_running_loop().create_future() if announces_change(event) else None
        self._put(event, told)
        # Others have their turn in any case, the writing of this event among them.
        await (asyncio.sleep(0) if told is None else told)

    async def close(self) -> None:
        """Record what is pending, close the listeners that have everything, and the journal.

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
                await self._wait()
                await self._drain()
            while await self.listeners.end_one(SETTLE_S):
                await self._drain()
            await self._close_journal()
        finally:
            self._stop_gathering()
            self._refuse_pending()

    async def _wait(self) -> None:
        """Return when there are events, or the written ones are due to be synced."""
        try:
            async with asyncio.timeout_at(self._sync_due):
                await self._wake.wait()
        except TimeoutError:
            await self._sync()
        self._stop_gathering()
        self._wake.clear()

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def _drain(self) -> None:
        while self._pending:
            size = min(len(self._pending), BATCH_LIMIT)
            batch = [self._pending.popleft() for _ in range(size)]
            await self._record(batch)

    async def _record(self, batch: Sequence[_Pending]) -> None:
        envelopes = self._numbered(batch)
        waiting = [told for _, _, told in batch if told is not None]
        try:
            await self._attempt(lambda: self._journal.take(envelopes))
            now = asyncio.get_running_loop().time()
            self._sync_due = now + SYNC_S if self._sync_due is None else self._sync_due
            if waiting or self._sync_due <= now:
                await self._sync()
        finally:
            _settle(waiting, self._failure)
        if self._failure is None:
            self.listeners.put(envelopes)

    async def _sync(self) -> None:
        self._sync_due = None
        await self._attempt(self._journal.sync)

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something with the journal, unless it has failed; note it where it fails now."""
        if self._failure is not None:
            return
        try:
            await work()
        except Exception as error:  # noqa: BLE001  whatever it was, the record is broken and all must hear it
            self._failure = _broken(error)
        except BaseException:
            self._failure = _broken(asyncio.CancelledError())
            raise

    def _numbered(self, batch: Sequence[_Pending]) -> tuple[Envelope, ...]:
        first = self._next_seq
        self._next_seq += len(batch)
        return tuple(Envelope(first + index, time, event) for index, (time, event, _) in enumerate(batch))

    async def _close_journal(self) -> None:
        if self._sync_due is not None:
            await self._sync()
        failure, self._failure = self._failure, None
        await self._attempt(self._journal.close)
        self._failure = failure or self._failure

    def _note(self, warning: Warned) -> None:
        self._put(warning, None)

    def _put(self, event: AnyEvent, told: asyncio.Future[None] | None) -> None:
        time = self._clock.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._pending.append((time, event, told))
        if told is not None or len(self._pending) >= BATCH_LIMIT:
            self._wake.set()
        elif self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._wake.set)

    def _refuse_pending(self) -> None:
        if self._pending and self._failure is None:
            self._failure = _broken(asyncio.CancelledError())
        _settle([told for _, _, told in self._pending if told is not None], self._failure)
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
