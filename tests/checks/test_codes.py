"""The codes of the checks are sound, and the documentation's page of checks has them as they are."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from ionetctl.checks import CODES, Code
from ionetctl.checks.codes import SUBJECTS
from ionetctl.core.model.host import Prepare
from ionetctl.core.model.outcome import Severity
from tests.checks.page import PAGE, page


def test_page_is_as_generated() -> None:
    """Byte by byte: the introduction by hand, a row for each code."""
    assert PAGE.read_bytes() == page().encode(), f"{PAGE.name} is out of date: make docs writes it anew"


def test_codes_are_unique() -> None:
    """A code stands for one thing."""
    assert len(CODES) == sum(len(codes) for codes in SUBJECTS.values())


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_code_reads_well(code: Code) -> None:
    """A name that scripts can match, a title of one line, sentences that end."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code.name)
    assert (len(code.title) <= 80, code.title.endswith("."), "|" in code.title + code.remedy) == (
        True,
        False,
        False,
    )
    assert (code.looks_at[-1], code.matters[-1]) == (".", ".")


def test_mended_by_names_a_preparation() -> None:
    """Each has its field in the inventory's prepare."""
    known = {each.name for each in fields(Prepare)}
    assert {code.mended_by for code in CODES.values() if code.mended_by} - known == set()


def test_only_what_blocks_is_fixed() -> None:
    """What an apply cannot do without keeps the host out."""
    assert {code.severity for code in CODES.values() if not code.may_be_waived} == {Severity.BLOCK}
