"""The CSV report."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.report.csv import COLUMNS, formula_free, render
from ionetctl.summary.rollout_summary import Failure, Summary
from ionetctl.summary.summary_fold import summarize
from tests.support.streams import GPU_MISSING, Rollout


def rows(summary: Summary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(summary).decode(), newline="")))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("no; =1;+2;a;-b", "no;' =1;'+2;a;'-b"),
        ("rey1-a01", "rey1-a01"),
        ("a=b", "a=b"),
        ("", ""),
        (None, ""),
        (7, "7"),
    ],
)
def test_no_cell_begins_a_formula(cell: object, expected: str) -> None:
    """What a spreadsheet would evaluate gets an apostrophe in front; everything else stays as it is.

    Also behind a semicolon, which is what parts cells in many locales.
    """
    assert formula_free(cell) == expected


def test_rows_are_the_hosts() -> None:
    """One row a host, with its outcome and its error."""
    found = rows(summarize(Rollout(3, {1: GPU_MISSING}).play()))
    assert [(row["name"], row["outcome"], row["error_code"], row["error_message"]) for row in found] == [
        ("rey1-a01-g01", "enrolled", "", ""),
        ("rey1-a01-g02", "failed", "gpu_count_mismatch", "7 GPUs seen, 8 promised"),
        ("rey1-a01-g03", "enrolled", "", ""),
    ]


def test_hosts_words_stay_in_their_cell() -> None:
    """Quotes, commas and line breaks from a host neither end a cell nor begin a formula."""
    words = '=cmd|"/c calc",\n-2+3'
    found = rows(summarize(Rollout(1, {0: replace(GPU_MISSING, message=words)}).play()))
    assert [row["error_message"] for row in found] == [f"'{words}"]


def test_early_error_is_a_row_without_host() -> None:
    """A command that failed as a whole leaves its reason in the table."""
    summary = Summary(exit_code=ExitCode.CONFIGURATION, error=Failure("inventory_invalid", "no", "mend it"))
    assert rows(summary) == [
        dict.fromkeys(COLUMNS, "")
        | {"error_code": "inventory_invalid", "error_message": "no", "error_hint": "mend it"}
    ]
