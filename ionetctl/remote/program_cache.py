"""Keeps a packed program in the user's cache, since packing it takes longer than anything else of a start.

A file is believed where it is the user's own, nobody else may write it, and it has its own digest: the program runs as root
on every host. It is named by the digest of all that the program is made of.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_BYTES: Final = 1 << 20
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def kept(directory: Path, sources: tuple[str, ...], make: Callable[[], bytes]) -> bytes:
    """What ``make`` makes of ``sources``, from the directory where it was made before; made anew where nothing there can be used."""
    parts = (hashlib.sha256(source.encode()).digest() for source in sources)
    path = directory / f"program-{hashlib.sha256(b''.join(parts)).hexdigest()}"
    program = _read(path)
    if program is None:
        program = make()
        with suppress(OSError):  # then it is made again the next time
            _write(path, program)
    return program


def _read(path: Path) -> bytes | None:
    try:
        opened = open_regular(path, follows_links=False)
    except OSError:
        return None
    with opened as file:
        status = os.fstat(file.fileno())
        is_own = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        content = file.read(LIMIT_BYTES) if is_own else b""
    digest, program = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return program if hashlib.sha256(program).digest() == digest else None


def _write(path: Path, program: bytes) -> None:
    """In one step, so that another process finds all of it or nothing."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123  (a descriptor)
            file.write(hashlib.sha256(program).digest() + program)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
