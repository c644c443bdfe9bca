"""docs/reference/regions.md names every code that regions, certificates and secrets can end with."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = (
    "credentials/*.py",
    "nomad/*.py",
    "verification/*.py",
)
RAISED = re.compile(r'(?:Error|_symptom|refusal = )\(\s*(?:r"[^\n]*\n\s*)*"([a-z]+(?:_[a-z]+)+)"')
CODED = re.compile(r"^\| `([a-z]+(?:_[a-z]+)+)`(?:, `([a-z_]+)`)? \|", re.MULTILINE)
PASSED_ON = {"ca_expired", "pair_expired"}
"""Codes that a function takes as an argument."""


def codes_in_code() -> set[str]:
    files = [path for pattern in SOURCES for path in (ROOT / "ionetctl").glob(pattern)]
    return {code for path in files for code in RAISED.findall(path.read_text())} | PASSED_ON


def test_every_code_is_documented_and_no_other() -> None:
    """With its meaning and its remedy; what is not raised any more goes."""
    documented = {
        code
        for row in CODED.findall((ROOT / "docs/reference/regions.md").read_text())
        for code in row
        if code
    }
    assert documented == codes_in_code()
