"""A parser of HCL 1, as far as an agent's configuration uses the language.

Differences from HCL 2 that matter here: ``${`` opens an interpolation inside any string and must be closed, ``$${`` is
no escape, surrogates become replacement characters, and each key of a block is on a line of its own.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final, TypeAlias

Value: TypeAlias = "str | bool | int | float | list[Value] | dict[str, Value]"

_SKIP: Final = re.compile(r"(?:[ \t\r]+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_PLAIN: Final = re.compile(r'[^"\\$\n]+')
_NUMBER: Final = re.compile(r"-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))"
)
_SIMPLE: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}
_SURROGATES: Final = range(0xD800, 0xE000)
_MAX_DEPTH: Final = 32


class HclError(ValueError):
    """The text is not HCL 1; the message gives line and column."""


@dataclass(slots=True)
class _Scanner:
    text: str
    position: int = 0
    depth: int = 0

    def fail(self, message: str) -> HclError:
        line = self.text.count("\n", 0, self.position) + 1
        column = self.position - (self.text.rfind("\n", 0, self.position) + 1) + 1
        return HclError(f"At {line}:{column}: {message}")

    def skip(self, *, lines: bool) -> None:
        """Skip blanks and comments; line breaks too when ``lines`` is true."""
        while True:
            if match := _SKIP.match(self.text, self.position):
                self.position = match.end()
            if not (lines and self.peek() == "\n"):
                return
            self.position += 1

    def peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        return match.group()

    def take_char(self, char: str) -> bool:
        if self.peek() != char:
            return False
        self.position += 1
        return True


def read(text: str) -> dict[str, Value]:
    """Parse a file: blocks and their labels become nested mappings; raises ``HclError``."""
    return _body(_Scanner(text.removeprefix("\ufeff")), closing="")


def merge(into: dict[str, Value], other: dict[str, Value]) -> None:
    """Merge ``other`` into ``into``, as Nomad merges its files: mappings key by key, other values are replaced."""
    for key, value in other.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merge(present, value)
        else:
            into[key] = value


def _body(scanner: _Scanner, closing: str) -> dict[str, Value]:
    """The keys up to ``closing``, which is not consumed; an empty ``closing`` is the end of the text."""
    scanner.depth += 1
    if scanner.depth > _MAX_DEPTH:
        raise scanner.fail("too deeply nested")
    body: dict[str, Value] = {}
    scanner.skip(lines=True)
    while scanner.peek() != closing:
        merge(body, _item(scanner))
        _end_of_item(scanner, closing)
    scanner.depth -= 1
    return body


def _end_of_item(scanner: _Scanner, closing: str) -> None:
    scanner.skip(lines=False)
    if scanner.take_char(",") or scanner.take_char("\n"):
        scanner.skip(lines=True)
    elif scanner.peek() != closing:
        raise scanner.fail("expected a line break or a comma between keys")


def _item(scanner: _Scanner) -> dict[str, Value]:
    keys = [_key(scanner)]
    scanner.skip(lines=False)
    while scanner.peek() not in ("=", "{"):
        keys.append(_key(scanner))
        scanner.skip(lines=False)
    if scanner.take_char("="):
        if len(keys) > 1:
            raise scanner.fail("nested object expected: LBRACE got: ASSIGN")
        scanner.skip(lines=True)
    value = _value(scanner)
    for key in reversed(keys):
        value = {key: value}
    return value if isinstance(value, dict) else {}


def _key(scanner: _Scanner) -> str:
    if scanner.peek() == '"':
        return _string(scanner)
    key = scanner.take(_IDENTIFIER)
    if key is None:
        raise scanner.fail(f"illegal character or unexpected end: {scanner.peek()!r}")
    return key


def _value(scanner: _Scanner) -> Value:
    opening = scanner.peek()
    if opening == '"':
        return _string(scanner)
    if scanner.take_char("{"):
        body = _body(scanner, closing="}")
        scanner.position += 1
        return body
    if scanner.take_char("["):
        return _list(scanner)
    return _word(scanner)


def _list(scanner: _Scanner) -> list[Value]:
    items: list[Value] = []
    scanner.skip(lines=True)
    while not scanner.take_char("]"):
        items.append(_value(scanner))
        scanner.skip(lines=True)
        if not scanner.take_char(",") and scanner.peek() != "]":
            raise scanner.fail("error parsing list, expected comma or list end")
        scanner.skip(lines=True)
    return items


def _word(scanner: _Scanner) -> Value:
    word = scanner.take(_IDENTIFIER)
    if word in ("true", "false"):
        return word == "true"
    number = scanner.take(_NUMBER) if word is None else None
    if number is None:
        raise scanner.fail(f"Unknown token: {word or scanner.peek()!r}")
    return float(number) if re.fullmatch(r"-?\d+(\.\d+|.*[eE].*)", number) else int(number, 0)


def _string(scanner: _Scanner) -> str:
    scanner.position += 1
    parts: list[str] = []
    while not scanner.take_char('"'):
        if plain := scanner.take(_PLAIN):
            parts.append(plain)
            continue
        char = scanner.peek()
        if char in ("", "\n"):
            raise scanner.fail("literal not terminated")
        parts.append(_string_part(scanner, char))
    return "".join(parts)


def _string_part(scanner: _Scanner, char: str) -> str:
    if char == "\\":
        return _escape(scanner)
    if scanner.text.startswith("${", scanner.position):
        return _interpolation(scanner)
    scanner.position += 1
    return char


def _escape(scanner: _Scanner) -> str:
    match = _ESCAPE.match(scanner.text, scanner.position)
    if match is None:
        raise scanner.fail("illegal char escape")
    scanner.position = match.end()
    simple, octet, short, long, octal = match.groups()
    if simple:
        return _SIMPLE[simple]
    code = int(octal, 8) if octal else int(octet or short or long, 16)
    return chr(code) if code <= sys.maxunicode and code not in _SURROGATES else "\ufffd"


def _interpolation(scanner: _Scanner) -> str:
    """The raw text from ``${`` to its closing brace; quotes in between do not end the string."""
    start = scanner.position
    scanner.position += 2
    depth = 1
    while depth:
        char = scanner.peek()
        if not char:
            raise scanner.fail("literal not terminated")
        depth += {"{": 1, "}": -1}.get(char, 0)
        scanner.position += 1
    return scanner.text[start : scanner.position]
