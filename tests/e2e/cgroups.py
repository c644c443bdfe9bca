"""A control group per host in every hierarchy: its systemd believes that it owns the machine, and so does Nomad.

Without one, all hosts would share the groups of whoever started them, and one host's systemd would count another's
processes. Tried with cgroup v1 controllers beside v2; a machine with v2 alone must offer the controllers that Nomad
asks for to children of its root group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

_CPUSET_FILES: Final = ("cpuset.cpus", "cpuset.mems")
_END_ATTEMPTS: Final = 50


def hierarchies() -> list[Path]:
    """Where the kernel's control groups are mounted."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] in {"cgroup", "cgroup2"}]


def make(name: str) -> list[Path]:
    """Make the group ``name`` everywhere; what is returned takes process ids in ``cgroup.procs``."""
    groups = [root / name for root in hierarchies()]
    for group in groups:
        group.mkdir(exist_ok=True)
        _inherit_cpus(group)
    return groups


def _inherit_cpus(group: Path) -> None:
    """A new v1 cpuset is empty, and takes no process before it has processors and memory."""
    for file in _CPUSET_FILES:
        if (group / file).exists() and not (group / file).read_text().strip():
            (group / file).write_text((group.parent / file).read_text())


def joining(groups: list[Path]) -> list[str]:
    """What to put before a command that is to run in ``groups``; its process id stays the same."""
    script = 'until [ "$1" = -- ]; do echo $$ > "$1"; shift; done; shift; exec "$@"'
    return ["sh", "-euc", script, "sh", *(str(group / "cgroup.procs") for group in groups), "--"]


def delete(name: str) -> None:
    """Delete the group and those below it; what still has a process stays."""
    for root in hierarchies():
        for group, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(group).rmdir()


def end(name: str) -> None:
    """Kill what runs in the group and those below it; returns when nothing does, or after some seconds."""
    for _ in range(_END_ATTEMPTS):
        running = _running(name)
        for process_id in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        if not running:
            return
        time.sleep(0.1)


def _running(name: str) -> set[int]:
    found: set[int] = set()
    for root in hierarchies():
        for group, _, _ in os.walk(root / name):
            with contextlib.suppress(OSError):
                found.update(map(int, (Path(group) / "cgroup.procs").read_text().split()))
    return found
