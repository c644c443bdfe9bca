"""Keeps the secrets that a process has in its memory out of core dumps."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

_FILTER: Final = Path("/proc/self/coredump_filter")


def turn_off_core_dumps() -> None:
    """Have this process, and those that it starts, leave no core dump with anything of their memory in it.

    The limit is for dumps in files. Linux does not apply it to a program that ``core_pattern`` pipes dumps to, as distributions
    have one (core(5)): for that the filter takes all memory out. ``prctl(PR_SET_DUMPABLE, 0)`` would do both, but it also takes
    ``/proc/PID`` and tracers away from the person whose process it is: nobody could see what a rollout that hangs is at.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # another system than Linux, or a kernel without core dumps
        _FILTER.write_text("0")
