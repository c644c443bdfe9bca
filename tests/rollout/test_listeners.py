"""Listeners: each at its own pace, bounded, and dropped when it fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.events import Envelope, RolloutFinished, Warned
from ionetctl.rollout.listeners import BATCH_LIMIT, Listeners

if TYPE_CHECKING:
    from collections.abc import Sequence


class Reader:
    """A sink that reads while its gate is open."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.is_closed = False
        if is_open:
            self.gate.set()

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        self.began.set()
        await self.gate.wait()
        self.batches.append([envelope.seq for envelope in envelopes])

    async def close(self) -> None:
        self.is_closed = True


class Torn(Reader):
    """A sink that fails at the second batch."""

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        if self.batches:
            raise OSError("gone")
        await super().take(envelopes)


def events(first: int, last: int) -> list[Envelope]:
    return [
        Envelope(seq, "2026-11-23T01:12:26.000Z", RolloutFinished(exit_code=0))
        for seq in range(first, last + 1)
    ]


async def test_what_does_not_fit_is_left_out_and_said() -> None:
    """A queue that is full loses what comes then; the reader gets the rest, and how much is missing is told once."""
    said: list[Warned] = []
    reader, quick = Reader(is_open=False), Reader()
    listeners = Listeners([reader, quick], said.append, limit=3)
    listeners.put(events(1, 1))
    await reader.began.wait()
    for seq in range(2, 8):
        listeners.put(events(seq, seq))
        await asyncio.sleep(0)
    before = list(said)
    reader.gate.set()
    await listeners.close(None)
    warning = Warned(
        code="sink_behind",
        message="Reader was too slow, so 3 events were left out of it",
        hint="the journal has them: `ionetctl rollouts show`",
    )
    assert (before, said, reader.batches) == ([], [warning], [[1], [2, 3, 4]])
    assert [seq for batch in quick.batches for seq in batch] == list(range(1, 8))


async def test_batches_are_bounded() -> None:
    """However much has gathered, it is handed over in portions."""
    reader = Reader()
    listeners = Listeners([reader], lambda _: None)
    listeners.put(events(1, BATCH_LIMIT + 1))
    await listeners.close(None)
    assert [len(batch) for batch in reader.batches] == [BATCH_LIMIT, 1]


async def test_failing_listener_is_dropped() -> None:
    """It gets nothing more, and is not closed: it has failed."""
    said: list[Warned] = []
    torn = Torn()
    listeners = Listeners([torn], said.append)
    for seq in range(1, 4):
        listeners.put(events(seq, seq))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await listeners.close(None)
    assert (torn.batches, torn.is_closed, said) == (
        [[1]],
        False,
        [Warned(code="sink_failed", message="Torn is off: OSError")],
    )


async def test_stuck_listener_is_given_up() -> None:
    """Whoever asks for the end at once does not wait for a reader that reads nothing."""
    stuck, quick = Reader(is_open=False), Reader()
    listeners = Listeners([stuck, quick], lambda _: None)
    listeners.put(events(1, 1))
    await quick.began.wait()
    assert [await listeners.end_one(0), await listeners.end_one(60), await listeners.end_one(0)] == [
        True,
        True,
        False,
    ]
    await listeners.close(0)
    assert (stuck.is_closed, quick.is_closed) == (False, True)


async def test_cancelled_closer_gives_all_up() -> None:
    """A second Ctrl-C while a reader is waited for ends the waiting, and the writing."""
    stuck = Reader(is_open=False)
    listeners = Listeners([stuck], lambda _: None)
    listeners.put(events(1, 1))
    closing = asyncio.create_task(listeners.close(None))
    await stuck.began.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    stuck.gate.set()
    await asyncio.sleep(0)
    assert (stuck.batches, stuck.is_closed) == ([], False)
