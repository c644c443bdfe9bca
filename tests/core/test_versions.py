"""The order of Nomad's versions."""

from __future__ import annotations

import pytest

from ionetctl.core.versions import is_under_mpl, precedence, precedence_of_agent


def test_versions_are_ordered_as_releases_came() -> None:
    """By numbers, pre-releases before their release."""
    ordered = ["1.5.12", "1.6.5", "1.10.0", "1.11.0-beta.1", "1.11.0", "1.11.1", "2.0.0", "v2.0.5", "10.0.0"]
    assert sorted(set(ordered), key=precedence) == ordered


@pytest.mark.parametrize("version", ["2.0.5+ent", "v2.0.5", "2.0.5"])
def test_what_does_not_count_is_left_out(version: str) -> None:
    """A leading v, and build metadata."""
    assert precedence(version) == (2, 0, 5, True)


@pytest.mark.parametrize("text", ["", "2", "two", "2.0.5.1", "2.0.5 ", "2.0.x", "9" * 400 + ".0"])
def test_anything_else_is_no_version(text: str) -> None:
    """The caller says whose mistake it is."""
    with pytest.raises(ValueError, match="not a version"):
        precedence(text)


def test_version_that_an_agent_tells() -> None:
    """As its program prints it, or as a region has it; what is none comes before all others."""
    told = ["Nomad v2.0.5", "2.0.5", "nonsense", ""]
    assert [precedence_of_agent(text) for text in told] == [(2, 0, 5, True)] * 2 + [(0, 0, 0, False)] * 2


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.4.14", True),
        ("1.5.12", True),
        ("1.5.13", False),
        ("1.6.0-beta.1", True),
        ("1.6.5", True),
        ("1.6.5+ent", False),
        ("1.6.6", False),
        ("1.7.0-beta.1", False),
        ("1.10.0", False),
        ("2.0.5", False),
    ],
)
def test_licence_of_a_release(version: str, expected: bool) -> None:  # noqa: FBT001  (a column of the table)
    """The last under the MPL is 1.5.12 of 1.5 and 1.6.5 of 1.6; no enterprise release is."""
    assert is_under_mpl(version) is expected
