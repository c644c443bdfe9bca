"""The journal: what is on disk when, what a torn line does, and who may write."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError, IonetctlError, LockedError, UnwritableError, UsageError
from ionetctl.core.events import Envelope, RolloutFinished, StepStarted, encode
from ionetctl.core.model.names import HostName, RolloutId
from ionetctl.history.journal import (
    Journal,
    JournalFile,
    find_journal,
    journal_path,
    list_journals,
    new_rollout_id,
    read_journal,
)
from ionetctl.rollout.recorder import Recorder
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROLLOUT = RolloutId("20261123T011226-k3f9qa")


# As versions wrote it that had no chain of digests.
HEADER = f'{{"schema":"ionetctl.journal/1","type":"journal","rollout":"{ROLLOUT}","chain":null}}\n'.encode()

CHAINED = HEADER.replace(b"null", b'"sha256"')


def envelope(seq: int) -> Envelope:
    return Envelope(
        seq, "2026-11-23T01:12:26.000Z", StepStarted(host=HostName("rig-001"), step="survey", attempt=1)
    )


def lines(first: int, last: int) -> bytes:
    return b"".join(encode(envelope(seq)) + b"\n" for seq in range(first, last + 1))


def closed(text: bytes) -> bytes:
    """What a journal has, and the line with the digest of all of it."""
    digest = hashlib.sha256(text).hexdigest()
    return text + f'{{"schema":"ionetctl.journal/1","type":"digest","sha256":"{digest}"}}\n'.encode()


def written(directory: Path, text: bytes) -> Path:
    path = directory / f"{ROLLOUT}.ndjson"
    path.write_bytes(text)
    return path


def seqs(path: Path) -> list[int]:
    return [each.seq for each in read_journal(path)]


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Writes beyond ``size_bytes`` fail (EFBIG), as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_rollout_ids_sort_by_time() -> None:
    """An id begins with its time in UTC and ends in letters that are not mistaken for one another."""
    clock = ManualClock()
    chance = random.Random(1)  # noqa: S311  ids that can be replayed
    first = new_rollout_id(clock, chance)
    clock.advance(1)
    second = new_rollout_id(clock, chance)
    assert re.fullmatch(r"20261123T011226-[2-9a-hjkmnp-z]{6}", first)
    assert [first, second] == sorted([second, first])


async def test_journal_is_private(tmp_path: Path) -> None:
    """Nobody else reads what happened on the hosts."""
    journal = Journal.create(tmp_path / "state" / "rollouts", ROLLOUT)
    await journal.close()
    modes = [path.stat().st_mode & 0o777 for path in (journal.path, journal.path.parent)]
    assert modes == [0o600, 0o700]


async def test_taken_is_on_disk(tmp_path: Path) -> None:
    """When a batch was taken, it can be read."""
    journal = Journal.create(tmp_path, ROLLOUT)
    await journal.take([envelope(1), envelope(2)])
    await journal.take([envelope(3)])
    await journal.take([])
    seen = (seqs(journal.path), journal.last_seq)
    await journal.close()
    assert seen == ([1, 2, 3], 3)


async def test_create_does_not_go_on(tmp_path: Path) -> None:
    """A new rollout never writes into another's journal."""
    written(tmp_path, lines(1, 1))
    with pytest.raises(ConfigurationError) as caught:
        Journal.create(tmp_path, ROLLOUT)
    assert caught.value.code == "journal_broken"


TORN = [
    pytest.param(b"", 0, id="empty"),
    pytest.param(lines(1, 3), 3, id="whole"),
    pytest.param(lines(1, 3)[:-1], 2, id="line-break-missing"),
    pytest.param(lines(1, 3)[:-20], 2, id="half-a-line"),
    pytest.param(lines(1, 2) + b"{", 2, id="one-byte"),
    pytest.param(lines(1, 2) + bytes(70_000), 2, id="nul-bytes-beyond-a-block"),
    pytest.param(lines(1, 1)[:-1], 0, id="only-a-torn-line"),
]


