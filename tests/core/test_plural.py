"""Counted nouns."""

from __future__ import annotations

import pytest

from ionetctl.core.plural import counted


@pytest.mark.parametrize(("count", "expected"), [(0, "0 nodes"), (1, "1 node"), (5000, "5,000 nodes")])
def test_a_noun_agrees_with_its_count(count: int, expected: str) -> None:
    """One node is no "1 nodes"."""
    assert counted(count, "node") == expected
