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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import asyncssh

from ionetctl.ssh.patterns import PatternList

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
    names: PatternList
    line: _Line


def known_as(host: str, port: int) -> str:
    """A host's name in known_hosts: in lower case, with its port where that is not 22."""
    name = host.lower()
    return name if port == DEFAULT_PORT else f"[{name}]:{port}"


def public_line(key: asyncssh.SSHKey) -> str:
    """A public key as known_hosts and inventories have it: type and base64, without a comment."""
    return " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])


@dataclass(slots=True)
class KnownHostsFile:
    """The index of one file."""

    _plain: dict[str, list[_Line]] = field(default_factory=dict)
    _hashed: list[_Hashed] = field(default_factory=list)
    _patterns: list[_Pattern] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The lines of a file; malformed ones are skipped, as with OpenSSH. A file that does not exist has none.

        Raises ``OSError`` for a file that exists but cannot be read.
        """
        index = cls()
        for raw in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
            fields = raw.split()
            marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
            is_entry = len(fields) >= 3 and not fields[0].startswith("#")  # noqa: PLR2004  (hosts, type, key)
            if is_entry and marker in ("", _REVOKED, _AUTHORITY):
                index.add(fields[0], _Line(marker, f"{fields[1]} {fields[2]}"))
        return index

    def add(self, hosts: str, line: _Line) -> None:
        """Add a line for the names that ``hosts`` lists."""
        if hosts.startswith("|"):
            hashed = _hashed(hosts, line)
            if hashed is not None:
                self._hashed.append(hashed)
        elif any(character in hosts for character in "*?!"):
            self._patterns.append(_Pattern(PatternList.of(hosts.lower().split(",")), line))
        else:
            for name in hosts.lower().split(","):
                self._plain.setdefault(name, []).append(line)

    def lines(self, name: str) -> list[_Line]:
        """The lines for a name."""
        lines = list(self._plain.get(name, ()))
        encoded = name.encode("utf-8", "surrogateescape")
        lines += (
            entry.line for entry in self._hashed if hmac.digest(entry.salt, encoded, "sha1") == entry.digest
        )
        lines += (entry.line for entry in self._patterns if entry.names.matches(name))
        return lines


@dataclass(slots=True)
class KnownHosts:
    """The files of user and system together. New keys are recorded in the first, in ``record_in`` where that is given."""

    record_in: Path | None
    _files: Sequence[KnownHostsFile] = field(repr=False)
    _found: dict[str, Known] = field(default_factory=dict, repr=False)

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
            exported = public_line(key)
            if self.record_in is not None:
                _append(self.record_in, f"{name} {exported}\n")
            self._files[0].add(name, _Line("", exported))
            self._found.pop(name, None)
        return name

    def _portless(self, host: str, own: Known) -> Known:
        shared = self._collect(host)
        return Known(shared.keys, shared.authorities, own.revoked + shared.revoked, is_portless=True)

    def _collect(self, name: str) -> Known:
        lines = [line for file in self._files for line in file.lines(name)]
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
