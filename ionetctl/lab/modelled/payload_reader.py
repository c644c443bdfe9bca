"""Reads the archive of an apply as it arrives, and unpacks each program once for all hosts.

The programs are the same for thousands of hosts: one that is known by its digest is compared and not kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tarfile
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

Read = Callable[[int], Awaitable[bytes]]
"""The next bytes, at most that many; empty at the end of the input."""

_BLOCK_BYTES: Final = tarfile.BLOCKSIZE
_PIECE_BYTES: Final = 1 << 16
_VERSION_TIMEOUT_S: Final = 30.0


class PayloadCorruptError(Exception):
    """What arrived is not what was sent; the text is what the host reports."""


@dataclass(frozen=True, slots=True)
class Program:
    """An unpacked program: its digest, its first bytes, and what ``version`` makes it print."""

    digest: str
    head: bytes
    version_output: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive. ``content`` is ``None`` for a program that was known by its ``digest`` already."""

    digest: str
    content: bytes | None = field(repr=False)


@dataclass(slots=True)
class ProgramCache:
    """The programs that hosts were sent, by the digest of the packed file. ``environment`` is that of a host's commands."""

    environment: Mapping[str, str] = field(repr=False)
    _unpacking: dict[str, asyncio.Task[Program]] = field(default_factory=dict)
    _heads: dict[tuple[bytes, int], str] = field(default_factory=dict)

    def is_known(self, head: bytes, size: int) -> bool:
        """Whether a packed program of this size that begins so was unpacked before."""
        return (hashlib.sha256(head).digest(), size) in self._heads

    async def unpacked(self, member: Member, form: str) -> Program:
        """The program in a member that was packed by ``form``; raises ``PayloadCorruptError``."""
        task = self._unpacking.get(member.digest)
        if task is None:
            if member.content is None:
                raise PayloadCorruptError(f"{form}: stdin: invalid compressed data--crc error")
            head = hashlib.sha256(member.content[:_PIECE_BYTES]).digest()
            self._heads[head, len(member.content)] = member.digest
            task = asyncio.create_task(self._unpack(member.content, form))
            self._unpacking[member.digest] = task
        return await asyncio.shield(task)

    async def _unpack(self, packed: bytes, form: str) -> Program:
        process = await asyncio.create_subprocess_exec(
            form, "-dcq", stdin=-1, stdout=-1, stderr=-1, env=dict(self.environment)
        )
        content, said = await process.communicate(packed)
        if process.returncode != 0:
            raise PayloadCorruptError(said.decode(errors="replace").strip())
        return Program(hashlib.sha256(content).hexdigest(), content[:20], await self._version_output(content))

    async def _version_output(self, content: bytes) -> str:
        """What the program prints, run once for all hosts; empty where it cannot be run or knows no such command."""
        with tempfile.TemporaryDirectory() as directory:
            program = await asyncio.to_thread(_written, Path(directory), content)
            try:
                process = await asyncio.create_subprocess_exec(
                    program, "version", stdout=-1, stderr=-3, env=dict(self.environment)
                )
                output, _ = await asyncio.wait_for(process.communicate(), _VERSION_TIMEOUT_S)
            except (OSError, TimeoutError):
                return ""
        return output.decode(errors="replace") if process.returncode == 0 else ""


def _written(directory: Path, content: bytes) -> Path:
    """A new executable file with this content."""
    path = directory / "program"
    path.write_bytes(content)
    path.chmod(0o700)
    return path


def version_of(program: Program) -> str:
    """The version that a Nomad program prints; empty for any other."""
    match = re.match(r"Nomad v(\S+)", program.version_output)
    return match[1] if match else ""


async def read_archive(read: Read, size: int, programs: ProgramCache) -> dict[str, Member]:
    """The members by name; raises ``PayloadCorruptError`` where the input ends early or is no archive."""
    archive = _Archive(read, size)
    members: dict[str, Member] = {}
    while any(header := await archive.take(_BLOCK_BYTES)):
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except tarfile.HeaderError as error:
            raise PayloadCorruptError(f"tar: {error}") from None
        members[info.name] = await _read_member(archive, info.size, programs)
        await archive.take(-info.size % _BLOCK_BYTES)
    await archive.skip_rest()
    return members


async def _read_member(archive: _Archive, size: int, programs: ProgramCache) -> Member:
    head = await archive.take(min(size, _PIECE_BYTES))
    digest = hashlib.sha256(head)
    is_kept = not (size > _PIECE_BYTES and programs.is_known(head, size))
    kept = [head]
    left = size - len(head)
    while left > 0:
        piece = await archive.take(min(left, _PIECE_BYTES))
        digest.update(piece)
        left -= len(piece)
        if is_kept:
            kept.append(piece)
    return Member(digest.hexdigest(), b"".join(kept) if is_kept else None)


@dataclass(slots=True)
class _Archive:
    """``left`` bytes of input, taken in pieces of a wanted size."""

    read: Read
    left: int
    _pending: bytearray = field(default_factory=bytearray)

    async def take(self, size: int) -> bytes:
        """Exactly that many bytes; raises ``PayloadCorruptError`` where there are fewer."""
        while len(self._pending) < size:
            self._pending += await self._next()
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken

    async def skip_rest(self) -> None:
        """Read what is left to its end."""
        while self.left > 0:
            await self._next()

    async def _next(self) -> bytes:
        block = await self.read(min(self.left, _PIECE_BYTES)) if self.left > 0 else b""
        if not block:
            raise PayloadCorruptError("tar: Unexpected EOF in archive")
        self.left -= len(block)
        return block
