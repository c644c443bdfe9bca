"""What a hostile host or region may say, and what of it must not be found in any output."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import strategies as st

_TERMINAL: Final = (
    "\x1b[31m \x1b]0;owned\x07 \x1b]8;;http://x\x1b\\ \x9b2J \x1bc \x1b[2J\x1b[H \x07 \x08 \x00 \x7f"
)
_BREAKS: Final = ("\r", "\n", "\r\n", "\t", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", " ", "  ")
_HIDDEN: Final = (
    "\u200b",
    "\ufeff",
    "\u00ad",
    "\u202e",
    "\u2066",
    "\u2069",
    "\U000e0041",
    "\ue000",
    "\u0378",
)
_GITHUB_SAYS: Final = "::error::x ::error_file=a::x ::add-mask::x ::set-env_name=PATH::/x ::stop-commands::x : :: ::dead: [::1]:22"
_OTHERS_SAY: Final = "##vso[task.setvariable]y ##[error] ##[command] ##teamcity[a] # ## [ vso[ section_start:1:a\r\x1b[0K section_end:1:a\r\x1b[0K"
_FORMULAS: Final = "=cmd|'/c_calc'!A1 +1 -1 @SUM(1) \uff1d1 ;=1 ;+1 =1 ; ;_@x"
_MARKUP: Final = "[red] [/] [link=http://x] :boom: <a> & ]]> \" ' , | \\"
_PLAIN: Final = f"hunter ../ $(id) {{{{ {'9' * 40} é 鍵 a"
_WORDS: Final = f"{_TERMINAL} {_GITHUB_SAYS} {_OTHERS_SAY} {_FORMULAS} {_MARKUP} {_PLAIN}".split(" ")
_NO_UTF8: Final = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x80\x9b", b"\xf0\x9f")
FRAGMENTS: Final = (
    *(
        text.replace("_", " ").encode()
        for text in (*_BREAKS, *_HIDDEN, *_WORDS)
        if not text.startswith("section")
    ),
    *(text.encode() for text in _WORDS if text.startswith("section")),
    *_NO_UTF8,
)
said_bytes: Final = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=8).map(b"".join),
)
"""Raw bytes as a host or region may say them, most of them made of what has a meaning somewhere."""

_GITHUB: Final = (
    *(
        "add-mask",
        "add-matcher",
        "add-path",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "internal-set-repo-path",
    ),
    *("notice", "remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"),
)
_CI_COMMANDS: Final = {
    "GitHub": re.compile(rf"::(?:{'|'.join(_GITHUB)})\b", re.IGNORECASE),
    "GitLab": re.compile(r"section_(?:start|end):[0-9]+:[\w.-]+(?:\[[^\]\n]*\])?\r\x1b\[0K"),
    "Azure": re.compile(r"##(?:vso)?\[", re.IGNORECASE),
    "TeamCity": re.compile(r"##teamcity\[", re.IGNORECASE),
}
_NO_TEXT: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_OURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_FORMULA: Final = re.compile(r"(?:^|;) *[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def hostile_in(text: str, allowed: str = "\n") -> list[str]:
    """What in a text does more than being read, by its kind; characters in ``allowed`` are the output's own."""
    found = [f"U+{ord(c):04X}" for c in text if unicodedata.category(c) in _NO_TEXT and c not in allowed]
    return found + [name for name, command in _CI_COMMANDS.items() if command.search(text)]


def hostile_on_terminal(plain: str, colourful: str) -> list[str]:
    """What is hostile in what is shown without and with colours; ours are all that the second has more."""
    return hostile_in(plain) + (["more than colours"] if _OURS.sub("", colourful) != plain else [])


def hostile_in_json(data: bytes) -> list[str]:
    """In one document or several, a line each: in its bytes, which a CI system reads, and in every text."""
    text = data.decode()
    documents = (
        [json.loads(text)]
        if text.startswith("{\n")
        else [json.loads(line) for line in text.strip("\n").split("\n")]
    )
    return hostile_in(text) + [
        each for one in documents for value in texts_of(one) for each in hostile_in(value)
    ]


def hostile_in_xml(data: bytes) -> list[str]:
    """In the bytes and in every attribute and text."""
    root = ET.fromstring(data)  # noqa: S314  (of our own making)
    values = [value for one in root.iter() for value in (one.text or "", *one.attrib.values())]
    return hostile_in(data.decode()) + [each for value in values for each in hostile_in(value)]


def hostile_in_csv(data: bytes) -> list[str]:
    """In the bytes and in every cell, whose beginning is no formula in any locale."""
    text = data.decode()
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    formulas = [f"formula {cell}" for cell in cells if _FORMULA.search(cell)]
    return formulas + hostile_in(text, "\r\n") + [each for cell in cells for each in hostile_in(cell, "")]


def texts_of(value: object) -> Iterator[str]:
    """Every text in a record, in its mappings, lists and their keys."""
    match value:
        case str():
            yield str(value)
        case Mapping():
            yield from (text for pair in value.items() for each in pair for text in texts_of(each))
        case list() | tuple() | set() | frozenset():
            yield from (text for each in value for text in texts_of(each))
        case msgspec.Struct():
            yield from texts_of(msgspec.structs.asdict(value))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from texts_of([getattr(value, field.name) for field in dataclasses.fields(value)])


def saying(record: Any, text: str, fields: frozenset[str]) -> Any:
    """The record, and those in it, with that text in place of the texts in fields of those names."""

    def replaced(name: str, value: Any) -> Any:
        if name in fields and isinstance(value, str):
            return text
        if name in fields and isinstance(value, tuple) and all(isinstance(each, str) for each in value):
            return (text, f"a{text}")
        if isinstance(value, tuple):
            return tuple(saying(each, text, fields) for each in value)
        return saying(value, text, fields)

    if isinstance(record, msgspec.Struct):
        values = msgspec.structs.asdict(record)
        return msgspec.structs.replace(
            record, **{name: replaced(name, value) for name, value in values.items()}
        )
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        names = [field.name for field in dataclasses.fields(record)]
        return dataclasses.replace(record, **{name: replaced(name, getattr(record, name)) for name in names})
    return record
