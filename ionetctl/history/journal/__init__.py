"""The journal of a rollout: one NDJSON file, the record that all others are made from."""

from ionetctl.history.journal.chain import ChainCheck, Change, check_journal
from ionetctl.history.journal.reading import (
    JournalFile,
    choose_journal,
    find_journal,
    journal_path,
    list_journals,
    new_rollout_id,
    read_journal,
)
from ionetctl.history.journal.writing import Journal

__all__ = [
    "ChainCheck",
    "Change",
    "Journal",
    "JournalFile",
    "check_journal",
    "choose_journal",
    "find_journal",
    "journal_path",
    "list_journals",
    "new_rollout_id",
    "read_journal",
]
