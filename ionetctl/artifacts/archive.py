"""From a release's zip to the gzip file that hosts are sent: the same compressed bytes in another container.

Both formats hold raw deflate data (RFC 1951), so nothing is compressed twice; it is inflated once here, to verify it and
to compute the executable's digest. It knows zip (APPNOTE 6.3) and gzip (RFC 1952); it must not know where archives come from.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from ionetctl.artifacts.executable import HEAD_BYTES
from ionetctl.core.errors import TrustError
from ionetctl.core.model.names import Digest
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Refusal = Callable[[bytes, int], str | None]

EXECUTABLE_LIMIT_BYTES: Final = 1 << 29
BLOCK_BYTES: Final = 1 << 20

_ACCOMPANYING: Final = frozenset({"LICENSE", "LICENSE.txt", "README.md"})
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
_GZIP_TRAILER: Final = struct.Struct("<II")
_ENCRYPTED: Final = 0x1
_END: Final = struct.Struct("<4s4xHHIIH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_LOCATOR_BYTES: Final = 20
_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"
_MOST_MEMBERS: Final = 8
_DIRECTORY_LIMIT_BYTES: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed executable: digests and sizes of the executable and of the compressed file."""

    digest: Digest
    size_bytes: int
    packed_digest: Digest
    packed_bytes: int


class _RefusedError(Exception):
    """Why an executable is not taken."""


def _accept(_head: bytes, _size_bytes: int) -> None:
    """For content of every kind."""


def repack(
    archive: Path,
    member: str,
    packed: Path,
    limit_bytes: int = EXECUTABLE_LIMIT_BYTES,
    refusal: Refusal = _accept,
) -> Packed:
    """Write ``member`` of the zip ``archive`` to ``packed`` in gzip form; returns digests and sizes.

    ``refusal`` is called with the first ``HEAD_BYTES`` of the executable and its size, before the rest is inflated, and says
    why it is not taken. Raises ``TrustError``: ``artifact_not_executable`` with that reason, ``artifact_malformed`` for an
    archive that is broken, that holds anything but the executable, a licence and a readme, or whose executable inflates
    beyond its declared size or ``limit_bytes``.
    """
    try:
        _check_directory_size(archive)
        with zipfile.ZipFile(archive) as directory:
            info = _only_member(archive, directory.infolist(), member, limit_bytes)
            with archive.open("rb") as source, packed.open("xb") as target:
                digest = _repack_member(source, target, directory, info, refusal)
    except _RefusedError as error:
        raise not_executable(archive.name, str(error)) from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise malformed(archive.name, str(error)) from error
    packed_digest, packed_bytes = digest_of(packed)
    return Packed(digest, info.file_size, packed_digest, packed_bytes)


