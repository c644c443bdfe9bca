"""The chain of digests in a journal: each write ends with a line that has the SHA-256 of all bytes before it.

So whoever changes, cuts out, reorders or inserts lines has to compute every later digest anew, and the last one is then another than
the one that was kept elsewhere. Lines behind the last digest are of a write that was interrupted; the next digest covers them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.events import JOURNAL_SCHEMA, JournalHeader, RolloutStarted, decode, is_of_journal
from ionetctl.core.model.names import Digest
from ionetctl.history.journal.reading import read_header, unreadable, written_by_newer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet
    from pathlib import Path

ALGORITHM: Final = "sha256"
OTHER_END: Final = "it has not the digest that was kept: it was cut, or written anew"
_BEGINNING: Final = f'{{"schema":"{JOURNAL_SCHEMA}","type":"digest",'.encode()


def is_chained(path: Path, header: JournalHeader | None) -> bool:
    """Whether the journal with that header has a chain; raises ``ConfigurationError`` (``journal_newer``) for one of another algorithm."""
    if header is None or header.chain is None:
        return False
    if header.chain != ALGORITHM:
        raise written_by_newer(path, f"chained by {header.chain}")
    return True


_ANEW_HINT: Final = (
    "`ionetctl rollouts verify` says more; restore it from a copy, or start a new rollout: leave out --resume"
)


def not_as_written(path: Path, reason: str, hint: str = _ANEW_HINT) -> TrustError:
    """The error for a journal that must not be gone on with, or believed."""
    return TrustError("journal_changed", f"the journal {path} is not as it was written: {reason}", hint)


class Chain:
    """The running digest of a journal; ``digest`` is the one of its last digest line, empty before the first."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.digest = Digest("")

    @classmethod
    def of(cls, lines: Iterable[bytes], path: Path, kept: Digest | None = None) -> Self:
        """The chain of the whole lines of a journal, in which the digest that was ``kept`` elsewhere must be.

        Raises ``TrustError`` (``journal_changed``) where it is broken, or another one.
        """
        chain, is_kept = cls(), kept is None
        for number, line in enumerate(lines, start=1):
            if line.endswith(b"\n") and not chain.goes_on(line):
                raise not_as_written(path, f"line {number} has another digest")
            is_kept = is_kept or chain.digest == kept
        if not is_kept:
            raise not_as_written(path, OTHER_END)
        return chain

    def closed(self, text: bytes) -> bytes:
        """The next write: ``text`` and its digest line."""
        self._sha256.update(text)
        line = self._digest_line()
        self._sha256.update(line)
        return text + line

    def goes_on(self, line: bytes) -> bool:
        """Take the next line of a file; false where it is a digest line, and not the right one."""
        is_right = not is_digest(line) or line == self._digest_line()
        self._sha256.update(line)
        return is_right

    def _digest_line(self) -> bytes:
        self.digest = Digest(self._sha256.hexdigest())
        return _BEGINNING + f'"{ALGORITHM}":"{self.digest}"}}\n'.encode()


def is_digest(line: bytes) -> bool:
    """Whether it is a digest line."""
    return line.startswith(_BEGINNING)


@dataclass(frozen=True, slots=True)
class Change:
    """Where a journal is not what was written: somewhere from ``first_line`` to ``last_line``, both counted from 1."""

    first_line: int
    last_line: int
    reason: str

    @property
    def place(self) -> str:
        """The lines in words."""
        if self.first_line == self.last_line:
            return f"at line {self.first_line:,}"
        return f"in lines {self.first_line:,} to {self.last_line:,}"


@dataclass(frozen=True, slots=True)
class ChainCheck:
    """What a journal's chain shows.

    ``events`` are those before the change, if there is one. ``digest`` is the last right one, of all bytes before its line; empty
    where there is none. ``has_expected``: the digests that were asked for are among the journal's.
    """

    is_chained: bool
    events: int
    digest: Digest
    has_expected: bool
    change: Change | None = None


def check_journal(path: Path, expected: AbstractSet[Digest] = frozenset()) -> ChainCheck:
    """Read a whole journal and compute its chain; a torn last line is passed over.

    Raises ``ConfigurationError`` (``journal_unreadable``, ``journal_newer``).
    """
    try:
        with path.open("rb") as lines:
            return _Check(path, expected).of(lines)
    except OSError as error:
        raise unreadable(path, error) from error


class _Check:
    """The check of one journal, line by line."""

    def __init__(self, path: Path, expected: AbstractSet[Digest]) -> None:
        self._path = path
        self._missing = set(expected)
        self._chain = Chain()
        self._is_chained = False
        self._digest = Digest("")
        self._events = 0
        self._first_open = 1
        """The first line behind the last digest."""

    def of(self, lines: Iterable[bytes]) -> ChainCheck:
        change = None
        for number, line in enumerate(lines, start=1):
            if change is not None or not line.endswith(b"\n"):
                break
            change = self._change(number, line)
        return ChainCheck(self._is_chained, self._events, self._digest, not self._missing, change)

    def _change(self, number: int, line: bytes) -> Change | None:
        is_right = self._chain.goes_on(line)
        if not is_of_journal(line):
            return self._wrong_event(number, line)
        if number == 1:
            return self._wrong_header(line)
        if not is_digest(line):
            return None
        if not (is_right and self._is_chained):
            return Change(self._first_open, number, "they have another digest than was written")
        self._digest, self._first_open = self._chain.digest, number + 1
        self._missing.discard(self._digest)
        return None

    def _wrong_header(self, line: bytes) -> Change | None:
        try:
            header = read_header(self._path, line)
        except ConfigurationError as error:
            if error.code != "journal_corrupt":
                raise
            return Change(1, 1, "it is no journal's header")
        if header is not None and header.rollout != self._path.stem:
            return Change(1, 1, "it is the journal of another rollout")
        self._is_chained = is_chained(self._path, header)
        return None

    def _wrong_event(self, number: int, line: bytes) -> Change | None:
        try:
            envelope = decode(line)
        except ValueError as error:
            return Change(number, number, str(error))
        seq, event = envelope.seq, envelope.event
        if isinstance(event, RolloutStarted) and event.rollout != self._path.stem:
            return Change(number, number, "it is of another rollout")
        if seq != self._events + 1:
            return Change(number, number, f"event {seq} is where event {self._events + 1} should be")
        self._events += 1
        return None
