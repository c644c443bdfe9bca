"""The journal of a rollout: one NDJSON file, the record that all others are made from."""

from ionetctl.history.journal.chain import OTHER_END, ChainCheck, Change, check_journal, not_as_written
from ionetctl.history.journal.reading import (
    JournalFile,
    choose_journal,
    find_journal,
    journal_path,
    list_journals,
    new_rollout_id,
    read_journal,
)
from ionetctl.history.journal.writing import NOTHING_KEPT, Journal, Kept

__all__ = [
    "NOTHING_KEPT",
    "OTHER_END",
    "ChainCheck",
    "Change",
    "Journal",
    "JournalFile",
    "Kept",
    "check_journal",
    "choose_journal",
    "find_journal",
    "journal_path",
    "list_journals",
    "new_rollout_id",
    "not_as_written",
    "read_journal",
]
