"""How many hosts this process may be connected to at the same time, by its limit of open files."""

from __future__ import annotations

import resource
from typing import Final

PER_HOST: Final = 4
"""A connection is one; one by a ProxyCommand is three pipes and a process."""
RESERVED: Final = 128
"""For regions, records, releases and the jump hosts."""


def raise_limit() -> int:
    """The number of files that may be open, raised as far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # Some systems have a lower limit that they do not name (macOS: kern.maxfilesperproc).
        return soft
    return hard


def most_hosts(files: int) -> int:
    """How many hosts that many open files allow, one at least; -1 is no limit (``RLIM_INFINITY``)."""
    if files == resource.RLIM_INFINITY:
        files = 1 << 30
    return max(1, (files - RESERVED) // PER_HOST)
