"""The journal of a rollout: one NDJSON file, appended to and synced before an event counts as recorded.

It knows files, lines and locks; it must not know what an event means. A line is an event once it ends in a line break and
is on disk. What follows the last line break is an interrupted write, which was never reported as recorded: readers skip
it and the next writer removes it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import ConfigurationError, LockedError, UnwritableError, UsageError
from ionetctl.core.events import Envelope, decode, encode
from ionetctl.core.model.names import RolloutId

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ionetctl.core.ports import Clock

SUFFIX: Final = ".ndjson"
MAX_NAMED: Final = 5
"""The most rollouts that are named where an id fits several."""
_READABLE: Final = (
    "23456789abcdefghjkmnpqrstuvwxyz"  # without characters that are confused with others when read aloud
)
_ROLLOUT_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_TAIL_BLOCK: Final = 64 * 1024


def new_rollout_id(clock: Clock, random: random.Random) -> RolloutId:
    """An id that sorts by time and can be read aloud: ``20261123T011226-k3f9qa``, time in UTC."""
    time = clock.now().astimezone(UTC).strftime("%Y%m%dT%H%M%S")
    return RolloutId(f"{time}-{''.join(random.choices(_READABLE, k=6))}")


@dataclass(frozen=True, slots=True)
class JournalFile:
    """A journal on disk, by its rollout."""

    rollout: RolloutId
    path: Path

    def envelopes(self) -> Iterator[Envelope]:
        """Its events; see ``read_journal``."""
        return read_journal(self.path)

    def last_seq(self) -> int:
        """The number of its last event, found by reading the end of the file only; 0 where it has none.

        Raises ``ConfigurationError`` (``journal_unreadable``, ``journal_corrupt``).
        """
        try:
            with self.path.open("rb") as file:
                _, seq = _last_event(file.fileno(), self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return seq


def journal_path(directory: Path, rollout: str) -> Path:
    """The path of a rollout's journal; raises ``UsageError`` (``rollout_unknown``) for a malformed rollout id."""
    if _ROLLOUT_ID.fullmatch(rollout) is None:
        raise UsageError("rollout_unknown", f"{rollout!r} is no rollout", "see `ionetctl rollouts list`")
    return directory / f"{rollout}{SUFFIX}"


def list_journals(directory: Path) -> tuple[JournalFile, ...]:
    """The journals of a directory, oldest first; empty where there is no such directory."""
    paths = sorted(path for path in directory.glob(f"*{SUFFIX}") if _ROLLOUT_ID.fullmatch(path.stem))
    return tuple(JournalFile(RolloutId(path.stem), path) for path in paths)


def find_journal(directory: Path, rollout: str | None) -> JournalFile:
    """The journal of a rollout, by its id or a unique beginning of it or of its random end; ``None`` is the last.

    Raises ``UsageError``: ``rollout_unknown``, ``rollout_ambiguous``.
    """
    journals = list_journals(directory)
    if rollout is None:
        found = journals[-1:]
    else:
        found = tuple(each for each in journals if each.rollout == rollout) or tuple(
            each
            for each in journals
            if each.rollout.startswith(rollout) or each.rollout.rpartition("-")[2].startswith(rollout)
        )
    if len(found) > 1:
        hint = ", ".join(each.rollout for each in found[-MAX_NAMED:])
        raise UsageError(
            "rollout_ambiguous",
            f"{len(found):,} rollouts begin with {rollout}",
            f"give more of the id: {hint}",
        )
    if not found:
        what = rollout or f"in {directory} yet"
        raise UsageError("rollout_unknown", f"there is no rollout {what}", "see `ionetctl rollouts list`")
    return found[0]


