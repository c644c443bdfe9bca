"""Whether the journals are what was written: each by its chain of digests, and by what the catalog knows of its end.

Reads journals and the catalog, and changes neither: what the catalog lacks of a journal is not folded before it is verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ConfigurationError, ExitCode, IonetctlError
from ionetctl.core.model.names import Digest
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import (
    OTHER_END,
    Change,
    JournalFile,
    check_journal,
    choose_journal,
    journal_path,
    list_journals,
    not_as_written,
)

if TYPE_CHECKING:
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import RolloutRecord


class State(StrEnum):
    """What was found of a journal."""

    WHOLE = "whole"
    NO_CHAIN = "no_chain"
    """Of an older version: its events are whole and in order, and nothing shows whether they are those that were written."""
    CHANGED = "changed"
    CUT = "cut"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class VerifiedJournal:
    """A rollout's journal, and what was found. ``digest`` is the last right one, empty where there is none.

    ``change`` says where it was changed, where that is known. ``is_end_kept``: that digest was kept elsewhere. It is not of a rollout
    that runs or was killed, of a journal that came from somewhere else, and after the catalog was removed.
    """

    journal: JournalFile
    state: State
    events: int = 0
    digest: Digest = Digest("")  # noqa: RUF009  (a NewType is a plain text)
    change: Change | None = None
    problem: IonetctlError | None = None
    is_end_kept: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """0, or the code of its problem."""
        return ExitCode.OK if self.problem is None else self.problem.exit_code


def verify_journals(
    settings: Settings, rollout: str | None = None, expected: Digest | None = None
) -> tuple[VerifiedJournal, ...]:
    """All journals, oldest first, or one; ``expected`` is a digest that it must have, kept elsewhere.

    A rollout that the catalog knows must have its journal. Raises ``UsageError`` (``rollout_unknown``,
    ``rollout_ambiguous``), ``ConfigurationError`` where the catalog cannot be read.
    """
    # The catalog first: a rollout that runs meanwhile has written at least what is folded of it.
    with Catalog.open(settings.catalog_path, SystemClock()) as catalog:
        known = {record.id: record for record in catalog.rollouts()}
    files = {journal.rollout: journal for journal in list_journals(settings.rollouts_dir)}
    for name in known:
        files.setdefault(name, JournalFile(name, journal_path(settings.rollouts_dir, name)))
    journals = [files[name] for name in sorted(files)]
    if rollout is not None:
        journals = [choose_journal(journals, rollout)]
    return tuple(_verified(journal, known.get(journal.rollout), expected) for journal in journals)


def _verified(journal: JournalFile, record: RolloutRecord | None, expected: Digest | None) -> VerifiedJournal:
    if not journal.path.exists():
        return VerifiedJournal(
            journal,
            State.MISSING,
            problem=not_as_written(
                journal.path, "it is gone, and the catalog knows its rollout", _FORGET_HINT
            ),
        )
    kept = record.journal_digest if record is not None else None
    wanted = frozenset(digest for digest in (kept, expected) if digest is not None)
    try:
        found = check_journal(journal.path, wanted)
    except ConfigurationError as error:
        return VerifiedJournal(journal, State.UNREADABLE, problem=error)
    recorded = record.last_seq if record is not None else 0
    state, reason, hint = State.NO_CHAIN, "", _RESTORE_HINT
    if found.is_chained:
        state = State.WHOLE
    if found.change is not None:
        state, reason = State.CHANGED, f"{found.change.place}: {found.change.reason}"
    elif found.events < recorded:
        state, reason = State.CUT, f"it has {found.events:,} events, and the catalog {recorded:,} of it"
        hint = _POWER_HINT
    elif not found.has_expected:
        state, reason = State.CHANGED, OTHER_END
    problem = not_as_written(journal.path, reason, hint) if reason else None
    is_end_kept = problem is None and found.digest in wanted
    return VerifiedJournal(journal, state, found.events, found.digest, found.change, problem, is_end_kept)


_RESTORE_HINT = "somebody changed it, or the disk did: restore it from a copy, and look at what it is about"
_POWER_HINT = f"{_RESTORE_HINT}; after a power failure the last second may be missing"
_FORGET_HINT = "restore it; if you removed it yourself, `ionetctl rollouts rebuild` has the catalog forget it"