@pytest.mark.parametrize(("text", "last"), TORN)
def test_reading_passes_over_a_torn_line(tmp_path: Path, text: bytes, last: int) -> None:
    """What a cut-off write left is nobody's event."""
    path = written(tmp_path, text)
    assert (seqs(path), JournalFile(ROLLOUT, path).last_seq()) == (list(range(1, last + 1)), last)


@pytest.mark.parametrize(("text", "last"), TORN)
async def test_resuming_cuts_off_a_torn_line(tmp_path: Path, text: bytes, last: int) -> None:
    """The next event follows the last whole line."""
    path = written(tmp_path, text)
    journal = Journal.resume(tmp_path, ROLLOUT)
    await journal.take([envelope(journal.last_seq + 1)])
    await journal.close()
    assert path.read_bytes() == lines(1, last + 1) if last else closed(CHAINED + lines(1, 1))


async def test_header_says_the_form(tmp_path: Path) -> None:
    """A new journal begins with its form and its rollout; events are numbered from 1 behind it."""
    journal = Journal.create(tmp_path, ROLLOUT)
    await journal.take([envelope(1)])
    await journal.close()
    content = journal.path.read_bytes()
    assert (content, seqs(journal.path)) == (closed(CHAINED + lines(1, 1)), [1])


@pytest.mark.parametrize(("text", "last"), [(HEADER, 0), (HEADER + lines(1, 2), 2)])
async def test_journal_with_a_header_goes_on(tmp_path: Path, text: bytes, last: int) -> None:
    """Resumed behind the header and behind events, it is one journal with one header; without a chain it stays without."""
    path = written(tmp_path, text)
    assert (seqs(path), JournalFile(ROLLOUT, path).last_seq()) == (list(range(1, last + 1)), last)
    journal = Journal.resume(tmp_path, ROLLOUT)
    await journal.take([envelope(journal.last_seq + 1)])
    await journal.close()
    assert path.read_bytes() == HEADER + lines(1, last + 1)


async def test_journals_own_records_are_no_events(tmp_path: Path) -> None:
    """Records that a later version adds for itself, such as digests, are skipped, at the end too."""
    digest = b'{"schema":"ionetctl.journal/1","type":"digest","sha256":"ab"}\n'
    path = written(tmp_path, HEADER + lines(1, 1) + digest + lines(2, 2) + digest)
    assert (seqs(path), JournalFile(ROLLOUT, path).last_seq()) == ([1, 2], 2)


async def test_members_that_a_later_version_adds_are_passed_over(tmp_path: Path) -> None:
    """A record may bear a digest of the one before it."""
    chained = lines(2, 2).replace(b'"seq":2', b'"seq":2,"chain":"ab"')
    assert seqs(written(tmp_path, HEADER + lines(1, 1) + chained)) == [1, 2]


def test_newer_form_is_refused(tmp_path: Path) -> None:
    """A journal of a form that this version does not know is neither read nor written."""
    path = written(tmp_path, HEADER.replace(b"journal/1", b"journal/2") + lines(1, 1))
    codes = []
    for read in (lambda: seqs(path), lambda: Journal.resume(tmp_path, ROLLOUT)):
        with pytest.raises(ConfigurationError) as caught:
            read()
        codes.append(caught.value.code)
    assert codes == ["journal_newer", "journal_newer"]


CORRUPT = [
    pytest.param(b'{"schema":"ionetctl.journal/1"}\n', ":1: not a journal's header", id="header"),
    pytest.param(lines(1, 1) + b"{}\n" + lines(3, 3), ":2: not an event", id="no-event"),
    pytest.param(lines(1, 1) + lines(3, 3), ":2: event 3 is where event 2 should be", id="gap"),
    pytest.param(lines(1, 1) + lines(1, 1), ":2: event 1 is where event 2 should be", id="twice"),
    pytest.param(lines(1, 1).replace(b"event/1", b"event/2"), ":1: an event of another schema", id="schema"),
    pytest.param(b"\xff\n", ":1: not an event", id="bytes"),
]


