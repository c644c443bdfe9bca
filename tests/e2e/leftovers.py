"""Taking down what the tests made on this machine, by its name: also what a killed run before this one left behind.

Every namespace, mount and control group bears a tag, ``ioe2e-<process id of the tests>-<number>``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Final

from tests.e2e import cgroups
from tests.e2e.namespaces import attempt

PREFIX: Final = "ioe2e"

_NAMESPACES: Final = Path("/run/netns")
_NSPAWN: Final = Path("/run/systemd/nspawn")
_numbers: Final = itertools.count(1)


def new_tag() -> str:
    """A name for something that this process makes."""
    return f"{PREFIX}-{os.getpid()}-{next(_numbers)}"


def take_down(tag: str) -> None:
    """Unmount and delete all that bears ``tag`` and runs no process any more."""
    for place in _mounts(tag):
        attempt(["umount", "-l", place])
    if (_NAMESPACES / tag).exists():
        attempt(["ip", "netns", "del", tag])
    cgroups.delete(tag)
    for folder in ("propagate", "unix-export"):
        with contextlib.suppress(OSError):
            (_NSPAWN / folder / tag).rmdir()


def sweep() -> None:
    """Take down what runs left behind whose process is gone."""
    namespaces = [entry.name for entry in _NAMESPACES.iterdir()] if _NAMESPACES.is_dir() else []
    groups = [group.name for root in cgroups.hierarchies() for group in root.glob(f"{PREFIX}-*")]
    for tag in {*namespaces, *groups, *(source for source, _ in _all_mounts())}:
        if tag.startswith(f"{PREFIX}-") and not Path(f"/proc/{tag.split('-')[1]}").exists():
            # A guest goes on where its run was killed.
            cgroups.end(tag)
            take_down(tag)


def _mounts(tag: str) -> list[str]:
    """Where something of ``tag`` is mounted, the last mounted first."""
    return [place for source, place in reversed(_all_mounts()) if source == tag]


def _all_mounts() -> list[tuple[str, str]]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [(fields[0], fields[1]) for fields in map(str.split, lines)]
