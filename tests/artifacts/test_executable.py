"""What the first bytes of a file say about where it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.artifacts.executable import HEAD_BYTES, refusal
from tests.support.elf import elf

if TYPE_CHECKING:
    from ionetctl.core.model.names import Architecture


def reason(content: bytes, architecture: str = "amd64", *, takes_scripts: bool = False) -> str | None:
    known: Architecture = "amd64" if architecture == "amd64" else "arm64"
    return refusal(content[:HEAD_BYTES], len(content), known, takes_scripts=takes_scripts)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("kind", [2, 3])
def test_executable_of_the_architecture(architecture: str, kind: int) -> None:
    """Fixed or position-independent, nothing speaks against it."""
    assert reason(elf(architecture, b"code", kind=kind), architecture) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs a program of Linux")
def test_real_program() -> None:
    """The interpreter that runs this test is one, for exactly one of the two architectures."""
    content = Path(sys.executable).resolve().read_bytes()
    assert sorted(str(reason(content, known) is None) for known in ("amd64", "arm64")) == ["False", "True"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no ELF executable: it begins with "),
        (b"\x00\x00", "is no ELF executable: it begins with 00 00"),
        (b"#!/bin/sh", "is no ELF executable: it begins with 23 21 2f 62"),
        (elf()[:63], "is no ELF executable: it begins with 7f 45 4c 46"),
        (elf(bits=1), "is no ELF executable of 64 bits, little-endian"),
        (elf(kind=1), "is an ELF file, but no executable"),
        (elf("arm64"), "is an executable for arm64, not for amd64"),
        (elf("mips"), "is an executable for machine 8, not for amd64"),
        (elf(offset=1 << 40), "has an ELF header that points nowhere"),
        (elf(content=b"code", cut=1), "is cut off: its segments are longer than the file"),
        (elf(start_offset=1 << 20), "has no code where it is to be started"),
        (elf(flags=4), "has no code where it is to be started"),
    ],
)
def test_refused(content: bytes, expected: str) -> None:
    """Each with its own reason."""
    assert reason(content) == expected


def test_script() -> None:
    """It runs on every architecture, where scripts are taken at all."""
    assert reason(b"#!/bin/sh", takes_scripts=True) is None


@given(st.binary(max_size=300), st.integers(0, 1 << 64))
def test_any_bytes(content: bytes, size_bytes: int) -> None:
    """Whatever a file begins with, there is an answer."""
    found = refusal(b"\x7fELF\x02\x01\x01" + content, size_bytes, "amd64", takes_scripts=False)
    assert found is None or isinstance(found, str)
