"""What an apply installed on a modelled host: files by path, as bytes that were really received, and what a survey says of them.

Contents that many hosts share are kept once. Pure, but for ``write_tree``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.host_paths import (
    CLIENT_CONFIG,
    CLIENT_ID,
    CONFIG_DIR,
    INTRODUCTION_TOKEN,
    MANIFEST,
    NODE_CERT,
    NODE_KEY,
    NOMAD_LINK,
)
from ionetctl.lab.certificates import public_text
from ionetctl.lab.modelled.payload_reader import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ionetctl.lab.modelled.payload_reader import Program

_CONFIGURATION: Final = re.compile(
    rf"{CONFIG_DIR}/[^/.][^/]*\.(hcl|json)|/(etc|run|usr/lib)/systemd/system/nomad\.service\.d/[^/.][^/]*\.conf"
)
_STAMP: Final = re.compile(rb'^\s*"?unique\.ionet_bundle"?\s*=\s*"([^"]*)"', re.MULTILINE)
_DRIVERS: Final = re.compile(rb'^\s*"driver\.allowlist"\s*=\s*"([^"]*)"', re.MULTILINE)
_REGION: Final = re.compile(rb'^[ \t]*"?region"?[ \t]*=[ \t]*"([^"]*)"', re.MULTILINE)
_MANIFEST_LINE: Final = re.compile(r"([0-9a-f]{64})  (.*)")
_BASE64_COLUMNS: Final = 76
_shared: dict[bytes, bytes] = {}
_SHARED_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class HostFile:
    """One file: text has ``content``, a program is ``program``. ``digest`` is that of what the file holds now."""

    digest: str
    mode: str
    owner: str
    content: bytes = field(default=b"", repr=False)
    program: Program | None = None


def text_file(content: bytes, mode: str = "0600", owner: str = "root:root") -> HostFile:
    """A file with this content, which equal files of other hosts share."""
    if len(_shared) < _SHARED_MOST:
        content = _shared.setdefault(content, content)
    else:
        content = _shared.get(content, content)
    return HostFile(hashlib.sha256(content).hexdigest(), mode, owner, content)


@dataclass(slots=True)
class HostFiles:
    """The files and links of one host below ``/``, by path."""

    files: dict[str, HostFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def copy(self) -> HostFiles:
        """These files as they are now."""
        return HostFiles(dict(self.files), dict(self.links))

    def resolved(self, path: str) -> HostFile | None:
        """The file at a path, or at the end of a link there."""
        return self.files.get(self.links.get(path, path))

    def content(self, path: str) -> bytes | None:
        """What a text file holds; ``None`` where there is none."""
        file = self.files.get(path)
        return None if file is None else file.content

    def write_tree(self, tree: Path) -> None:
        """Write them below ``tree``, each program as an empty one."""
        for path, file in self.files.items():
            target = tree / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            if file.program is not None:
                target.chmod(0o755)
        for path, aim in self.links.items():
            link = tree / path[1:]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(aim)


def survey_records(
    host: HostFiles, asked: Sequence[str], service: Mapping[str, str], is_pending: str | None
) -> bytes:
    """The records of a survey that an apply changes; ``service`` has those of the unit, ``is_pending`` the lock's holder."""
    rows = [*_own_rows(host, is_pending), *_file_rows(host, asked), *_nomad_rows(host, service)]
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _own_rows(host: HostFiles, holder: str | None) -> Iterator[tuple[str, ...]]:
    if holder is not None:
        yield "lock", *holder.split("\t")[:3]
    manifest = host.content(MANIFEST)
    if manifest is not None:
        yield "ours", "1"
        for line in manifest.decode().splitlines():
            if match := _MANIFEST_LINE.fullmatch(line):
                yield "manifest", match[1], match[2]
    certificate = host.content(NODE_CERT)
    if certificate is not None:
        text = base64.b64encode(certificate).decode()
        for start in range(0, len(text), _BASE64_COLUMNS):
            yield "cert", text[start : start + _BASE64_COLUMNS]
    key = host.content(NODE_KEY)
    if key is not None and f"  {NODE_KEY}\n".encode() not in (manifest or b""):
        yield "key", public_text(key)


def _file_rows(host: HostFiles, asked: Sequence[str]) -> Iterator[tuple[str, ...]]:
    configuration = sorted(path for path in host.files if _CONFIGURATION.fullmatch(path))
    yield from (("nomad.config", path) for path in configuration)
    for path in dict.fromkeys((*asked, *configuration)):
        if path in host.links:
            yield "link", host.links[path], path
        elif file := host.files.get(path):
            yield "file", file.digest, file.mode, file.owner, path


def _nomad_rows(host: HostFiles, service: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    yield from service.items()
    program = host.resolved(NOMAD_LINK)
    if program is not None and program.program is not None and version_of(program.program):
        yield "nomad.version", program.program.version_output.splitlines()[0]
    if node_id := host.content(CLIENT_ID):
        yield "nomad.client-id", node_id.decode().strip()
    nomad = host.content(CLIENT_CONFIG) or b""
    yield from (("nomad.stamp", stamp.decode()) for stamp in _STAMP.findall(nomad)[:1])
    yield from (("nomad.drivers", names.decode().replace(",", " ")) for names in _DRIVERS.findall(nomad)[-1:])
    yield from (("nomad.region", region.decode()) for region in _REGION.findall(nomad)[-1:])
    if INTRODUCTION_TOKEN in host.files:
        yield "nomad.token", "1"
    yield "nomad.allocations", "0"
