"""A packed program is made once, and what somebody else has written is never taken for it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from ionetctl.remote import probe_program
from ionetctl.remote.program_cache import kept

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCES = ("a library", "a program")
FORGED = b"rm -rf /"


class Making:
    """Makes a program, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return b"program"


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_program_is_made_once(tmp_path: Path) -> None:
    """The file is the user's alone, and there is nothing beside it."""
    making = Making()
    programs = [kept(tmp_path, SOURCES, making) for _ in range(2)]
    assert (programs, making.count) == ([b"program"] * 2, 1)
    assert only_file(tmp_path).stat().st_mode & 0o777 == 0o600


def test_other_sources_are_another_program(tmp_path: Path) -> None:
    """A new release or another library; the parts do not run into one another."""
    making = Making()
    for sources in (SOURCES, ("a library", "a programme"), ("a librarya", " program")):
        kept(tmp_path, sources, making)
    assert making.count == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def forge_writable(path: Path) -> None:
    path.write_bytes(hashlib.sha256(FORGED).digest() + FORGED)
    path.chmod(0o620)


def forge_link(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    other.write_bytes(hashlib.sha256(FORGED).digest() + FORGED)
    path.unlink()
    path.symlink_to(other)


@pytest.mark.parametrize("spoil", [cut, change, empty, forge_writable, forge_link])
def test_file_that_cannot_be_trusted_is_made_anew(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A torn one, a changed one, one that others may write, one that lies elsewhere; the next run finds a good one."""
    directory = tmp_path / "cache"
    directory.mkdir()
    making = Making()
    kept(directory, SOURCES, making)
    spoil(only_file(directory))
    assert [kept(directory, SOURCES, making) for _ in range(2)] == [b"program"] * 2
    assert making.count == 2


def test_forged_file_would_be_believed_if_it_were_the_users_own(tmp_path: Path) -> None:
    """The control: what the others lack is the owner's mode."""
    kept(tmp_path, SOURCES, Making())
    forge_writable(only_file(tmp_path))
    only_file(tmp_path).chmod(0o600)
    assert kept(tmp_path, SOURCES, Making()) == FORGED


def test_without_a_directory_it_is_made_each_time(tmp_path: Path) -> None:
    """A cache that cannot be written stops nobody."""
    making = Making()
    assert [kept(tmp_path / "missing", SOURCES, making) for _ in range(2)] == [b"program"] * 2
    assert making.count == 2


def test_probe_is_the_same_from_the_cache(tmp_path: Path) -> None:
    """Made, found again, and made without a cache."""
    first = probe_program(tmp_path)
    probe_program.cache_clear()
    again = probe_program(tmp_path)
    assert first == again == probe_program()
    assert len(list(tmp_path.iterdir())) == 1
