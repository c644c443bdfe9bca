"""Writing a journal: locked by one process, appended to in batches; ``sync`` puts on disk all that was written before.

A batch and its digest are one write. A journal that was begun without a chain goes on without one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import ConfigurationError, LockedError, UnwritableError, UsageError
from ionetctl.core.events import JournalHeader, encode, encode_header
from ionetctl.core.model.names import RolloutId
from ionetctl.core.sanitize import harmless
from ionetctl.history.journal.chain import ALGORITHM, OTHER_END, Chain, is_chained, not_as_written
from ionetctl.history.journal.reading import journal_path, last_event, read_at, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.names import Digest

_HEADER_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a journal elsewhere: a digest that it had, and how many events."""

    digest: Digest | None = None
    last_seq: int = 0


NOTHING_KEPT: Final = Kept()


class Journal:
    """A journal open for appending, locked by this process; the first sink of events."""

    def __init__(
        self, descriptor: int, path: Path, size_bytes: int, last_seq: int, chain: Chain | None = None
    ) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes
        self._chain = chain
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
    def resume(cls, directory: Path, rollout: str, kept: Kept = NOTHING_KEPT) -> Self:
        """An earlier rollout's journal, its torn last line cut off; ``last_seq`` is the number of its last event.

        It may have more than is ``kept`` of it: the process that wrote it may have been killed before that was renewed.

        Raises ``UsageError`` (``rollout_unknown``), ``LockedError`` (``rollout_running``) while another process
        writes it, ``ConfigurationError`` (``journal_broken``, ``journal_corrupt``, ``journal_newer``), ``TrustError``
        (``journal_changed``) where its chain of digests is broken, or it is not the one of which that is kept; it is left as it is then.
        """
        path = journal_path(directory, rollout)
        try:
            return cls._open(path, 0, kept)
        except FileNotFoundError as error:
            message = f"there is no journal of rollout {rollout}"
            raise UsageError("rollout_unknown", message, "see `ionetctl rollouts list`") from error
        except OSError as error:
            raise _broken(path, error) from error

    @classmethod
    def _open(cls, path: Path, flags: int, kept: Kept = NOTHING_KEPT) -> Self:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
        try:
            _lock(descriptor, path)
            size_bytes, last_seq = last_event(descriptor, path)
            chain = _read_chain(descriptor, path, size_bytes, kept.digest)
            _refuse_cut(path, last_seq, kept.last_seq)
            _cut_off_torn_write(descriptor, size_bytes)
            if size_bytes == 0:
                chain = Chain()
                size_bytes = _write_header(descriptor, path, chain)
            _sync_directory(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path, size_bytes, last_seq, chain)

    @property
    def digest(self) -> Digest | None:
        """The last digest that was written; ``None`` where the journal has no chain, none yet, or broke."""
        return None if self._chain is None or self._is_broken else self._chain.digest or None

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Append a batch with one write. Other processes can read it then; it is on disk after ``sync``.

        Raises ``UnwritableError`` (``journal_broken``) when a write or sync fails, and for every batch after it.
        """
        text = b"".join(encode(envelope) + b"\n" for envelope in envelopes)
        if not text:
            return
        await asyncio.to_thread(self._append, text)
        self.last_seq = envelopes[-1].seq

    async def sync(self) -> None:
        """Put on disk what was taken (fsync); raises as ``take`` does: what a failed fsync left on disk is unknown."""
        await asyncio.to_thread(self._sync)

    async def close(self) -> None:
        """Close the file, which releases its lock."""
        self.close_now()

    def close_now(self) -> None:
        """As ``close``, outside of an event loop."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, text: bytes) -> None:
        self._refuse_broken()
        if self._chain is not None:
            text = self._chain.closed(text)
        try:
            _write_all(self._descriptor, text)
        except OSError as error:
            self._is_broken = True
            self._truncate_failed_write()
            raise UnwritableError("journal_broken", _cannot_write(self.path, error), _ROOM_HINT) from error
        self._size_bytes += len(text)

    def _sync(self) -> None:
        self._refuse_broken()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._is_broken = True
            raise UnwritableError("journal_broken", _cannot_write(self.path, error), _ROOM_HINT) from error

    def _refuse_broken(self) -> None:
        if self._is_broken:
            raise UnwritableError("journal_broken", f"the journal {self.path} broke earlier")

    def _truncate_failed_write(self) -> None:
        """Cut off what the failed write left; it was not reported as recorded. Where that fails too, readers skip it."""
        try:
            os.ftruncate(self._descriptor, self._size_bytes)
        except OSError:
            return


_CUT_HINT: Final = "restore it; after a power failure the last second may be missing: `ionetctl rollouts rebuild` takes it as it is"
_ROOM_HINT: Final = "make room or choose another --state-dir, then run again with --resume"


def _refuse_cut(path: Path, last_seq: int, known: int) -> None:
    if last_seq < known:
        raise not_as_written(path, f"it has {last_seq:,} events, and the catalog {known:,} of it", _CUT_HINT)


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


def _read_chain(descriptor: int, path: Path, end: int, kept: Digest | None) -> Chain | None:
    """The chain of a journal of ``end`` bytes; ``None`` where it has none, and none was ``kept`` of it."""
    first_line = read_at(descriptor, 0, min(end, _HEADER_LIMIT)).partition(b"\n")[0]
    header = read_header(path, first_line)
    if header is not None and header.rollout != path.stem:
        raise not_as_written(path, f"it is the journal of {harmless(header.rollout)}")
    if not is_chained(path, header):
        if kept is not None:
            raise not_as_written(path, OTHER_END)
        return None
    with os.fdopen(os.dup(descriptor), "rb") as lines:
        lines.seek(0)
        return Chain.of(lines, path, kept)


def _cut_off_torn_write(descriptor: int, end: int) -> None:
    """Cut off what is behind the last whole line."""
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)


def _write_header(descriptor: int, path: Path, chain: Chain) -> int:
    """Write the header of a new journal; returns its length in bytes."""
    line = encode_header(JournalHeader(rollout=RolloutId(path.stem), chain=ALGORITHM)) + b"\n"
    _write_all(descriptor, line)
    os.fsync(descriptor)
    chain.goes_on(line)
    return len(line)


def _sync_directory(directory: Path) -> None:
    """Sync the directory, so that the file's name is on disk as its content is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
