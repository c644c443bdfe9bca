"""The known_hosts files of user and system, read once and indexed by host (format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

A look-up takes constant time for plain lines; hashed lines cost one HMAC each, as every line has its own salt, so results
are kept. Keys are parsed only when a host with their line is looked up. It knows nothing of the inventory's pins, nor of
what follows from a key that is not in the files.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DEFAULT_PORT: Final = 22
_HASH_MAGIC: Final = "|1|"
_REVOKED: Final = "@revoked"
_AUTHORITY: Final = "@cert-authority"


@dataclass(frozen=True, slots=True)
class Known:
    """The entries for one host: its keys, the CAs whose certificates are accepted for it, and revoked keys.

    ``is_portless`` is true for a host on another port than 22 that the files have by its name alone. Another key than
    those is then a new key and not a changed one, as with OpenSSH.
    """

    keys: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()
    is_portless: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    key: str


@dataclass(frozen=True, slots=True)
class _Hashed:
    salt: bytes
    digest: bytes
    line: _Line


@dataclass(frozen=True, slots=True)
class _Pattern:
    wanted: tuple[re.Pattern[str], ...]
    unwanted: tuple[re.Pattern[str], ...]
    line: _Line

    def matches(self, name: str) -> bool:
        is_unwanted = any(pattern.fullmatch(name) for pattern in self.unwanted)
        return not is_unwanted and any(pattern.fullmatch(name) for pattern in self.wanted)


def known_as(host: str, port: int) -> str:
    """A host's name in known_hosts: in lower case, with its port where that is not 22."""
    name = host.lower()
    return name if port == DEFAULT_PORT else f"[{name}]:{port}"


@dataclass(slots=True)
class KnownHosts:
    """An index of known_hosts lines. ``record_in`` is the file that ``record`` appends to."""

    record_in: Path | None = None
    _plain: dict[str, list[_Line]] = field(default_factory=dict)
    _hashed: list[_Hashed] = field(default_factory=list)
    _patterns: list[_Pattern] = field(default_factory=list)
    _found: dict[str, Known] = field(default_factory=dict)

    @classmethod
    def read(cls, users: Sequence[Path], systems: Sequence[Path] = ()) -> KnownHosts:
        """The index of all files that exist; new keys are recorded in the first of the user's.

        Raises ``OSError`` for a file that exists but cannot be read.
        """
        index = cls(record_in=users[0] if users else None)
        for path in (*users, *systems):
            if path.is_file():
                index.add(path.read_text("utf-8", "replace"))
        return index

    def add(self, text: str) -> None:
        """Add the lines of a file; malformed ones are skipped, as with OpenSSH."""
        for raw in text.splitlines():
            fields = raw.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            is_entry = len(fields) >= 3 and not fields[0].startswith("#")  # noqa: PLR2004  (hosts, type, key)
            if is_entry and marker in ("", _REVOKED, _AUTHORITY):
                self._add_line(fields[0], _Line(marker, f"{fields[1]} {fields[2]}"))
        self._found.clear()

    def find(self, host: str, port: int) -> Known:
        """The entries for ``host`` on ``port``; those for the name alone where none has the port."""
        name = known_as(host, port)
        known = self._found.get(name)
        if known is None:
            known = self._collect(name)
            if port != DEFAULT_PORT and not (known.keys or known.authorities):
                known = self._portless(host.lower(), known)
            self._found[name] = known
        return known

    def record(self, host: str, port: int, key: asyncssh.SSHKey) -> str:
        """Append a key for ``host`` to the user's file in one write; returns the host's name there.

        Does nothing where the key is known already. Raises ``OSError`` where the file cannot be written.
        """
        name = known_as(host, port)
        if key not in self._collect(name).keys:
            exported = " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])
            if self.record_in is not None:
                _append(self.record_in, f"{name} {exported}\n")
            self._add_line(name, _Line("", exported))
            self._found.pop(name, None)
        return name

    def _add_line(self, hosts: str, line: _Line) -> None:
        if hosts.startswith("|"):
            hashed = _hashed(hosts, line)
            if hashed is not None:
                self._hashed.append(hashed)
        elif any(character in hosts for character in "*?!"):
            self._patterns.append(_pattern(hosts, line))
        else:
            for name in hosts.lower().split(","):
                self._plain.setdefault(name, []).append(line)

    def _portless(self, host: str, own: Known) -> Known:
        shared = self._collect(host)
        return Known(shared.keys, shared.authorities, own.revoked + shared.revoked, is_portless=True)

    def _collect(self, name: str) -> Known:
        lines = list(self._plain.get(name, ()))
        encoded = name.encode()
        lines += (
            entry.line for entry in self._hashed if hmac.digest(entry.salt, encoded, "sha1") == entry.digest
        )
        lines += (entry.line for entry in self._patterns if entry.matches(name))
        return Known(_keys(lines, ""), _keys(lines, _AUTHORITY), _keys(lines, _REVOKED))


def _keys(lines: Iterable[_Line], marker: str) -> tuple[asyncssh.SSHKey, ...]:
    """The keys of the lines with a marker; those of unknown types are skipped."""
    keys = []
    for line in lines:
        if line.marker == marker:
            try:
                keys.append(asyncssh.import_public_key(line.key))
            except asyncssh.KeyImportError:
                continue
    return tuple(keys)


def _hashed(hosts: str, line: _Line) -> _Hashed | None:
    try:
        salt, digest = hosts.removeprefix(_HASH_MAGIC).split("|")
        return _Hashed(base64.b64decode(salt), base64.b64decode(digest), line)
    except (ValueError, binascii.Error):
        return None


def _pattern(hosts: str, line: _Line) -> _Pattern:
    names = hosts.lower().split(",")
    wanted = tuple(_expression(name) for name in names if not name.startswith("!"))
    unwanted = tuple(_expression(name[1:]) for name in names if name.startswith("!"))
    return _Pattern(wanted, unwanted, line)


def _expression(pattern: str) -> re.Pattern[str]:
    """OpenSSH's two wildcards; unlike in a shell, brackets are plain characters."""
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = os.fstat(descriptor).st_size
        is_torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        os.write(descriptor, (b"\n" if is_torn else b"") + line.encode())
    finally:
        os.close(descriptor)
