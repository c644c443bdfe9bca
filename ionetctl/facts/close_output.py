"""What ``remote/close_ssh.sh`` prints of a key in the ``authorized_keys`` of an account. Pure; the input is not trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ionetctl.core.errors import HostFailedError
from ionetctl.core.sanitize import harmless
from ionetctl.facts.complete_output import records_between

CLOSE_LIMIT_BYTES: Final = 64 * 1024
BUSY: Final = "busy"
"""Why it was refused: somebody else is at work on the file. It may be tried again."""
_PATH: Final = re.compile(r"/[^\x00-\x1f\x7f\ufffd]{1,512}")
_MOST_FILES: Final = 6
"""The paths are arguments of the command that takes the key out: what a hostile host names must fit into it. The script
has as many descriptors for their directories."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file that has the key. ``is_accounts``: it belongs to the account, else to root."""

    path: str
    is_accounts: bool
    lines: int


@dataclass(frozen=True, slots=True)
class CloseOutput:
    """The records; ``refused`` is empty where nothing was refused, and ``reason`` a text to be shown."""

    addresses: str = ""
    """``SSH_CONNECTION``, as sshd sets it."""
    files: tuple[KeyFile, ...] = ()
    """Each once, although sshd may be told of it twice."""
    removed: int = 0
    refused: str = ""
    reason: str = ""


def parse_close(output: bytes, nonce: str) -> CloseOutput:
    """The records.

    Raises ``HostUnreachableError`` (``close_incomplete``, transient) where the output is not whole, ``HostFailedError``
    (``close_malformed``) where a record is malformed.
    """
    opening, ending = f"ionet-close\t1\t{nonce}", f"ionet-close-end\t{nonce}"
    message = "what the host says of the key did not arrive whole"
    addresses, refused, reason, removed = "", "", "", 0
    files: list[KeyFile] = []
    for record in records_between(output, opening, ending, "close_incomplete", message):
        match record.split("\t"):
            case ["addresses", text]:
                addresses = harmless(text)
            case ["key", "account" | "root" as owner, count, path] if (
                _is_count(count) and _PATH.fullmatch(path) and len(files) < _MOST_FILES
            ):
                file = KeyFile(path, owner == "account", int(count))
                if file not in files:
                    files.append(file)
            case ["removed", count, _] if _is_count(count):
                removed += int(count)
            case ["refused", code, text]:
                refused, reason = harmless(code), harmless(text)
            case _:
                raise HostFailedError("close_malformed", "what the host says of the key is malformed", _HINT)
    return CloseOutput(addresses, tuple(files), removed, refused, reason)


_HINT: Final = (
    "is a start file of the account's shell at work there? Take the key out by hand, or set ssh: {close: off}"
)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len("9999")
