"""The records in a script's output: whole or not at all. Pure; the input is not trusted."""

from __future__ import annotations

from typing import Final

from ionetctl.core.errors import HostUnreachableError

_HINT: Final = (
    "run it again; if it stays, look for a start file that ends the shell, for command= in authorized_keys, and for "
    "memory that ran out (dmesg)"
)


def records_between(output: bytes, opening: str, ending: str, code: str, message: str) -> list[str]:
    """The lines between the first one and the one that ends them, which both bear the nonce.

    What a login prints before a command is no part of the command's output: ``ssh.commands.start_marker`` parts it.
    Raises ``HostUnreachableError`` (``code``, transient) where one of the two is missing.
    """
    first, *lines = output.decode(errors="replace").split("\n")
    if first != opening or ending not in lines:
        raise HostUnreachableError(code, message, _HINT, transient=True)
    return lines[: lines.index(ending)]
