"""What a host says, made fit to be shown: one line, visible characters only, of bounded length.

Applied once, where a host's text comes in, so that no terminal, log or report has to think of escape sequences,
text that runs backwards, or commands to a CI system. It must not know where the text is going: markup of a screen
(rich), a page (HTML) or a sheet (CSV) is for whoever writes those.
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
_CI_COMMANDS: Final = ("::", "##[", "##vso[", "##teamcity[")
_HIDDEN: Final = frozenset({"Cc", "Cf"})
_NO_CHARACTER: Final = frozenset({"Cs", "Co", "Cn"})


def harmless(text: str, limit_chars: int = LIMIT_CHARS) -> str:
    """``text`` as one line without escape sequences, control, bidirectional or zero-width characters.

    Printable Unicode stays as it is. Any run of white space becomes one space, what is no character U+FFFD, and a
    line that a CI system would obey (``::error``) is set off by a bar. At most ``limit_chars`` characters come back.
    """
    kept = text[: limit_chars * 8]
    if not (kept.isascii() and kept.isprintable()):
        kept = "".join(map(_visible, _ESCAPE_SEQUENCE.sub("", kept)))
    line = _SPACE.sub(" ", kept).strip()
    if line.startswith(_CI_COMMANDS):
        line = f"| {line}"
    return line if len(line) <= limit_chars else line[: limit_chars - 1] + ELLIPSIS


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category in _HIDDEN:
        return ""
    return REPLACEMENT if category in _NO_CHARACTER else character
