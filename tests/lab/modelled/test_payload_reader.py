"""How a modelled host reads an apply's archive: members by name, programs unpacked once, wrong bytes refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.modelled.payload_reader import (
    Member,
    PayloadCorruptError,
    ProgramCache,
    read_archive,
    version_of,
)
from ionetctl.plan.ustar import archive

if TYPE_CHECKING:
    from ionetctl.lab.modelled.payload_reader import Read

PROGRAM = b"#!/bin/sh\necho 'Nomad v2.0.5'\nexit\n" + os.urandom(200_000)
PACKED = gzip.compress(PROGRAM)


def packed(**members: bytes) -> bytes:
    """An archive as the product sends it."""
    return b"".join(archive((name, memoryview(content)) for name, content in members.items()))


def reading(content: bytes) -> Read:
    stream = io.BytesIO(content)

    async def read(size: int) -> bytes:
        return stream.read(size)

    return read


@pytest.fixture
def programs() -> ProgramCache:
    return ProgramCache({"PATH": os.environ["PATH"]})


async def read(content: bytes, programs: ProgramCache) -> dict[str, Member]:
    return await read_archive(reading(content), len(content), programs)


async def test_members_are_read_by_name(programs: ProgramCache) -> None:
    """Each with its digest; an empty one too."""
    found = await read(packed(steps=b"a\tb\n", empty=b""), programs)
    assert {name: member.content for name, member in found.items()} == {"steps": b"a\tb\n", "empty": b""}
    assert found["steps"].digest == hashlib.sha256(b"a\tb\n").hexdigest()


async def test_a_program_is_kept_for_the_first_host_alone(programs: ProgramCache) -> None:
    """The second time it is compared by its digest, and is the same program."""
    first = (await read(packed(f=PACKED), programs))["f"]
    program = await programs.unpacked(first, "gzip")
    second = (await read(packed(f=PACKED), programs))["f"]
    assert (first.content, second.content) == (PACKED, None)
    assert await programs.unpacked(second, "gzip") == program
    assert (program.digest, version_of(program)) == (hashlib.sha256(PROGRAM).hexdigest(), "2.0.5")


async def test_a_known_beginning_does_not_hide_another_end(programs: ProgramCache) -> None:
    """Of a program whose size and first bytes are those of a known one, another byte is refused."""
    await programs.unpacked((await read(packed(f=PACKED), programs))["f"], "gzip")
    other = PACKED[:-1] + bytes([PACKED[-1] ^ 1])
    with pytest.raises(PayloadCorruptError):
        await programs.unpacked((await read(packed(f=other), programs))["f"], "gzip")


async def test_what_is_no_gzip_is_refused(programs: ProgramCache) -> None:
    """As ``gzip -dc`` does."""
    with pytest.raises(PayloadCorruptError):
        await programs.unpacked((await read(packed(f=PROGRAM), programs))["f"], "gzip")


async def test_a_torn_archive_is_refused(programs: ProgramCache) -> None:
    """As when the connection drops."""
    whole = packed(steps=b"a\tb\n" * 1000)
    with pytest.raises(PayloadCorruptError):
        await read_archive(reading(whole[:2000]), len(whole), programs)
