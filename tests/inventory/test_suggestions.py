"""Suggestions for misspelt words."""

from __future__ import annotations

import pytest

from ionetctl.inventory.yaml.problems import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("rey1-a01-g20", ["rey1-a01-g12", "rey1-a01-g02"], ""),
        ("g20", ["g12"], ""),
        ("ray1-a01-g12", ["rey1-a01-g21", "rey1-a01-g12"], "did you mean rey1-a01-g12?"),
        ("rey1-a1-g2", ["rey1-a01-g02"], "did you mean rey1-a01-g02?"),
        ("eu-nort1", ["eu-north"], "did you mean eu-north?"),
        ("eu-nort", ["eu-north1"], "did you mean eu-north1?"),
        ("eu-nort", ["us-east"], ""),
    ],
)
def test_number_is_never_corrected(word: str, known: list[str], expected: str) -> None:
    """Another number is another host; letters may be slips, and so may leading zeros."""
    assert did_you_mean(word, known) == expected
