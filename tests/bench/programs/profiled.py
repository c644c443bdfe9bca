"""Runs ionetctl and samples where its CPU time goes: ``profiled.py FILE ARGUMENT…``.

The kernel's timer of CPU time interrupts it (SIGPROF); the main thread's stack is counted by package. That costs next to
nothing, other than the standard library's profiler, which makes small functions several times as dear. Time in a C library
counts for the Python function that called it, that of other threads for whatever the main thread does meanwhile.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

INTERVAL_S: Final = 0.001
_PLACES: Final = (
    re.compile(r"site-packages/([\w-]+)"),
    re.compile(r"/(ionetctl/\w+)/"),
    re.compile(r"/python3\.\d+/(\w+)"),
    re.compile(r"<frozen (importlib)"),
)


@cache
def package_of(file: str) -> str:
    """The package of a source file: a distribution, one of ionetctl's folders, or a module of the standard library."""
    found = filter(None, (place.search(file) for place in _PLACES))
    return next((match[1] for match in found), "other")


class Samples:
    """Counts by package: ``own`` of its functions, ``within`` of them and all that they called."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def take(self, _: int, frame: FrameType | None) -> None:
        """Count one stack; a signal handler."""
        stack = []
        while frame is not None:
            stack.append(package_of(frame.f_code.co_filename))
            frame = frame.f_back
        if stack:
            self.own[stack[0]] += 1
            self.within.update(set(stack))


def main(output: str, arguments: list[str]) -> None:
    """Run ionetctl with these arguments and write the counts as JSON; ends as it does."""
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    sys.argv = ["ionetctl", *arguments]
    try:
        from ionetctl.cli.app import main as run

        run()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(output).write_text(json.dumps({"own": samples.own, "within": samples.within}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
