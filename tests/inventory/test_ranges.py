"""Folded names: expanding, folding, and both after one another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.inventory.ranges import LIMIT, RangeError, expand, fold, has_range, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g1", ["g1"]),
        ("", [""]),
        ("g[1-3]", ["g1", "g2", "g3"]),
        ("g[5]", ["g5"]),
        ("g[5-5]", ["g5"]),
        ("g[08-11]", ["g08", "g09", "g10", "g11"]),
        ("g[098-101]", ["g098", "g099", "g100", "g101"]),
        ("g[01-100/33]", ["g01", "g34", "g67", "g100"]),
        ("g[0-100/50]", ["g0", "g50", "g100"]),
        ("g[0-5/2]", ["g0", "g2", "g4"]),
        ("g[1,3,5-7]", ["g1", "g3", "g5", "g6", "g7"]),
        ("g[3,1]", ["g3", "g1"]),
        ("a[1-2]b[01,3]c", ["a1b01c", "a1b3c", "a2b01c", "a2b3c"]),
        ("[1-2][3-4]", ["13", "14", "23", "24"]),
        ("g[0-0]", ["g0"]),
        ("g[00-01]", ["g00", "g01"]),
    ],
)
def test_a_folded_text_expands(text: str, expected: list[str]) -> None:
    """Padding, steps, lists and products are those of Slurm and ClusterShell."""
    assert expand(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("g[1", "has a bracket without its partner, or one within another"),
        ("g1]", "has a bracket without its partner, or one within another"),
        ("g[1[2]]", "has a bracket without its partner, or one within another"),
        ("g[]", "has [], which is no range"),
        ("g[1-]", "has [1-], which is no range"),
        ("g[a]", "has [a], which is no range"),
        ("g[1 - 2]", "has [1 - 2], which is no range"),
        ("g[-1]", "has [-1], which is no range"),
        ("g[1,]", "has [1,], which is no range"),
        ("g[1/2]", "has [1/2], which is no range"),
        ("g[٣]", "has [٣], which is no range"),
        ("g[2-1]", "has [2-1], which runs backwards"),
        ("g[1-2/0]", "has [1-2/0], which steps by zero"),
        ("g[01-002]", "has [01-002], whose ends have different numbers of digits"),
        ("g[1-02]", "has [1-02], whose ends have different numbers of digits"),
        ("g[1-100001]", "stands for 100,001 names; 100,000 are the most"),
        ("g[1-999][1-999]", "stands for 998,001 names; 100,000 are the most"),
        ("g[1-999999999999999999]", "stands for 999,999,999,999,999,999 names; 100,000 are the most"),
        (f"g[{'9' * 19}]", f"has [{'9' * 19}], which is no range"),
        (f"g[{'x' * 99}]", f"has [{'x' * 40}], which is no range"),
    ],
)
def test_a_text_that_folds_nothing_is_refused(text: str, says: str) -> None:
    """What is no range, or asks for too much, is refused before anything is expanded."""
    with pytest.raises(RangeError) as caught:
        expand(text)
    assert str(caught.value) == says


def test_the_limit_itself_is_allowed() -> None:
    """As many texts as the limit says may be asked for."""
    assert parse(f"g[1-{LIMIT}]").count == LIMIT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g[1-2]", True),
        ("g[1][x]", False),
        ("g1", False),
        ("[a]", False),
        ("[1-2] [3/4]", False),
        ("g[1", False),
    ],
)
def test_ranges_are_distinguished_from_other_brackets(text: str, *, expected: bool) -> None:
    """Only a text whose brackets are all ranges has a range."""
    assert has_range(text) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ()),
        (["g1"], ("g1",)),
        (["login"], ("login",)),
        (["g1", "g1"], ("g1",)),
        (["g2", "g1", "g3", "g10"], ("g[1-3,10]",)),
        (["g01", "g02", "g03"], ("g[01-03]",)),
        (["g1", "g01", "g2"], ("g[1-2,01]",)),
        (["g9", "g09", "g10"], ("g[9,09-10]",)),
        (["g09", "g10", "g11"], ("g[09-11]",)),
        ([f"rey1-a{rack:02}-g7" for rack in (1, 2, 3)], ("rey1-a[01-03]-g7",)),
        (["a1-g1", "a1-g2", "a2-g1", "a2-g2"], ("a[1-2]-g[1-2]",)),
        (["a1-g1", "a1-g2", "a2-g1"], ("a1-g[1-2]", "a2-g1")),
        (["b1", "a1", "b2"], ("a1", "b[1-2]")),
        (["g10", "g2"], ("g[2,10]",)),
        (["10.0.0.1", "10.0.0.2"], ("10.0.0.[1-2]",)),
        (["g" + "1" * 19, "g" + "1" * 18 + "2"], ("g" + "1" * 19, "g" + "1" * 18 + "2")),
    ],
)
def test_names_fold(names: list[str], expected: tuple[str, ...]) -> None:
    """Names that differ in a number become one, runs are shortened, padding is kept."""
    assert fold(names) == expected


_numbers = st.integers(0, 120).flatmap(lambda n: st.sampled_from([str(n), f"{n:02}", f"{n:03}"]))
_words = st.sampled_from(["g", "a-", "rey1-", ".x", "-g"])
_names = st.lists(st.tuples(_words, _numbers), min_size=1, max_size=3).map(
    lambda pairs: "".join(word + number for word, number in pairs)
)


@given(st.sets(_names, max_size=60))
def test_folding_loses_and_adds_nothing(names: set[str]) -> None:
    """Expanding what was folded gives each name once and no other."""
    expanded = [name for folded in fold(names) for name in expand(folded)]
    assert sorted(expanded) == sorted(names)


@st.composite
def _canonical(draw: st.DrawFn) -> str:
    """A folded name as ``fold`` writes it: brackets only around more than one number, runs apart from each other."""
    first = draw(st.integers(0, 90))
    runs = [(first, first + draw(st.integers(1, 5)))]
    for _ in range(draw(st.integers(0, 3))):
        start = runs[-1][1] + draw(st.integers(2, 9))
        runs.append((start, start + draw(st.integers(0, 5))))
    width = draw(st.sampled_from([1, 3]))
    inside = ",".join(f"{a:0{width}}" if a == b else f"{a:0{width}}-{b:0{width}}" for a, b in runs)
    return f"g[{inside}]-x"


@given(_canonical())
def test_expanding_and_folding_is_identity(folded: str) -> None:
    """Folding what was expanded gives back what was written, where it was written as folding does."""
    assert fold(expand(folded)) == (folded,)


@given(st.text(alphabet="g[]-,/0123456789", max_size=20))
def test_any_text_expands_or_is_refused(text: str) -> None:
    """No text raises anything but ``RangeError`` or gives more than the limit."""
    try:
        expanded = expand(text, limit=1000)
    except RangeError:
        return
    assert 1 <= len(expanded) <= 1000