@pytest.mark.parametrize(("text", "message"), CORRUPT)
def test_damage_is_named(tmp_path: Path, text: bytes, message: str) -> None:
    """A whole line that is no event, or out of order, is told by file and line."""
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        seqs(written(tmp_path, text))
    assert caught.value.code == "journal_corrupt"


def test_resuming_a_damaged_end(tmp_path: Path) -> None:
    """A journal whose last whole line is no event is not written to."""
    written(tmp_path, b"{}\n")
    with pytest.raises(ConfigurationError) as caught:
        Journal.resume(tmp_path, ROLLOUT)
    assert caught.value.code == "journal_corrupt"


@pytest.mark.parametrize("rollout", ["../etc", "", "a/b", "-x", "x" * 65, "a\nb", "unknown"])
def test_resuming_what_is_no_rollout(tmp_path: Path, rollout: str) -> None:
    """An unknown rollout is a mistake in the command line, and never a path."""
    with pytest.raises(UsageError) as caught:
        Journal.resume(tmp_path, rollout)
    assert caught.value.code == "rollout_unknown"


def test_resuming_through_a_link(tmp_path: Path) -> None:
    """A journal is a file, not a way to another."""
    (tmp_path / "other").write_bytes(b"")
    journal_path(tmp_path, ROLLOUT).symlink_to(tmp_path / "other")
    with pytest.raises(ConfigurationError) as caught:
        Journal.resume(tmp_path, ROLLOUT)
    assert caught.value.code == "journal_broken"


def test_missing_journal_cannot_be_read(tmp_path: Path) -> None:
    """A journal that went away is an error of ours."""
    missing = JournalFile(ROLLOUT, tmp_path / "gone.ndjson")
    codes = []
    for read in (lambda: list(missing.envelopes()), missing.last_seq):
        with pytest.raises(IonetctlError) as caught:
            read()
        codes.append(caught.value.code)
    assert codes == ["journal_unreadable", "journal_unreadable"]


def test_journals_are_listed_oldest_first(tmp_path: Path) -> None:
    """What is no journal is not listed; no directory is no journal."""
    for name in ("20260102T000000-b.ndjson", "20260101T000000-a.ndjson", "notes.txt", "-x.ndjson"):
        (tmp_path / name).write_bytes(b"")
    listed = [each.rollout for each in list_journals(tmp_path)]
    assert (listed, list_journals(tmp_path / "none")) == (["20260101T000000-a", "20260102T000000-b"], ())


async def test_full_disk_breaks_the_journal(tmp_path: Path) -> None:
    """A batch that does not fit leaves no part of itself behind, and nothing follows it."""
    size = len(lines(1, 400))
    written(tmp_path, lines(1, 400))
    journal = Journal.resume(tmp_path, ROLLOUT)
    codes = []
    with file_size_limit(size + 100):
        for seq in (401, 402):
            with pytest.raises(UnwritableError) as caught:
                await journal.take([envelope(seq), envelope(seq + 1)])
            codes.append(caught.value.code)
    with pytest.raises(UnwritableError):
        await journal.take([envelope(401)])
    await journal.close()
    assert (codes, journal.path.read_bytes()) == (["journal_broken"] * 2, lines(1, 400))


async def test_disk_that_does_not_sync(tmp_path: Path) -> None:
    """After a failed sync nothing is written any more: what is on disk is unknown."""
    reader, writer = os.pipe()  # which takes bytes and cannot be synced
    journal = Journal(writer, tmp_path / "pipe", 0, 0)
    await journal.take([envelope(1)])
    codes = []
    for write in (journal.sync, lambda: journal.take([envelope(2)]), journal.sync):
        with pytest.raises(UnwritableError) as caught:
            await write()
        codes.append(caught.value.code)
    await journal.close()
    assert (codes, os.read(reader, 4096)) == (["journal_broken"] * 3, lines(1, 1))
    os.close(reader)


