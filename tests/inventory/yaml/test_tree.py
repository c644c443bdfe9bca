"""The bounds of the YAML reader, counted in parser events, under both of PyYAML's parsers."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ionetctl.inventory.yaml.problems import InventoryError
from ionetctl.inventory.yaml.tree import ALIASES_MAX, PROBLEMS_MAX, SIZE_MAX, Document, FastLoader, parse


class Counting:
    """A loader that counts the events that were asked of it."""

    def __init__(self, loader: Any) -> None:
        self.events = 0
        self._loader = loader

    def __call__(self, stream: str) -> Any:
        loader = self._loader(stream)
        get = loader.get_event

        class Counted:
            dispose = staticmethod(loader.dispose)

            @staticmethod
            def get_event() -> Any:
                self.events += 1
                return get()

        return Counted()


@pytest.fixture(params=[FastLoader, yaml.SafeLoader], ids=["libyaml", "pure Python"])
def counting(request: pytest.FixtureRequest) -> Counting:
    return Counting(request.param)


def _said(text: bytes, loader: Any = FastLoader) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        parse(text, "x", loader)
    return [str(problem) for problem in caught.value.problems]


_BOMB = (
    "a0: &a0 ["
    + ",".join("x" * 10)
    + "]\n"
    + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
)
_MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says", "most_events"),
    [
        ("[" * 100_000, "x:1:33: is nested deeper than 32 levels", 40),
        ("a: " + "{a: " * 100_000, "x:1:128: is nested deeper than 32 levels", 80),
        ("- " * 100_000, "x:1:65: is nested deeper than 32 levels", 40),
        ("a: &a [*a]", "x:1:8: this alias refers to what it stands in", 10),
        ("a: &a {b: {c: [*a]}}", "x:1:16: this alias refers to what it stands in", 20),
        ("a: *b", "x:1:4: this alias refers to no anchor before it", 10),
        (_BOMB, "has more than 1,000,000 values, aliases counted for what they stand for", 150),
        (_MERGE_BOMB, "has more than 1,000,000 values, aliases counted for what they stand for", 250),
        ("a: b\n--- c", "x:2:1: a second document starts here", 10),
        ("a: b\n" + "---\n" * 1000, "x:2:1: a second document starts here", 10),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_bomb_is_refused_early(counting: Counting, text: str, says: str, most_events: int) -> None:
    """What would nest or grow without end is refused after a handful of events."""
    assert _said(text.encode(), counting)[-1].endswith(says)
    assert counting.events <= most_events


def test_many_aliases_are_refused_at_the_bound() -> None:
    """Aliases of next to nothing have a bound of their own."""
    text = b"a: &a x\nb: [" + b",".join([b"*a"] * (ALIASES_MAX + 1)) + b"]"
    assert _said(text)[0].endswith("has more than 100,000 aliases")


def test_many_problems_are_refused_at_the_bound() -> None:
    """A file that is wrong all over is not read to its end."""
    counting = Counting(FastLoader)
    said = _said(b"- !t x\n" * (PROBLEMS_MAX * 3), counting)
    assert said[-1].endswith("has more than 1,000 problems")
    assert counting.events < PROBLEMS_MAX + 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "x:1:1: is empty"),
        (b"\xef\xbb\xbf", "x:1:1: is empty"),
        (b"# nothing\n", "x:1:1: is empty"),
        (b"---\n", "x:1:1: is empty"),
        (b"- a\n", "x:1:1: must be a mapping, which starts with version: 1"),
        (b"text\n", "x:1:1: must be a mapping, which starts with version: 1"),
        (b"a: b\nc: \x00d\n", "x:2:4: has the control character U+0000"),
        (b"a: \x1b[31m\n", "x:1:4: has the control character U+001B"),
        (b"a: b\r\nc: \x7f", "x:2:4: has the control character U+007F"),
        ("é: \ufeff".encode(), "x:1:4: has the control character U+FEFF"),
        (b"a: b\nccc: \xff\n", "x:2:6: is not UTF-8 from here on"),
        ("a: é".encode() + b"\xc3(", "x:1:5: is not UTF-8 from here on"),
        ("a: b\n".encode("utf-16"), "x:1:1: is not UTF-8 from here on"),
        (b"x" * (SIZE_MAX + 1), "x:1:1: is larger than 16 MiB"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_text_that_is_no_inventory_is_refused(text: bytes, says: str) -> None:
    """Bytes that cannot be an inventory are named with line and column."""
    assert _said(text) == [says]


@pytest.mark.parametrize(
    "text",
    [
        b"a:\n\tb: c\n",
        b"a: b: c",
        b"a: [",
        b'a: "',
        b"a: {b c: d",
        b"a: !x!y z",
        b"a: @b",
    ],
)
def test_both_parsers_refuse_broken_syntax_with_a_place(counting: Counting, text: bytes) -> None:
    """Whatever is wrong with the syntax, one problem names line and column."""
    (said,) = _said(text, counting)
    assert said.startswith(("x:1:", "x:2:"))


def _plain(document: Document) -> Any:
    return document.root


def test_a_byte_order_mark_is_fine(counting: Counting) -> None:
    """A leading byte order mark is no part of the text."""
    document = parse(b"\xef\xbb\xbfa: b\n", "x", counting)
    assert _plain(document) == {"a": "b"}


def test_scalars_stay_what_was_written(counting: Counting) -> None:
    """No plain scalar becomes a number, a boolean, a date or nothing, but for the empty one."""
    document = parse(
        b"{a: NO, b: 010, c: 12:30, d: 1.10, e: ~, f: null, g: 2024-01-01, h: , i: ''}", "x", counting
    )
    expected = {"a": "NO", "b": "010", "c": "12:30", "d": "1.10", "e": "~", "f": "null", "g": "2024-01-01"}
    assert _plain(document) == {**expected, "h": None, "i": ""}


def test_nodes_know_their_places(counting: Counting) -> None:
    """A value, its key, and the way to what is missing each have a place."""
    document = parse("é: [1, {ü: x}]\n".encode(), "x", counting)
    assert [
        str(document.locate(("é",))[0]),
        str(document.locate(("é",), at_key=True)[0]),
        str(document.locate(("é", 1, "ü"))[0]),
        str(document.locate(("é", 1, "ü"), at_key=True)[0]),
        str(document.locate(("é", 0), at_key=True)[0]),
        document.locate(("é", 1, "missing", 3))[1],
        document.locate(("é", 7))[1],
        document.locate(("é", 0, "below a text"))[1],
        document.node(("é", 0)),
    ] == ["x:1:4", "x:1:1", "x:1:12", "x:1:9", "x:1:5", ("é", 1), ("é",), ("é", 0), "1"]


def test_the_first_of_two_keys_counts(counting: Counting) -> None:
    """A key that stands twice is a problem with both places, and its first value is kept."""
    document = parse(b"a: 1\nb: {c: 1, c: 2}\na: 3\n", "x", counting)
    assert _plain(document) == {"a": "1", "b": {"c": "1"}}
    assert [str(problem) for problem in document.problems] == [
        "x:2:11: this key stands here again, first at x:2:5",
        "x:3:1: this key stands here again, first at x:1:1",
    ]


def test_a_key_that_is_no_text_is_dropped_with_its_value(counting: Counting) -> None:
    """Lists, mappings and nothing as keys are problems, and the rest is read."""
    document = parse(b"? [a]\n: x\n? {b: c}\n: y\n? \n: z\nd: e\n", "x", counting)
    assert _plain(document) == {"d": "e"}
    assert [problem.message for problem in document.problems] == ["a key must be a text"] * 3
