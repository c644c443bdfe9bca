"""Small files with the headers of an executable, as releases hold them."""

from __future__ import annotations

import struct

MACHINES = {"amd64": 62, "arm64": 183}


def elf(
    architecture: str = "amd64",
    content: bytes = b"",
    *,
    bits: int = 2,
    kind: int = 2,
    offset: int = 64,
    start_offset: int = 0,
    cut: int = 0,
    flags: int = 5,
) -> bytes:
    """An executable by its headers, with one segment that is the whole file; every argument but the first two spoils it."""
    size = 120 + len(content)
    machine = MACHINES.get(architecture, 8)
    start = 0x400000
    ident = struct.pack("<4sBBB9x", b"\x7fELF", bits, 1, 1)
    header = struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, start + 120 + start_offset, offset, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, flags, 0, start, start, size, size, 4096)
    return (ident + header + segment + content)[: size - cut]
