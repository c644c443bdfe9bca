"""Tokens (``%h``), environment variables (``${NAME}``) and ``~`` in values of OpenSSH's options (ssh_config(5), TOKENS)."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EXPANDED: Final = re.compile(r"%(?P<token>.?)|\$\{(?P<variable>[^}]*)(?P<end>\}?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Login:
    """What tokens stand for. ``host`` is the name after HostName, ``original`` the one before.

    ``known_name`` is the name in known_hosts, ``jump`` the last jump host's name, empty where there is none.
    """

    original: str
    host: str
    port: int
    user: str
    known_name: str
    jump: str
    local_user: str
    home: Path

    def tokens(self) -> dict[str, str]:
        """Each token's letter and its value."""
        machine = socket.gethostname()
        connection = f"{machine}{self.host}{self.port}{self.user}{self.jump}".encode(
            "utf-8", "surrogateescape"
        )
        return {
            "%": "%",
            "C": hashlib.sha1(connection, usedforsecurity=False).hexdigest(),
            "L": machine.partition(".")[0],
            "d": str(self.home),
            "h": self.host,
            "i": str(os.getuid()),
            "j": self.jump,
            "k": self.known_name,
            "l": machine,
            "n": self.original,
            "p": str(self.port),
            "r": self.user,
            "u": self.local_user,
        }


def expand(text: str, tokens: Mapping[str, str], environ: Mapping[str, str] | None = None) -> str:
    """``text`` with its tokens replaced, and its environment variables where ``environ`` is given.

    Raises ``ValueError`` for what stands for nothing.
    """

    def value(found: re.Match[str]) -> str:
        if found["token"] is None and environ is None:
            return found[0]
        values, name = (
            (tokens, found["token"]) if found["token"] is not None else (environ, found["variable"])
        )
        if values is None or name not in values or found["end"] == "":
            raise ValueError(f"{found[0]} in {text!r} stands for nothing")
        return values[name]

    return _EXPANDED.sub(value, text)


def expand_home(text: str, home: Path) -> str:
    """``text`` with a leading ``~`` or ``~user`` replaced by the home directory."""
    first, slash, rest = text.partition("/")
    if first == "~":
        return f"{home}/{rest.lstrip('/')}" if slash else str(home)
    return os.path.expanduser(text)  # noqa: PTH111  (Path would normalise the rest)
