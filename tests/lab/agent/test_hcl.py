"""The parser of HCL 1: values, strings, and what HCL 1 refuses although HCL 2 accepts it."""

from __future__ import annotations

import pytest

from ionetctl.lab.agent import hcl


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\ufeffa = 1", {"a": 1}),
        ("a = 1\nb = -2.5\nc = 0x1f\nd = 1e3\n", {"a": 1, "b": -2.5, "c": 31, "d": 1000.0}),
        ("a = true\nb = false", {"a": True, "b": False}),
        ('a = [1, "x", [true],\n]', {"a": [1, "x", [True]]}),
        ("a = []", {"a": []}),
        ("# one\n// two\n/* three\n four */ a = 1 # five\n", {"a": 1}),
        ("client {\n  enabled = true\n}\n", {"client": {"enabled": True}}),
        ("client { enabled = true }", {"client": {"enabled": True}}),
        ('plugin "x" {\n  config {\n a = 1\n }\n}', {"plugin": {"x": {"config": {"a": 1}}}}),
        ('"quoted key" = 1', {"quoted key": 1}),
        ("m = {\n a = 1,\n b = 2\n}", {"m": {"a": 1, "b": 2}}),
        ("c {\n a = 1\n}\nc {\n b = 2\n}", {"c": {"a": 1, "b": 2}}),
        ("a = 1\na = 2", {"a": 2}),
    ],
)
def test_what_a_text_means(text: str, expected: dict[str, hcl.Value]) -> None:
    """Values, blocks, labels, comments and repeated blocks."""
    assert hcl.read(text) == expected


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        (r'"a\"b\\c\n\t\r"', 'a"b\\c\n\t\r'),
        (r'"\u0024{x"', "${x"),
        (r'"\x41\101\U0001f600"', "AA😀"),
        (r'"\ud83d\ude00"', "\ufffd\ufffd"),
        ('"😀 ünïcode"', "😀 ünïcode"),
        ('"${env "HOME"} after"', '${env "HOME"} after'),
        ('"$${x}"', "$${x}"),
        ('"%{x"', "%{x"),
        ('"${a{b}c}"', "${a{b}c}"),
    ],
)
def test_what_a_string_means(literal: str, expected: str) -> None:
    """Escapes, interpolations with quotes inside, and surrogates, which are replaced."""
    assert hcl.read(f"a = {literal}") == {"a": expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a = "${x"', "At 1:10: literal not terminated"),
        ('a = "x', "literal not terminated"),
        ('a = "x\ny"', "literal not terminated"),
        (r'a = "\/"', "illegal char escape"),
        (r'a = "\U00110000"', None),
        ("a = 1 b = 2", "expected a line break"),
        ("a = ", "Unknown token"),
        ("a = null", "At 1:9: Unknown token: 'null'"),
        ("a b = 1", "nested object expected"),
        ("a {", "unexpected end"),
        ("a = {\n b = 1", "expected a line break"),
        ("}", "illegal character"),
        ("a = [1 2]", "error parsing list"),
        ("a = [1", "error parsing list"),
        ("= 1", "illegal character"),
        ("a {\n" * 100, "too deeply nested"),
    ],
)
def test_what_is_refused(text: str, message: str | None) -> None:
    """Every error has line and column."""
    if message is None:
        assert hcl.read(text) == {"a": "\ufffd"}
        return
    with pytest.raises(hcl.HclError, match=message):
        hcl.read(text)


def test_mappings_are_merged_key_by_key() -> None:
    """As Nomad merges its files: mappings key by key, other values are replaced."""
    first: dict[str, hcl.Value] = {"a": {"x": 1, "y": [1]}, "b": 1}
    hcl.merge(first, {"a": {"y": [2], "z": 3}, "b": {"c": 1}})
    assert first == {"a": {"x": 1, "y": [2], "z": 3}, "b": {"c": 1}}
