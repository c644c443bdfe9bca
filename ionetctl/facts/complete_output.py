"""The records in a script's output: whole or not at all. Pure; the input is not trusted."""

from __future__ import annotations

from typing import Final

from ionetctl.core.errors import HostUnreachableError

_HINT: Final = (
    "run it again; if it stays, look for a start file that ends the shell, for command= in authorized_keys, and for "
    "memory that ran out (dmesg)"
)


def records_between(output: bytes, opening: str, ending: str, code: str, message: str) -> list[str]:
    """The lines between two that bear the nonce.

    The opening one is found wherever it stands: what a login printed before it may have no line break of its own.
    Raises ``HostUnreachableError`` (``code``, transient) where one of them is missing.
    """
    lines = output.decode(errors="replace").partition(f"{opening}\n")[2].split("\n")
    if ending not in lines:
        raise HostUnreachableError(code, message, _HINT, transient=True)
    return lines[: lines.index(ending)]
