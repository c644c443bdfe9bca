"""Whole inventories: what is wrong with them and where, or what they mean, from cases/documents.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ionetctl.inventory.describe import describe_inventory
from ionetctl.inventory.load import load_text
from ionetctl.inventory.yaml.problems import InventoryError, Problem

CASES_DIR = Path(__file__).parent / "cases"
BASE = (CASES_DIR / "base.yaml").read_text()
CASES = yaml.safe_load((CASES_DIR / "documents.yaml").read_text())


def _relative(problem: Problem) -> str:
    """A problem with lines counted from the end of the base, in its message too."""
    before = BASE.count("\n")
    place = f"{problem.place.line - before}:{problem.place.column}"
    message = re.sub(r"x:(\d+):", lambda found: f"x:{int(found[1]) - before}:", problem.message)
    said = ": ".join(part for part in (place, problem.field, message) if part)
    return said + (f" | {problem.hint}" if problem.hint else "")


@pytest.mark.parametrize(
    "case", [case for case in CASES if "problems" in case], ids=lambda case: case["case"]
)
def test_an_inventory_is_refused(case: dict[str, Any]) -> None:
    """Every problem of an inventory is named, with line, column, field and hint, in the order of the text."""
    with pytest.raises(InventoryError) as caught:
        load_text((BASE + case["given"]).encode(), "x", "/d")
    assert [_relative(problem) for problem in caught.value.problems] == case["problems"]


@pytest.mark.parametrize("case", [case for case in CASES if "hosts" in case], ids=lambda case: case["case"])
def test_an_inventory_is_understood(case: dict[str, Any]) -> None:
    """An inventory's hosts, expanded and merged, are those that it means."""
    described = describe_inventory(load_text((BASE + case["given"]).encode(), "x", "/d"))
    expected = (case["hosts"], case.get("groups", {}))
    assert (described.get("hosts", []), described.get("groups", {})) == expected
