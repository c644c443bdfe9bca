"""Archives in the ustar format (POSIX pax, "ustar Interchange Format"), made block by block.

The size is known before any content is read, since the host gets it first. The members' content is handed in as memory.
"""

from __future__ import annotations

import mmap
import os
import tarfile
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK_BYTES: Final = 64 * 1024
RECORD_BYTES: Final = 10_240
"""Tar reads records of twenty blocks; with a whole number of them it reads the pipe to its end."""
_BLOCK: Final = tarfile.BLOCKSIZE


def archive_bytes(sizes: Iterable[int]) -> int:
    """The size in bytes of an archive whose members have these sizes."""
    return padded(sum(_BLOCK + padded(size, _BLOCK) for size in sizes) + 2 * _BLOCK, RECORD_BYTES)


def archive(members: Iterable[tuple[str, memoryview]]) -> Iterator[bytes | memoryview]:
    """The archive of some members, in blocks of at most 64 KiB: whole ones of their content, and what is between, joined.

    Each block is a packet of its own for SSH, so that many small ones would be dear.
    """
    joined = bytearray()
    sent = 0
    for name, content in members:
        for part in _member(name, content):
            sent += len(part)
            if len(joined) + len(part) > BLOCK_BYTES:
                yield bytes(joined)
                joined.clear()
            if len(part) == BLOCK_BYTES:
                yield part
            else:
                joined += part
    joined += bytes(padded(sent + 2 * _BLOCK, RECORD_BYTES) - sent)
    for start in range(0, len(joined), BLOCK_BYTES):
        yield bytes(joined[start : start + BLOCK_BYTES])


def padded(size_bytes: int, unit: int) -> int:
    """The size rounded up to a multiple of ``unit``."""
    return -(-size_bytes // unit) * unit


def _member(name: str, content: memoryview) -> Iterator[bytes | memoryview]:
    yield _header(name, len(content))
    for start in range(0, len(content), BLOCK_BYTES):
        yield content[start : start + BLOCK_BYTES]
    if padding := padded(len(content), _BLOCK) - len(content):
        yield bytes(padding)


@lru_cache(maxsize=1024)
def _header(name: str, size_bytes: int) -> bytes:
    """Most members have the same name and size on every host."""
    header = tarfile.TarInfo(name)
    header.size = size_bytes
    header.mode = 0o600
    return header.tobuf(tarfile.USTAR_FORMAT)


@lru_cache(maxsize=16)
def mapped(path: str) -> memoryview:
    """A file as a read-only memory map that all callers share; only for files that are never changed in place.

    Raises ``OSError``, and ``ValueError`` for an empty file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
