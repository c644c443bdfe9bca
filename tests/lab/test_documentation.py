"""The tables of faults and conditions in docs/reference/lab.md are complete and exact."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ionetctl.checks import CODES
from ionetctl.lab.faults import assignment, conditions

PAGE: Final = (Path(__file__).parents[2] / "docs/reference/lab.md").read_text()


def rows(heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table below a heading, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = re.search(r"^\| --- .*\n((?:\|.*\n)+)", section, re.MULTILINE)
    assert table is not None
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table[1].splitlines()]


def test_faults_are_listed() -> None:
    """Each with its description, in the order of ``FAULTS``."""
    assert [row[:2] for row in rows("Faults")] == [
        (f"`{name}`", what) for name, what in assignment.FAULTS.items()
    ]


def test_conditions_are_listed() -> None:
    """Each with its description and finding, in the order of ``CONDITIONS``."""
    expected = [
        (f"`{name}`", each.description, f"`{each.finding}`") for name, each in conditions.CONDITIONS.items()
    ]
    assert rows("Conditions") == expected


def test_findings_of_conditions_exist() -> None:
    """Each finding is the code of a check."""
    assert {each.finding for each in conditions.CONDITIONS.values()} <= set(CODES)
