"""The catalogue is whole, and docs/checks.md has a row for each of its codes, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from ionetctl.checks.catalogue import CATALOGUE, SUBJECTS, Row
from ionetctl.core.model.host import Prepare
from ionetctl.core.model.outcome import Severity

PAGE: Final = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
ROWS: Final = list(CATALOGUE.values())


def line(row: Row) -> str:
    """The row as the page has it."""
    marks = [row.severity.value]
    marks += ["fixed"] * (not row.may_be_waived)
    marks += [f"prepare: `{row.mended_by}`"] * (row.mended_by is not None)
    cells = (f"`{row.code}`", ", ".join(marks), str(int(row.exit_code)), row.title, row.remedy)
    return f"| {' | '.join(cells)} |"


def test_page_has_every_row_and_no_other() -> None:
    """In the order of the catalogue, below the heading of its subject."""
    tables = PAGE[PAGE.index("\n## The system") :]
    parts = re.findall(r"^## (.+)$|^(\| `.+)$", tables, re.MULTILINE)
    expected = [part for subject, rows in SUBJECTS.items() for part in (subject, *map(line, rows))]
    assert [heading or row for heading, row in parts] == expected


def test_codes_are_unique() -> None:
    """A code stands for one thing."""
    assert len(CATALOGUE) == sum(len(rows) for rows in SUBJECTS.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.code)
def test_row_reads_well(row: Row) -> None:
    """A code that scripts can match, a title of one line, sentences that end."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row.code)
    assert (len(row.title) <= 80, row.title.endswith("."), "|" in row.title + row.remedy) == (
        True,
        False,
        False,
    )
    assert (row.looks_at[-1], row.matters[-1]) == (".", ".")


def test_what_is_mended_names_a_preparation() -> None:
    """Each has its field in the inventory's prepare."""
    known = {each.name for each in fields(Prepare)}
    assert {row.mended_by for row in ROWS if row.mended_by} - known == set()


def test_only_what_blocks_is_fixed() -> None:
    """What an apply cannot do without keeps the host out."""
    assert {row.severity for row in ROWS if not row.may_be_waived} == {Severity.BLOCK}
