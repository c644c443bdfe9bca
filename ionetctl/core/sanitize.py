"""Sanitizes text from hosts for output: one line, visible characters only, of bounded length.

Applied once, where a host's text is received, so that terminals, logs and reports need not deal with escape sequences,
bidirectional text or commands to a CI system. Escaping for a certain output (rich, HTML, CSV) is done by its writer.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LIMIT_CHARS: Final = 2000
ELLIPSIS: Final = "…"
REPLACEMENT: Final = "\ufffd"

_ESCAPE_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]"  # the two-character ones (ECMA-35)
)
_SPACE: Final = re.compile(r"\s+")
_CI_COMMAND: Final = re.compile(
    r"#(?=#[A-Za-z]*\[)"  # Azure's and GitHub's ##[error] and ##vso[...], TeamCity's ##teamcity[...]
    r"|:(?=:[A-Za-z])(?!:[0-9A-Fa-f]{1,4}(?![\w-]))"  # GitHub's ::error, but not an IPv6 address
)
_HIDDEN: Final = frozenset({"Cc", "Cf"})
_NO_CHARACTER: Final = frozenset({"Cs", "Co", "Cn"})


def harmless(text: str, limit_chars: int = LIMIT_CHARS) -> str:
    """``text`` as one line without escape sequences, control, bidirectional or zero-width characters.

    Printable Unicode is kept. A run of white space becomes one space, an unassigned code point U+FFFD, and a command to
    a CI system is broken up as by ``break_ci_commands``. The result has at most ``limit_chars`` characters.
    """
    if len(text) <= limit_chars and _is_harmless(text):
        return text
    kept = text[: limit_chars * 8]
    if not (kept.isascii() and kept.isprintable()):
        kept = "".join(map(_visible, _ESCAPE_SEQUENCE.sub("", kept)))
    line = break_ci_commands(_SPACE.sub(" ", kept).strip())
    return line if len(line) <= limit_chars else line[: limit_chars - 1] + ELLIPSIS


def _is_harmless(text: str) -> bool:
    """Whether a text is sure to stay as it is: a name, an address, a UUID. A region's 10,000 nodes have 200,000 of them."""
    is_plain = text.isascii() and text.isprintable() and "#" not in text and ":" not in text
    return is_plain and "  " not in text and text == text.strip()


def break_ci_commands(text: str) -> str:
    """``text`` with a space in what starts a command to a CI system (``::error``, ``##[group]``, ``##vso[``).

    Wherever it stands: Azure's and GitHub's runners search the whole line for ``##[`` and ``##vso[``, and any text may come
    to stand at the start of a line.
    """
    return _CI_COMMAND.sub(lambda start: f"{start[0]} ", text)


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category in _HIDDEN:
        return ""
    return REPLACEMENT if category in _NO_CHARACTER else character
