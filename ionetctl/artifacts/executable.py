"""Whether bytes begin an executable for Linux on an architecture, by the headers of ELF (System V ABI, chapter 4). Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ionetctl.core.model.names import Architecture

HEAD_BYTES: Final = 4096
"""How much of a file ``refusal`` looks at; linkers put all headers of a segment there."""

_HEADER: Final = struct.Struct("<4sBBB9xHHIQQQIHHH6x")
_SEGMENT: Final = struct.Struct("<IIQQQQQ8x")
_EXECUTABLE_TYPES: Final = frozenset({2, 3})
"""ET_EXEC, and ET_DYN for position-independent ones."""
_LOAD, _EXECUTE = 1, 1
_ARCHITECTURES: Final = {62: "amd64", 183: "arm64"}
"""EM_X86_64 and EM_AARCH64."""


def refusal(head: bytes, size_bytes: int, architecture: Architecture, *, takes_scripts: bool) -> str | None:
    """Why a file of ``size_bytes`` that begins with ``head`` cannot be run there, or ``None`` where nothing speaks against it.

    ``head`` has the file's first ``HEAD_BYTES``, or all of it. Scripts (``#!``) run on every architecture.
    """
    if takes_scripts and head.startswith(b"#!"):
        return None
    if not head.startswith(b"\x7fELF") or len(head) < _HEADER.size:
        return f"is no ELF executable: it begins with {head[:4].hex(' ')}"
    header = _Header(*_HEADER.unpack_from(head))
    return header.refusal(architecture) or _segments_refusal(header, head, size_bytes)


class _Header(NamedTuple):
    """The file's header, as ``Elf64_Ehdr`` has it."""

    magic: bytes
    bits: int
    byte_order: int
    ident_version: int
    kind: int
    machine: int
    version: int
    entry: int
    segments_at: int
    sections_at: int
    flags: int
    header_bytes: int
    segment_bytes: int
    segments: int

    def refusal(self, architecture: Architecture) -> str | None:
        """Why it is no header of an executable for the architecture."""
        if (self.bits, self.byte_order, self.ident_version, self.header_bytes) != (2, 1, 1, _HEADER.size):
            return "is no ELF executable of 64 bits, little-endian"
        if self.kind not in _EXECUTABLE_TYPES:
            return "is an ELF file, but no executable"
        found = _ARCHITECTURES.get(self.machine, f"machine {self.machine}")
        return None if found == architecture else f"is an executable for {found}, not for {architecture}"


def _segments_refusal(header: _Header, head: bytes, size_bytes: int) -> str | None:
    """Why the segments that a header names cannot be loaded and started (``Elf64_Phdr``)."""
    end = header.segments_at + header.segments * _SEGMENT.size
    if header.segment_bytes != _SEGMENT.size or end > len(head):
        return "has an ELF header that points nowhere"
    has_code = False
    for kind, flags, at, address, _, in_file, _ in _SEGMENT.iter_unpack(head[header.segments_at : end]):
        if kind == _LOAD and at + in_file > size_bytes:
            return "is cut off: its segments are longer than the file"
        is_started = address <= header.entry < address + in_file
        has_code |= kind == _LOAD and bool(flags & _EXECUTE) and is_started
    return None if has_code else "has no code where it is to be started"
