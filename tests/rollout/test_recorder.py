"""The recorder: order, numbers, what is told when, and what a broken sink does."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError, IonetctlError, UnwritableError
from ionetctl.core.events import AnyEvent, Envelope, StepStarted, Warned
from ionetctl.core.model.names import HostName
from ionetctl.rollout.recorder import BATCH_LIMIT, Recorder
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Sequence


class Memory:
    """A sink that remembers; it can be held up, and told to fail at an event or at its closing."""

    def __init__(
        self, fail_at: int = 0, error: Exception | None = None, *, fails_closing: bool = False
    ) -> None:
        self.batches: list[Sequence[Envelope]] = []
        self.synced: list[int] = []
        """How many events there were at each sync."""
        self.was_synced = asyncio.Event()
        self.sync_error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.is_closed = False
        self._fail_at = fail_at
        self._error = error or OSError("gone")
        self._fails_closing = fails_closing

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        self.began.set()
        await self.gate.wait()
        if any(envelope.seq == self._fail_at for envelope in envelopes):
            raise self._error
        self.batches.append(envelopes)

    async def sync(self) -> None:
        self.was_synced.set()
        if self.sync_error is not None:
            raise self.sync_error
        self.synced.append(len(self.envelopes))

    async def close(self) -> None:
        if self._fails_closing:
            raise self._error
        self.is_closed = True

    @property
    def envelopes(self) -> list[Envelope]:
        return [envelope for batch in self.batches for envelope in batch]

    @property
    def seqs(self) -> list[int]:
        return [envelope.seq for envelope in self.envelopes]

    @property
    def events(self) -> list[AnyEvent]:
        return [envelope.event for envelope in self.envelopes]


def event(host: str = "rig-001", attempt: int = 1) -> StepStarted:
    """An event that announces a change."""
    return StepStarted(host=HostName(host), step="apply", attempt=attempt)


async def test_told_once_the_journal_has_it() -> None:
    """An emitter goes on when the first sink has the event, not when the last has."""
    journal, screen = Memory(), Memory()
    screen.gate.clear()
    async with Recorder(journal, ManualClock(), [screen]) as emit:
        await emit(event())
        seen = (journal.seqs, screen.seqs)
        screen.gate.set()
    assert (seen, screen.seqs) == (([1], []), [1])


def report() -> StepStarted:
    """An event that tells of what is done already."""
    return StepStarted(host=HostName("rig-001"), step="apply", attempt=1, detail="install")


async def test_nothing_but_announcements_waits() -> None:
    """A report is handed over at once, whatever the journal is at; it has its place and its time all the same."""
    journal, clock = Memory(), ManualClock()
    journal.gate.clear()
    async with Recorder(journal, clock) as emit:
        await emit(report())
        clock.advance(5)
        telling = asyncio.create_task(emit(event()))
        await journal.began.wait()
        was_done = telling.done()
        journal.gate.set()
        await telling
    times = [envelope.time for envelope in journal.envelopes]
    assert (was_done, journal.seqs, times) == (
        False,
        [1, 2],
        ["2026-11-23T01:12:26.000Z", "2026-11-23T01:12:31.000Z"],
    )


async def test_announcement_is_on_disk_with_all_before_it() -> None:
    """When its emitter goes on, the journal was synced behind it; reports alone do not sync."""
    journal = Memory()
    async with Recorder(journal, ManualClock()) as emit:
        for _ in range(3):
            await emit(report())
        before = list(journal.synced)
        await emit(event())
        after = list(journal.synced)
    assert (before, after) == ([], [4])


async def test_announcements_share_a_sync() -> None:
    """Those that wait at the same time are synced once."""
    journal = Memory()
    async with Recorder(journal, ManualClock()) as emit:
        await asyncio.gather(*(emit(event(f"rig-{n:03d}")) for n in range(100)))
    assert journal.synced == [100]


async def test_reports_are_synced_before_long() -> None:
    """What nobody waits for is synced too, without another event, and what is left at the end."""
    journal = Memory()
    async with Recorder(journal, ManualClock()) as emit:
        await emit(report())
        await journal.was_synced.wait()
        await emit(report())
    assert journal.synced == [1, 2]


@pytest.mark.parametrize("announces", [False, True])
async def test_disk_that_fails_to_sync_stops_everybody(announces: bool) -> None:  # noqa: FBT001  a case's value
    """A sync that fails is a broken journal: for the emitter who waits, and for the next one."""
    journal = Memory()
    journal.sync_error = OSError("gone")
    recorder = Recorder(journal, ManualClock())
    await recorder.__aenter__()
    if announces:
        assert await _code_of(recorder) == "journal_broken"
    else:
        await recorder(report())
        await journal.was_synced.wait()
        await asyncio.sleep(0)
    assert await _code_of(recorder) == "journal_broken"
    with pytest.raises(UnwritableError):
        await recorder.close()


async def test_slow_listener_holds_nothing_up() -> None:
    """A reader that has stopped reading stops neither the journal nor the others, nor the end of the record."""
    journal, stream, screen = Memory(), Memory(), Memory()
    stream.gate.clear()
    async with Recorder(journal, ManualClock(), [stream, screen]) as emit:
        for _ in range(2000):
            await emit(event())
    assert (len(journal.seqs), len(screen.seqs), stream.seqs) == (2000, 2000, [])
    assert (journal.is_closed, screen.is_closed, stream.is_closed) == (True, True, False)
    stream.gate.set()
    await emit.listeners.close(None)
    assert (stream.seqs, stream.is_closed) == (journal.seqs, True)


async def test_not_told_before_the_journal_has_it() -> None:
    """While the first sink is at work, the emitter waits."""
    journal = Memory()
    journal.gate.clear()
    async with Recorder(journal, ManualClock()) as emit:
        telling = asyncio.create_task(emit(event()))
        await journal.began.wait()
        was_done = telling.done()
        journal.gate.set()
        await telling
    assert not was_done


async def test_sinks_see_the_same() -> None:
    """All sinks get the same envelopes in the same order, numbered from where the rollout stood."""
    sinks = [Memory(), Memory(), Memory()]
    async with Recorder(sinks[0], ManualClock(), sinks[1:], first_seq=41) as emit:
        for attempt in range(3):
            await emit(event(attempt=attempt))
    expected = [Envelope(41 + n, "2026-11-23T01:12:26.000Z", event(attempt=n)) for n in range(3)]
    assert [expected] * 3 == [sink.envelopes for sink in sinks]


async def test_waiting_events_share_a_batch() -> None:
    """What gathers while the journal is busy is written together, up to a limit."""
    journal = Memory()
    journal.gate.clear()
    async with Recorder(journal, ManualClock()) as emit, asyncio.TaskGroup() as group:
        group.create_task(emit(event()))
        await journal.began.wait()
        for _ in range(BATCH_LIMIT + 1):
            group.create_task(emit(event()))
        await asyncio.sleep(0)
        journal.gate.set()
    assert [len(batch) for batch in journal.batches] == [1, BATCH_LIMIT, 1]


async def test_reports_gather_for_a_moment() -> None:
    """Those that come one after another share a write, which the next announcement does not wait for."""
    journal = Memory()
    async with Recorder(journal, ManualClock()) as emit:
        for _ in range(3):
            await emit(report())
            await asyncio.sleep(0)
        before = list(journal.batches)
        await emit(event())
        assert (before, [len(batch) for batch in journal.batches]) == ([], [4])


async def test_reports_beyond_the_limit_of_a_batch_are_written_at_once() -> None:
    """So that what gathers has a bound."""
    journal = Memory()
    async with Recorder(journal, ManualClock()) as emit:
        await asyncio.gather(*(emit(report()) for _ in range(BATCH_LIMIT)))
        await asyncio.sleep(0)
        assert [len(batch) for batch in journal.batches] == [BATCH_LIMIT]


async def test_broken_journal_stops_everybody() -> None:
    """When the journal fails, those who wait and those who come later are told, and no other sink hears of it."""
    journal, catalog = Memory(fail_at=2), Memory()
    async with asyncio.TaskGroup() as group:
        recorder = Recorder(journal, ManualClock(), [catalog])
        await recorder.__aenter__()
        await recorder(event())
        journal.gate.clear()
        waiting = [group.create_task(_code_of(recorder)) for _ in range(3)]
        await asyncio.sleep(0)
        journal.gate.set()
        codes = [await task for task in waiting]
    later = await _code_of(recorder)
    with pytest.raises(UnwritableError, match="cannot be written"):
        await recorder.close()
    assert (codes, later, catalog.seqs) == (["journal_broken"] * 3, "journal_broken", [1])


async def _code_of(recorder: Recorder) -> str:
    try:
        await recorder(event())
    except IonetctlError as error:
        return error.code
    return ""


async def test_journals_own_word_is_kept() -> None:
    """A journal that says itself why it is broken is quoted."""
    error = UnwritableError("journal_broken", "No space left on device", "make room")
    with pytest.raises(UnwritableError) as caught:
        async with Recorder(Memory(fail_at=1, error=error), ManualClock()) as emit:
            await emit(event())
    assert (caught.value.message, caught.value.hint) == ("No space left on device", "make room")


async def test_events_behind_a_failure_are_refused() -> None:
    """Events that queued up behind the batch that failed are refused too."""
    journal = Memory(fail_at=1)
    journal.gate.clear()
    recorder = Recorder(journal, ManualClock())
    await recorder.__aenter__()
    first = asyncio.create_task(_code_of(recorder))
    await journal.began.wait()
    second = asyncio.create_task(_code_of(recorder))
    await asyncio.sleep(0)
    journal.gate.set()
    assert [await first, await second] == ["journal_broken", "journal_broken"]
    with pytest.raises(UnwritableError):
        await recorder.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            ConfigurationError("catalog_unwritable", "disk full", "make room"),
            Warned(code="catalog_unwritable", message="Memory is off: disk full", hint="make room"),
        ),
        (KeyError("secret"), Warned(code="sink_failed", message="Memory is off: KeyError")),
    ],
)
async def test_other_sink_failing_is_dropped_with_one_warning(error: Exception, expected: Warned) -> None:
    """A sink that fails is left out from then on; a warning says so once, and the others get everything."""
    journal, catalog, screen = Memory(), Memory(fail_at=2, error=error), Memory()
    async with Recorder(journal, ManualClock(), [catalog, screen]) as emit:
        for attempt in range(1, 5):
            await emit(event(attempt=attempt))
    warnings = [e for e in screen.events if isinstance(e, Warned)]
    assert ([expected], [1], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == (
        warnings,
        catalog.seqs,
        journal.seqs,
        screen.seqs,
    )


async def test_close_drains() -> None:
    """Closing records what is pending, then closes every sink."""
    journal, screen = Memory(), Memory()
    journal.gate.clear()
    recorder = Recorder(journal, ManualClock(), [screen])
    await recorder.__aenter__()
    telling = [asyncio.create_task(recorder(event())) for _ in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(recorder.close())
    await asyncio.sleep(0)
    journal.gate.set()
    await closing
    await asyncio.gather(*telling)
    assert (screen.seqs, journal.is_closed, screen.is_closed) == ([1, 2, 3], True, True)


async def test_sink_failing_at_its_end_is_in_the_record() -> None:
    """A sink that fails in closing is warned of where warnings can still be heard."""
    journal, catalog, screen = Memory(), Memory(fails_closing=True), Memory()
    async with Recorder(journal, ManualClock(), [catalog, screen]):
        pass
    expected: list[AnyEvent] = [Warned(code="sink_failed", message="Memory is off: OSError")]
    assert (expected, expected) == (journal.events, screen.events)


async def test_journal_failing_at_its_end() -> None:
    """A journal that cannot be closed is a broken one."""
    with pytest.raises(UnwritableError) as caught:
        async with Recorder(Memory(fails_closing=True), ManualClock()):
            pass
    assert caught.value.code == "journal_broken"


async def test_cancelled_emitter_loses_nothing() -> None:
    """An event has its place from the call on, whatever becomes of the caller."""
    journal = Memory()
    journal.gate.clear()
    async with Recorder(journal, ManualClock()) as emit:
        telling = asyncio.create_task(emit(event()))
        await journal.began.wait()
        telling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await telling
        journal.gate.set()
    assert journal.seqs == [1]


async def test_cancelled_closer_closes_all_the_same() -> None:
    """Closing goes on when its caller is cancelled; a second caller sees it through."""
    journal = Memory()
    journal.gate.clear()
    recorder = Recorder(journal, ManualClock())
    await recorder.__aenter__()
    telling = asyncio.create_task(recorder(event()))
    await journal.began.wait()
    closing = asyncio.create_task(recorder.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})
    journal.gate.set()
    await recorder.close()
    await telling
    assert (closing.cancelled(), journal.seqs, journal.is_closed) == (True, [1], True)


@pytest.mark.parametrize("is_writing", [True, False])
async def test_recorder_cancelled(is_writing: bool) -> None:  # noqa: FBT001  a case's value
    """When the loop goes down under the recorder, nobody waits for ever: the events count as not recorded."""
    journal = Memory()
    journal.gate.clear()
    recorder = Recorder(journal, ManualClock())
    await recorder.__aenter__()
    telling = [asyncio.create_task(_code_of(recorder)) for _ in range(2)]
    await asyncio.sleep(0)
    if is_writing:
        await journal.began.wait()
        telling.append(asyncio.create_task(_code_of(recorder)))
        await asyncio.sleep(0)
    assert recorder._consumer is not None
    recorder._consumer.cancel()
    assert ["journal_broken"] * len(telling) == [await task for task in telling]


async def test_the_blocks_own_error_wins() -> None:
    """When the block failed, a journal that failed with it does not hide why."""
    with pytest.raises(ValueError, match="mine"):
        async with Recorder(Memory(fails_closing=True), ManualClock()):
            raise ValueError("mine")


async def test_use_outside_its_time() -> None:
    """Before it is entered and after it is closed, a recorder takes nothing."""
    recorder = Recorder(Memory(), ManualClock())
    await recorder.close()
    with pytest.raises(RuntimeError):
        await recorder(event())
    async with recorder:
        pass
    with pytest.raises(RuntimeError):
        await recorder(event())


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_lost_doubled_or_reordered(seed: int) -> None:
    """Under many emitters, cancelled at random, every event told is there once, each emitter's in its order."""
    chance = random.Random(seed)  # noqa: S311  a schedule that can be replayed
    journal, screen = _Jittery(chance), _Jittery(chance)
    called: dict[str, int] = {}

    async def tell(host: str) -> None:
        for attempt in range(chance.randrange(1, 12)):
            called[host] = attempt + 1
            await recorder(event(host, attempt))

    async with Recorder(journal, ManualClock(), [screen]) as recorder:
        tasks = [asyncio.create_task(tell(f"rig-{n:03d}")) for n in range(40)]
        for task in chance.sample(tasks, 15):
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
    attempts: dict[str, list[int]] = {}
    for each in journal.events:
        assert isinstance(each, StepStarted)
        attempts.setdefault(str(each.host), []).append(each.attempt)
    assert {host: list(range(count)) for host, count in called.items()} == attempts
    assert (list(range(1, len(journal.seqs) + 1)), journal.seqs) == (journal.seqs, screen.seqs)


class _Jittery(Memory):
    """A sink that takes its time."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        for _ in range(self._chance.randrange(3)):
            await asyncio.sleep(0)
        await super().take(envelopes)