def digest_of(path: Path) -> tuple[Digest, int]:
    """A file's SHA-256 and size in bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(digest), file.tell()


def malformed(name: str, reason: str) -> TrustError:
    """The error for an archive that is broken or not a release."""
    return TrustError(
        "artifact_malformed", f"{name}: {harmless(reason)}", "it is no release as the vendor makes them"
    )


def not_executable(name: str, reason: str, hint: str = "") -> TrustError:
    """The error for a program that its hosts could not run."""
    otherwise = "the archive was made or named wrongly: compare with the vendor's site"
    return TrustError("artifact_not_executable", f"{name}: the program {reason}", hint or otherwise)


def _check_directory_size(archive: Path) -> None:
    """Raise where the archive's directory is longer than a release's: the library would read all of it into memory."""
    with archive.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LOCATOR_BYTES - _END.size))
        tail = file.read()
    end = tail[-_END.size :]
    if not end.startswith(_END_SIGNATURE) or len(end) < _END.size:
        raise zipfile.BadZipFile("does not end as an archive does")
    _, _, members, directory_bytes, _, _ = _END.unpack(end)
    is_zip64 = tail[: -_END.size].startswith(_LOCATOR_SIGNATURE)
    if is_zip64 or members > _MOST_MEMBERS or directory_bytes > _DIRECTORY_LIMIT_BYTES:
        raise zipfile.BadZipFile("has more members than any release")


def _only_member(
    archive: Path, infos: list[zipfile.ZipInfo], member: str, limit_bytes: int
) -> zipfile.ZipInfo:
    names = [info.orig_filename for info in infos]
    unexpected = sorted(set(names) - _ACCOMPANYING - {member})
    if unexpected:
        raise malformed(archive.name, f"holds {unexpected[0][:80]!r}, which no release does")
    if len(set(names)) != len(names) or member not in names:
        raise malformed(archive.name, f"does not hold {member!r} exactly once")
    info = infos[names.index(member)]
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or info.flag_bits & _ENCRYPTED:
        raise malformed(archive.name, f"{member!r} is not a plain file")
    if info.header_offset < 0:
        raise malformed(archive.name, "its directory points before its beginning")
    if not 0 < info.file_size <= limit_bytes:
        raise malformed(archive.name, f"{member!r} claims {info.file_size} bytes")
    return info


def _repack_member(
    source: IO[bytes],
    target: IO[bytes],
    directory: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    refusal: Refusal,
) -> Digest:
    if info.compress_type == zipfile.ZIP_DEFLATED:
        target.write(_GZIP_HEADER)
        blocks = _inflated(_raw_data(source, info), target, info)
        digest = _digest(_checked(blocks, info, refusal), info)
        target.write(_GZIP_TRAILER.pack(info.CRC, info.file_size & 0xFFFFFFFF))
        return digest
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"compressed in a way that no release is ({info.compress_type})")
    with (
        directory.open(info) as member,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=target, mtime=0) as out,
    ):
        return _digest(_checked(_copied(member, out), info, refusal), info)


def _checked(blocks: Iterator[bytes], info: zipfile.ZipInfo, refusal: Refusal) -> Iterator[bytes]:
    """``blocks``, after the first ``HEAD_BYTES`` of them have not been refused."""
    head = b""
    while len(head) < HEAD_BYTES and (block := next(blocks, None)) is not None:
        head += block
        if len(head) > info.file_size:
            raise zipfile.BadZipFile("holds more than it declares")
    if (reason := refusal(head[:HEAD_BYTES], info.file_size)) is not None:
        raise _RefusedError(reason)
    yield head
    yield from blocks


def _digest(blocks: Iterator[bytes], info: zipfile.ZipInfo) -> Digest:
    """The digest of ``blocks``, whose size and CRC must be those in the archive's directory."""
    hashed = hashlib.sha256()
    size = crc = 0
    for block in blocks:
        size += len(block)
        if size > info.file_size:
            raise zipfile.BadZipFile("holds more than it declares")
        hashed.update(block)
        crc = zlib.crc32(block, crc)
    if (size, crc) != (info.file_size, info.CRC):
        raise zipfile.BadZipFile("holds other bytes than it declares")
    return Digest(hashed.hexdigest())


def _copied(member: IO[bytes], target: gzip.GzipFile) -> Iterator[bytes]:
    while block := member.read(BLOCK_BYTES):
        target.write(block)
        yield block


def _raw_data(source: IO[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The member's bytes as in the archive, found by its local header: its name and extra field may differ in length."""
    source.seek(info.header_offset)
    signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(source.read(_LOCAL_HEADER.size))
    if signature != _LOCAL_SIGNATURE:
        raise zipfile.BadZipFile("its directory points at no file")
    source.seek(name_bytes + extra_bytes, 1)
    remaining = info.compress_size
    while remaining:
        block = source.read(min(BLOCK_BYTES, remaining))
        if not block:
            raise zipfile.BadZipFile("ends early")
        remaining -= len(block)
        yield block


def _inflated(raw: Iterator[bytes], target: IO[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    """``raw`` inflated, in bounded blocks, while ``raw`` itself is written to ``target``."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for block in raw:
        target.write(block)
        rest = block
        while True:
            data = inflater.decompress(rest, BLOCK_BYTES)
            rest = inflater.unconsumed_tail
            yield data
            # A full block may hide output that zlib still holds back, even with all input taken.
            if not rest and len(data) < BLOCK_BYTES:
                break
    if not inflater.eof or inflater.unused_data:
        raise zipfile.BadZipFile(f"{info.filename!r} is not one deflate stream")
