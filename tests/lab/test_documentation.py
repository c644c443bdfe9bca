"""docs/reference/lab.md has the catalogues of faults and conditions as they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ionetctl.checks import CODES
from ionetctl.lab.faults import assignment, conditions

PAGE: Final = (Path(__file__).parents[2] / "docs/reference/lab.md").read_text()


def rows(heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table below a heading, without those of its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"^\| --- .*\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert table is not None
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table[1].splitlines()]


def test_faults_are_listed() -> None:
    """Each with what the host is, in the catalogue's order."""
    assert [row[:2] for row in rows("Faults")] == [
        (f"`{name}`", what) for name, what in assignment.FAULTS.items()
    ]


def test_conditions_are_listed() -> None:
    """Each with what the host is and the finding that it is made for, in the catalogue's order."""
    expected = [(f"`{name}`", each.what, f"`{each.finding}`") for name, each in conditions.CONDITIONS.items()]
    assert rows("Conditions") == expected


def test_conditions_are_made_for_findings_that_there_are() -> None:
    """No code that the checks do not know."""
    assert {each.finding for each in conditions.CONDITIONS.values()} <= set(CODES)
