"""The forms of an executable: gzip, out of its release's archive, and what hosts that can unpack it are sent instead.

Each is made once from the gzip file and unpacked with a window of at most 8 MiB, so that a small host can do it. It knows zstd
(RFC 8878), xz and gzip; it must not know where the files lie.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

import zstandard

from ionetctl.artifacts.archive import BLOCK_BYTES, Packed, digest_of, malformed
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ZSTD_LEVEL: Final = 9
"""Nomad 2.0.5 (151 MB) in 3 s of CPU and 35 MB of memory to 36 % of its size; level 19 takes 70 s and 250 MB, for 33 %."""
_WINDOW_LOG: Final = 23
_XZ_PRESET: Final = 1
"""Its dictionary has 1 MiB: 13 s to 34 %; preset 6 takes 60 s, for 32 %."""


def compress(packed: Path, target: Path, form: Form, on_bytes: Callable[[int], None]) -> Packed:
    """Write the content of a gzip file to ``target`` in another form; returns digests and sizes.

    ``on_bytes`` is called with the number of bytes read so far, about once a mebibyte; what it raises ends the work. Raises
    ``TrustError`` (``artifact_malformed``) for a damaged file, ``OSError`` where ``target`` cannot be written.
    """
    with target.open("xb") as file, _compressor(file, form) as out:
        hashed, size = hashlib.sha256(), 0
        for block in _content(packed, Form.GZIP):
            out.write(block)
            hashed.update(block)
            size += len(block)
            on_bytes(size)
    packed_digest, packed_bytes = digest_of(target)
    return Packed(Digest(hashed.hexdigest()), size, packed_digest, packed_bytes)


def digest_inside(packed: Path, form: Form) -> tuple[Digest, int]:
    """SHA-256 and size in bytes of a compressed file's content; raises ``TrustError`` (``artifact_malformed``)."""
    hashed, size = hashlib.sha256(), 0
    for block in _content(packed, form):
        hashed.update(block)
        size += len(block)
    return Digest(hashed.hexdigest()), size


def _content(packed: Path, form: Form) -> Iterator[bytes]:
    with packed.open("rb") as file:
        try:
            with _decompressor(file, form) as content:
                while block := content.read(BLOCK_BYTES):
                    yield block
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise malformed(str(packed), str(error)) from error


def _decompressor(file: IO[bytes], form: Form) -> IO[bytes]:
    match form:
        case Form.GZIP:
            return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # it reads as any file does
        case Form.XZ:
            return lzma.LZMAFile(file)
        case Form.ZSTD:
            return zstandard.ZstdDecompressor().stream_reader(file)


@contextmanager
def _compressor(file: IO[bytes], form: Form) -> Iterator[IO[bytes]]:
    if form is Form.XZ:
        with lzma.LZMAFile(file, "wb", check=lzma.CHECK_CRC32, preset=_XZ_PRESET) as out:
            yield out
        return
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _ZSTD_LEVEL,
        window_log=_WINDOW_LOG,
        write_checksum=True,
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(file, closefd=False) as out:
        yield out