async def test_full_disk_reaches_the_emitter(tmp_path: Path) -> None:
    """Through the recorder, a full disk stops whoever wants to tell something, with what to do."""
    written(tmp_path, lines(1, 400))
    journal = Journal.resume(tmp_path, ROLLOUT)
    recorder = Recorder(journal, ManualClock(), first_seq=journal.last_seq + 1)
    await recorder.__aenter__()
    with file_size_limit(len(lines(1, 400))), pytest.raises(UnwritableError) as caught:
        await recorder(RolloutFinished(exit_code=0))
    with pytest.raises(UnwritableError):
        await recorder.close()
    assert (caught.value.code, "--resume" in caught.value.hint) == ("journal_broken", True)


async def test_closing_twice(tmp_path: Path) -> None:
    """A second close closes nothing else."""
    journal = Journal.create(tmp_path, ROLLOUT)
    await journal.close()
    await journal.close()
    assert await asyncio.to_thread(seqs, journal.path) == []


HOLD = """
import sys
from pathlib import Path
from ionetctl.history.journal import Journal
journal = Journal.resume(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


async def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    """While another process writes a rollout's journal, resuming it is refused; afterwards it is not."""
    written(tmp_path, lines(1, 1))
    argv = [sys.executable, "-c", HOLD, str(tmp_path), ROLLOUT]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # noqa: ASYNC220  a neighbour
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockedError) as caught:
            Journal.resume(tmp_path, ROLLOUT)
        other.kill()
    journal = Journal.resume(tmp_path, ROLLOUT)
    await journal.close()
    assert (caught.value.code, journal.last_seq) == ("rollout_running", 1)


TELL = """
import asyncio, sys
from pathlib import Path
from ionetctl.core.events import StepStarted
from ionetctl.history.journal import Journal
from ionetctl.rollout.recorder import Recorder
from tests.support.clock import ManualClock

async def tell(recorder, host):
    for attempt in range(1, 100_000):
        await recorder(StepStarted(host=host, step="apply", attempt=attempt))
        print(host, attempt, flush=True)

async def main():
    async with Recorder(Journal.create(Path(sys.argv[1]), sys.argv[2]), ManualClock()) as recorder:
        async with asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(tell(recorder, f"rig-{n}"))

asyncio.run(main())
"""


def test_killed_writer_loses_nothing_told(tmp_path: Path) -> None:
    """Whatever a killed process had told is in its journal, which goes on from there."""
    argv = [sys.executable, "-c", TELL, str(tmp_path), ROLLOUT]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as teller:
        assert teller.stdout is not None
        told = [teller.stdout.readline() for _ in range(200)]
        os.kill(teller.pid, signal.SIGKILL)
        told += teller.stdout.readlines()
    recorded = set()
    for each in read_journal(tmp_path / f"{ROLLOUT}.ndjson"):
        assert isinstance(each.event, StepStarted)
        recorded.add(f"{each.event.host} {each.event.attempt}\n".encode())
    assert {line for line in told if line.endswith(b"\n")} - recorded == set()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "20260302T090000Z-abdd"),
        ("20260301T120000Z-7f3a", "20260301T120000Z-7f3a"),
        ("20260302", "20260302T090000Z-abdd"),
        ("7f", "20260301T120000Z-7f3a"),
        ("2026", "rollout_ambiguous"),
        ("ab", "rollout_ambiguous"),
        ("zz", "rollout_unknown"),
    ],
)
def test_rollout_is_found_by_the_beginning_of_its_id(
    tmp_path: Path, given: str | None, expected: str
) -> None:
    """Of the whole id or of its random end, where it fits one rollout alone; the last where nothing is given."""
    for name in ("20260301T120000Z-7f3a", "20260301T130000Z-abcd", "20260302T090000Z-abdd"):
        (tmp_path / f"{name}.ndjson").touch()
    try:
        found = str(find_journal(tmp_path, given).rollout)
    except UsageError as error:
        found = error.code
    assert found == expected


def test_first_rollout_is_awaited(tmp_path: Path) -> None:
    """Before it there is nothing to find."""
    with pytest.raises(UsageError, match="yet"):
        find_journal(tmp_path, None)
