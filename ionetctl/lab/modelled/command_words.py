"""Reads an SSH command line as a host's shells would: down to the program that is finally run, as what, and with which words.

Knows the wrappers of ionetctl's own commands (see ``docs/explanation/host-protocol.md``): the encoded line, the start
marker, ``sudo``. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ENCODED: Final = re.compile(r"""exec sh -c 'eval "exec \$\(printf %b "\$1"\)"' sh '([^']*)'""")
_OCTAL: Final = re.compile(rb"\\0([0-7]{3})")
_WORD: Final = re.compile(r"""(?:[^\s'"\\]+|'[^']*'|"[^"$`\\]*")+""")
_QUOTED: Final = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_MARKS: Final = 'printf \'%s\\n\' "$1" >&2; printf \'%s\\n\' "$1"; shift; exec "$@"'
_BECOMES: Final = 'exec "$@"'
_OPTIONS_WITH_VALUE: Final = frozenset({"-p", "-u", "-g"})


@dataclass(frozen=True, slots=True)
class CommandWords:
    """A command: its words, the markers that are printed before it runs, and whether ``sudo`` runs it."""

    words: tuple[str, ...]
    markers: tuple[str, ...] = ()
    is_sudo: bool = False


def read_command(line: str) -> CommandWords:
    """The command that a line runs in the end; other wrappers than ours are left as they are."""
    words = _split(_decoded(line))
    markers: list[str] = []
    is_sudo = False
    while len(words) > 1:
        match words:
            case ["sh", "-c", script, _, marker, *rest] if script == _MARKS:
                markers.append(marker)
                words = rest
            case ["sh", "-c", script, _, *rest] if _is_passing(script):
                words = rest
            case ["sudo", *rest]:
                words, is_sudo = _without_options(rest), True
            case _:
                break
    return CommandWords(tuple(words), tuple(markers), is_sudo)


def _decoded(line: str) -> str:
    match = _ENCODED.fullmatch(line)
    if match is None:
        return line
    raw = match[1].encode("utf-8", "surrogateescape")
    return _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), raw).decode("utf-8", "surrogateescape")


def _split(line: str) -> list[str]:
    return [
        _QUOTED.sub(lambda quoted: quoted[1] if quoted[1] is not None else quoted[2], word)
        for word in _WORD.findall(line)
    ]


def _is_passing(script: str) -> bool:
    """Whether a script changes its environment at most, and then becomes its arguments."""
    *before, last = script.split("; ")
    return last == _BECOMES and all(re.fullmatch(r"(export )?LC_ALL(=C)?", each) for each in before)


def _without_options(words: list[str]) -> list[str]:
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--":
            break
        if option in _OPTIONS_WITH_VALUE:
            words = words[1:]
    return words
