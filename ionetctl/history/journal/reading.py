"""Journals on disk: their ids and paths, and reading them.

It knows files and lines; it must not know what an event means. The first line is a header with the version of this form;
journals of ionetctl 0.1 have none. A line that ends in a line break is whole. What follows the last line break is an
interrupted write, which readers skip.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, UsageError
from ionetctl.core.events import (
    JOURNAL_SCHEMA,
    Envelope,
    JournalHeader,
    decode,
    decode_header,
    is_of_journal,
)
from ionetctl.core.model.names import RolloutId

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ionetctl.core.ports import Clock

MAX_NAMED: Final = 5
"""The most rollouts that are named where an id fits several."""
SUFFIX: Final = ".ndjson"
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
                _, seq = last_event(file.fileno(), self.path)
        except OSError as error:
            raise unreadable(self.path, error) from error
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
    """The journal of a rollout, as ``choose_journal`` finds it; ``None`` is the last.

    Raises ``UsageError``: ``rollout_unknown``, ``rollout_ambiguous``.
    """
    journals = list_journals(directory)
    if rollout is not None:
        return choose_journal(journals, rollout)
    if not journals:
        raise _unknown(f"in {directory} yet")
    return journals[-1]


def choose_journal(journals: Sequence[JournalFile], rollout: str) -> JournalFile:
    """The journal of a rollout, by its id or a unique beginning of it or of its random end.

    Raises ``UsageError``: ``rollout_unknown``, ``rollout_ambiguous``.
    """
    found = [each for each in journals if each.rollout == rollout] or [
        each
        for each in journals
        if each.rollout.startswith(rollout) or each.rollout.rpartition("-")[2].startswith(rollout)
    ]
    if len(found) > 1:
        hint = ", ".join(each.rollout for each in found[-MAX_NAMED:])
        raise UsageError(
            "rollout_ambiguous",
            f"{len(found):,} rollouts begin with {rollout}",
            f"give more of the id: {hint}",
        )
    if not found:
        raise _unknown(rollout)
    return found[0]


def _unknown(what: str) -> UsageError:
    return UsageError("rollout_unknown", f"there is no rollout {what}", "see `ionetctl rollouts list`")


def read_journal(path: Path) -> Iterator[Envelope]:
    """The journal's envelopes in order, without a torn last line; may be read while it is being written.

    Raises ``ConfigurationError``: ``journal_unreadable``, ``journal_newer``, or ``journal_corrupt`` where a complete line is
    no event or out of order.
    """
    try:
        with path.open("rb") as lines:
            seq = 0
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    return
                if number == 1:
                    read_header(path, line)
                if is_of_journal(line):
                    continue
                seq += 1
                yield _decoded(path, number, seq, line)
    except OSError as error:
        raise unreadable(path, error) from error


def read_header(path: Path, line: bytes) -> JournalHeader | None:
    """The header that a journal's first line is; ``None`` in an old journal.

    Raises ``ConfigurationError`` (``journal_newer``, ``journal_corrupt``).
    """
    if not is_of_journal(line):
        return None
    try:
        header = decode_header(line)
    except ValueError as error:
        raise _corrupt(path, 1, str(error)) from error
    if header.schema != JOURNAL_SCHEMA:
        raise written_by_newer(path, header.schema)
    return header


def _decoded(path: Path, number: int, seq: int, line: bytes) -> Envelope:
    try:
        envelope = decode(line)
    except ValueError as error:
        raise _corrupt(path, number, str(error)) from error
    if envelope.seq != seq:
        raise _corrupt(path, number, f"event {envelope.seq} is where event {seq} should be")
    return envelope


def unreadable(path: Path, error: OSError) -> ConfigurationError:
    """The error for a journal that cannot be opened or read."""
    return ConfigurationError("journal_unreadable", f"cannot read the journal {path}: {error.strerror}")


def _corrupt(path: Path, number: int, reason: str) -> ConfigurationError:
    hint = "it was changed, or written by a newer ionetctl; move it away to go on without it"
    return ConfigurationError("journal_corrupt", f"{path}:{number}: {reason}", hint)


def written_by_newer(path: Path, what: str) -> ConfigurationError:
    """The error for a journal of a form that this version does not know."""
    message = f"the journal {path} was written by a newer ionetctl ({what})"
    return ConfigurationError("journal_newer", message, "upgrade ionetctl")


def last_event(descriptor: int, path: Path) -> tuple[int, int]:
    """The offset of the end of the last complete line, and the last event's number; zeros where there is none."""
    end = _last_line_break(descriptor, os.fstat(descriptor).st_size)
    line_end = end
    while line_end > 0:
        begin = _last_line_break(descriptor, line_end - 1)
        line = read_at(descriptor, begin, line_end)
        if is_of_journal(line):
            line_end = begin
            continue
        try:
            return end, decode(line).seq
        except ValueError as error:
            raise ConfigurationError("journal_corrupt", f"{path}: last line: {error}") from error
    return end, 0


def _last_line_break(descriptor: int, end: int) -> int:
    """The offset just behind the last line break before ``end``; 0 where there is none."""
    while end > 0:
        begin = max(0, end - _TAIL_BLOCK)
        found = read_at(descriptor, begin, end).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def read_at(descriptor: int, begin: int, end: int) -> bytes:
    """The bytes of a file from the offset ``begin`` up to ``end``."""
    return os.pread(descriptor, end - begin, begin)
