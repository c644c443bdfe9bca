r"""Quoting of a command line so that every login shell passes it on unchanged.

sshd passes the command to the user's login shell, which may be fish or csh. Their single quotes differ from POSIX: fish
processes ``\\`` inside, csh expands ``!`` and ends at a line break. So anything but plain arguments is encoded in octal,
which all of them leave alone, and ``/bin/sh`` on the host decodes it.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT_CHARS: Final = 120 * 1024
"""Linux accepts no argument longer than 128 KiB (MAX_ARG_STRLEN), and the whole line is one argument."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:,@+-]+")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_./:,@+= \"$()|&;<>{}#*?\[\]~%^-]")
_DECODE: Final = """exec sh -c 'eval "exec $(printf %b "$1")"' sh """


def command_line(argv: Sequence[str]) -> str:
    """The text of an SSH ``exec`` request that runs ``argv``.

    Raises ``ValueError`` for an empty ``argv``, for a NUL in it, and for a text longer than ``LIMIT_CHARS``.
    """
    if not argv or any("\0" in argument for argument in argv):
        raise ValueError("a command is at least one argument, none with a NUL in it")
    if all(_PLAIN.fullmatch(argument) for argument in argv):
        return " ".join(argv)
    quoted = shlex.join(argv).encode("utf-8", "surrogateescape")
    encoded = _UNSAFE.sub(lambda match: b"\\0%03o" % match[0][0], quoted).decode("ascii")
    line = f"{_DECODE}'{encoded}'"
    if len(line) > LIMIT_CHARS:
        raise ValueError(f"a command of {len(line)} characters is longer than a host takes ({LIMIT_CHARS})")
    return line
