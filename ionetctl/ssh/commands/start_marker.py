"""Where a command's own output begins: after a line with a nonce, which is printed right before the command runs.

Whatever comes before it is the login's (a greeting, a terminal's title, an error of the shell), with or without a line
break at its end. Where the line never comes, the login ended before the command ran. Without any I/O of its own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_BYTES: Final = 64 * 1024
SAID_CHARS: Final = 300
NOTHING: Final = "nothing"
_PRINT: Final = """printf '%s\\n' "$1" >&2; printf '%s\\n' "$1"; shift; exec "$@\""""


@dataclass(slots=True)
class StartMarker:
    """The marker of one command on both of its outputs, and what came before it."""

    _text: str = field(default_factory=lambda: f"ionetctl-start-{secrets.token_hex(16)}")
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    has_arrived: bool = False

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that prints the marker on both outputs and then becomes ``argv``."""
        return ("sh", "-c", _PRINT, "sh", self._text, *argv)

    def take_stdout(self, data: bytes) -> bytes | None:
        """What follows the marker on standard output, or ``None`` before it has arrived."""
        return self._take(self.stdout, data)

    def take_stderr(self, data: bytes) -> bytes | None:
        """What follows the marker on standard error, or ``None`` before it has arrived."""
        return self._take(self.stderr, data)

    def last_line(self) -> str:
        """The last line of what came before the marker, of standard error if there is any; fit to be shown."""
        return last_line(self.stderr, self.stdout)

    def _take(self, output: bytearray, data: bytes) -> bytes | None:
        output += data
        marker = f"{self._text}\n".encode()
        before, found, rest = output.partition(marker)
        if not found:
            del output[:-KEPT_BYTES]
            return None
        self.has_arrived = True
        output[:] = before
        return bytes(rest)


def last_line(*outputs: bytearray) -> str:
    """The last line of the first output that has one, fit to be shown; else ``NOTHING``."""
    for output in outputs:
        lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
        if lines:
            return harmless(lines[-1], SAID_CHARS)
    return NOTHING
