"""Journals in which any one value is absurd are refused, or read like any other: nothing of ours ends with a bug."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Final

import pytest

from ionetctl.core.errors import ConfigurationError, ExitCode
from ionetctl.core.events import decode
from ionetctl.core.model.names import RolloutId
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import JournalFile, read_journal
from ionetctl.report import csv, junit
from ionetctl.report.json import document, encode
from ionetctl.summary.summary_fold import summarize
from ionetctl.ui.console import make_console
from ionetctl.ui.summary import lines
from tests.goldens.golden import GOLDENS
from tests.support.absurd import absurd_documents
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOURNALS: Final = sorted((GOLDENS / "records" / "state" / "rollouts").iterdir())
STARTED: Final = JOURNALS[0].read_bytes().splitlines()[0]
ROLLOUT: Final = RolloutId(JOURNALS[0].stem)
EVENTS: Final = {
    event["type"]: event
    for journal in JOURNALS
    for event in map(json.loads, journal.read_bytes().splitlines())
    if event["type"] != "rollout_started" or event["rollout"] == ROLLOUT
}
"""One event of each type that 0.1.0 recorded."""
NUMBERS: Final = (-1, 10**30, 1e308)


def use(envelopes: list[bytes]) -> None:
    """Everything that is made of a journal."""
    summary = summarize(map(decode, envelopes))
    encode(document(summary))
    csv.render(summary)
    junit.render(summary)
    console = make_console(io.StringIO())
    for line in lines(summary):
        console.print(line)


@pytest.mark.parametrize("kind", EVENTS)
def test_any_value_of_an_event_is_read_or_refused(kind: str) -> None:
    """Each field of each event, with numbers, texts, lists and mappings that nobody writes."""
    refused = used = 0
    for where, text in absurd_documents(EVENTS[kind] | {"seq": 2}):
        try:
            decode(text)
        except ValueError:
            refused += 1
            continue
        try:
            use([text] if kind == "rollout_started" else [STARTED, text])
        except Exception as error:
            raise AssertionError(where) from error
        used += 1
    assert (refused > 0, used > 0) == (True, True)


def journals(directory: Path) -> Iterator[tuple[str, JournalFile]]:
    """Journals with an absurd number in what the catalog keeps."""
    for kind in ("rollout_started", "host_surveyed", "host_finished", "rollout_finished"):
        first = [] if kind == "rollout_started" else [STARTED]
        for where, text in absurd_documents(EVENTS[kind] | {"seq": len(first) + 1}):
            if where.endswith(tuple(f"= '{number}"[:23] + "'" for number in NUMBERS)):
                path = directory / f"{ROLLOUT}.ndjson"
                path.write_bytes(b"".join(line + b"\n" for line in (*first, text)))
                yield f"{kind}{where}", JournalFile(ROLLOUT, path)


def test_any_number_is_catalogued_or_refused(tmp_path: Path) -> None:
    """A number that a database does not hold is the journal's fault and told so; the catalog is opened all the same."""
    codes = set()
    for count, (where, journal) in enumerate(journals(tmp_path)):
        try:
            with Catalog.open(tmp_path / f"{count}.sqlite", ManualClock(), [journal]) as catalog:
                codes |= {problem.code for problem in catalog.problems}
        except Exception as error:
            raise AssertionError(where) from error
    assert codes == {"journal_corrupt", "rollout_malformed"}


def test_deep_line_is_refused_with_its_place(tmp_path: Path) -> None:
    """A line that is nested 5,000 levels deep is no event."""
    path = tmp_path / f"{ROLLOUT}.ndjson"
    path.write_bytes(STARTED + b"\n" + b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}\n")
    with pytest.raises(ConfigurationError) as caught:
        list(read_journal(path))
    assert (caught.value.code, f"{path}:2: not an event: it is nested too deep") == (
        "journal_corrupt",
        caught.value.message,
    )


def test_exit_code_that_nobody_knows_is_a_bug() -> None:
    """A rollout that ended with a number of no meaning is shown as one that ended by a bug."""
    end = json.dumps(EVENTS["rollout_finished"] | {"exit_code": 77}).encode()
    assert summarize([decode(STARTED), decode(end)]).exit_code == ExitCode.BUG