def read_journal(path: Path) -> Iterator[Envelope]:
    """The journal's envelopes in order, without a torn last line; may be read while it is being written.

    Raises ``ConfigurationError``: ``journal_unreadable``, or ``journal_corrupt`` where a complete line is no event or out
    of order.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                yield _decoded(path, number, line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _decoded(path: Path, number: int, line: bytes) -> Envelope:
    try:
        envelope = decode(line)
    except ValueError as error:
        raise _corrupt(path, number, str(error)) from error
    if envelope.seq != number:
        raise _corrupt(path, number, f"event {envelope.seq} is where event {number} should be")
    return envelope


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError("journal_unreadable", f"cannot read the journal {path}: {error.strerror}")


def _corrupt(path: Path, number: int, reason: str) -> ConfigurationError:
    hint = "it was changed, or written by a newer ionetctl; move it away to go on without it"
    return ConfigurationError("journal_corrupt", f"{path}:{number}: {reason}", hint)


class Journal:
    """A journal open for appending, locked by this process; the first sink of events."""

    def __init__(self, descriptor: int, path: Path, size_bytes: int, last_seq: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._is_broken = False
        self.path = path
        self.last_seq = last_seq

    @classmethod
    def create(cls, directory: Path, rollout: str) -> Self:
        """A new rollout's journal, 0600 in a directory of 0700.

        Raises ``ConfigurationError`` (``journal_broken``) where it cannot be created.
        """
        path = journal_path(directory, rollout)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls._open(path, os.O_CREAT | os.O_EXCL)
        except OSError as error:
            raise _broken(path, error) from error

    @classmethod
    def resume(cls, directory: Path, rollout: str) -> Self:
        """An earlier rollout's journal, its torn last line cut off; ``last_seq`` is the number of its last event.

        Raises ``UsageError`` (``rollout_unknown``), ``LockedError`` (``rollout_running``) while another process
        writes it, ``ConfigurationError`` (``journal_broken``, ``journal_corrupt``).
        """
        path = journal_path(directory, rollout)
        try:
            return cls._open(path, 0)
        except FileNotFoundError as error:
            message = f"there is no journal of rollout {rollout}"
            raise UsageError("rollout_unknown", message, "see `ionetctl rollouts list`") from error
        except OSError as error:
            raise _broken(path, error) from error

    @classmethod
    def _open(cls, path: Path, flags: int) -> Self:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        try:
            _lock(descriptor, path)
            size_bytes, last_seq = _repair(descriptor, path)
            _sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path, size_bytes, last_seq)

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Append a batch with one write and one fsync; it is on disk when this returns.

        Raises ``UnwritableError`` (``journal_broken``) when a write or fsync fails, and for every batch after it:
        what a failed fsync left on disk is unknown.
        """
        text = b"".join(encode(envelope) + b"\n" for envelope in envelopes)
        await asyncio.to_thread(self._append, text)
        if envelopes:
            self.last_seq = envelopes[-1].seq

    async def close(self) -> None:
        """Close the file, which releases its lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, text: bytes) -> None:
        if self._is_broken:
            raise UnwritableError("journal_broken", f"the journal {self.path} broke earlier")
        try:
            _write_all(self._descriptor, text)
            os.fsync(self._descriptor)
        except OSError as error:
            self._is_broken = True
            self._truncate_failed_write()
            raise UnwritableError("journal_broken", _cannot_write(self.path, error), _ROOM_HINT) from error
        self._size_bytes += len(text)

    def _truncate_failed_write(self) -> None:
        """Cut off what the failed write left; it was not reported as recorded. Where that fails too, readers skip it."""
        try:
            os.ftruncate(self._descriptor, self._size_bytes)
        except OSError:
            return


_ROOM_HINT: Final = "make room or choose another --state-dir, then run again with --resume"


def _broken(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError("journal_broken", _cannot_write(path, error), _ROOM_HINT)


def _cannot_write(path: Path, error: OSError) -> str:
    return f"cannot write the journal {path}: {error.strerror}"


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"rollout {path.stem} is still running: another process writes {path}"
        raise LockedError("rollout_running", message, "wait for it, or stop it and try again") from error


def _write_all(descriptor: int, text: bytes) -> None:
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _repair(descriptor: int, path: Path) -> tuple[int, int]:
    """Cut off an interrupted last write; returns the journal's size in bytes and the number of its last event."""
    end, seq = _last_event(descriptor, path)
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end, seq


def _last_event(descriptor: int, path: Path) -> tuple[int, int]:
    """The offset of the end of the last complete line, and its event's number; zeros where there is none."""
    end = _last_line_break(descriptor, os.fstat(descriptor).st_size)
    if end == 0:
        return 0, 0
    line = _read(descriptor, _last_line_break(descriptor, end - 1), end)
    try:
        return end, decode(line).seq
    except ValueError as error:
        raise ConfigurationError("journal_corrupt", f"{path}: last line: {error}") from error


def _last_line_break(descriptor: int, end: int) -> int:
    """The offset just behind the last line break before ``end``; 0 where there is none."""
    while end > 0:
        begin = max(0, end - _TAIL_BLOCK)
        found = _read(descriptor, begin, end).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _read(descriptor: int, begin: int, end: int) -> bytes:
    return os.pread(descriptor, end - begin, begin)


def _sync_directory(directory: Path) -> None:
    """Sync the directory, so that the file's name is on disk as its content is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
