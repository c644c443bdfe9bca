"""The identity of a process, by which leases of ended processes are distinguished from those of running ones.

A process id alone is not enough: ids are reused, and have no meaning after a reboot or in another container. It reads
``/proc`` (proc(5)) where it exists; elsewhere only the id counts.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, distinguished from every other, ended ones included.

    ``machine`` names the host and the namespace in which ``pid`` counts; ``boot_id`` and ``started`` (clock ticks
    since boot) are empty where the system has no ``/proc``.
    """

    machine: str
    boot_id: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> ProcessIdentity:
        """This process."""
        pid = os.getpid()
        return cls(_machine(), _boot_id(), pid, _started(pid))

    def is_alive(self) -> bool | None:
        """Whether it still runs; ``None`` for a process of another machine or PID namespace."""
        if self.machine != _machine():
            return None
        if self.boot_id != _boot_id() or not _exists(self.pid):
            return False
        return _started(self.pid) == self.started


def _machine() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}/{namespace}"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """Field 22 of ``/proc/PID/stat``; the program's name before it may contain any characters, brackets and blanks too."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]
