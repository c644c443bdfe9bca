"""What each field accepts and refuses, from cases/fields.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ionetctl.inventory.describe import describe_inventory
from ionetctl.inventory.load import load_text
from ionetctl.inventory.yaml.problems import InventoryError

CASES_DIR = Path(__file__).parents[1] / "cases"
FIELDS = yaml.safe_load((CASES_DIR / "fields.yaml").read_text())
ACCEPTS = [(case["field"], row) for case in FIELDS for row in case.get("accepts", ())]
REFUSES = [(case["field"], row) for case in FIELDS for row in case.get("refuses", ())]


def _step(steps: Any, step: str) -> Any:
    return steps[int(step)] if step.isdigit() else steps.setdefault(step, {})


def _text_with(field: str, written: object) -> bytes:
    """An inventory in JSON, which is YAML, so that any text can stand in the field."""
    root = at = yaml.load((CASES_DIR / "base.yaml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506  (texts only)
    root["hosts"] = [{"name": "h1", "region": "eu"}]
    *way, last = field.split(".")
    for step in way:
        at = _step(at, step)
    at[last] = written
    return json.dumps(root).encode()


@pytest.mark.parametrize(("field", "row"), ACCEPTS, ids=lambda value: str(value)[:50])
def test_a_field_is_read(field: str, row: dict[str, Any]) -> None:
    """What a field accepts is shown as it was understood."""
    at: Any = describe_inventory(load_text(_text_with(field, row["written"]), "x", "/d"))
    *way, last = field.split(".")
    for step in way:
        at = _step(at, step)
    assert at.get(last) == row["read"]


@pytest.mark.parametrize(("field", "row"), REFUSES, ids=lambda value: str(value)[:50])
def test_a_field_refuses(field: str, row: dict[str, Any]) -> None:
    """What a field does not accept is named, with a hint where there is one."""
    with pytest.raises(InventoryError) as caught:
        load_text(_text_with(field, row["written"]), "x", "/d")
    said = "; ".join(
        f"{problem.field}: {problem.message}" + (f" | {problem.hint}" if problem.hint else "")
        for problem in caught.value.problems
    )
    assert said == row["says"]


def _holds_secret(row: dict[str, Any]) -> bool:
    return "hunter2" in str(row["written"])


@pytest.mark.parametrize(
    ("field", "row"), [case for case in REFUSES if _holds_secret(case[1])], ids=lambda value: str(value)[:50]
)
def test_what_may_be_a_secret_is_not_printed(field: str, row: dict[str, Any]) -> None:
    """The error of a field that holds a secret has it in none of its texts."""
    with pytest.raises(InventoryError) as caught:
        load_text(_text_with(field, row["written"]), "x", "/d")
    texts = [str(caught.value), repr(caught.value), caught.value.hint, repr(caught.value.problems)]
    assert [text for text in texts if "hunter2" in text] == []
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_is_no_secret_is_printed() -> None:
    """The control: a refused value of a field without secrets is quoted."""
    with pytest.raises(InventoryError) as caught:
        load_text(_text_with("hosts.0.rack", "hunter2 hunter2"), "x", "/d")
    assert "hunter2" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".".join(["a" * 59] * 5), f"'{'a' * 59}…' is no host name"),
        ("x" * 5000, "is longer than 4096 characters"),
    ],
    ids=["too long for a name", "too long for a text"],
)
def test_long_names_are_refused_and_cut(name: str, said: str) -> None:
    """A name beyond DNS's bounds is refused, and not printed whole."""
    with pytest.raises(InventoryError) as caught:
        load_text(_text_with("hosts.0.name", name), "x", "/d")
    assert caught.value.problems[0].message == said
