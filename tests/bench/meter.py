"""Runs one command and writes, as JSON, what it and all its descendants used: ``meter.py FILE TIMEOUT_S COMMAND…``.

It adopts what the command leaves behind (the masters of ssh's ControlPersist), ends it, and counts it too. Memory is the
sum of the processes' proportional shares (PSS), sampled. A command that takes longer than its time is ended and marked.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

_SAMPLE_S: Final = 0.25
_REST: Final = 20
"""Pauses are at least so many times the CPU time of a sample."""
_END_S: Final = 10.0
_PR_SET_CHILD_SUBREAPER: Final = 36
"""See prctl(2): orphans below this process become its children, so that they can be waited for."""


def descendants(root: int) -> set[int]:
    """The processes that descend from ``root``, itself left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting += below
    return found


def pss_kib(process: int) -> int:
    """The memory of a process, shared pages divided among those that share them; 0 once it has ended."""
    with contextlib.suppress(OSError, IndexError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return 0


class Watch(threading.Thread):
    """Samples the memory of this process's descendants until ``stop`` is set; ``peak_kib`` is the largest sum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.peak_kib = 0

    def run(self) -> None:
        """Sample; less often where that takes long, as it does of processes of gigabytes."""
        pause_s = _SAMPLE_S
        while not self.stop.wait(pause_s):
            started = time.thread_time()
            self.peak_kib = max(self.peak_kib, sum(map(pss_kib, descendants(os.getpid()))))
            pause_s = max(_SAMPLE_S, _REST * (time.thread_time() - started))


def end_leftovers() -> None:
    """End what the command left running, and wait for it, so that its time is counted."""
    until = time.monotonic() + _END_S
    number = signal.SIGTERM
    while left := descendants(os.getpid()):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)
        number = signal.SIGKILL if time.monotonic() > until else signal.SIGTERM


def end(*_: object) -> None:
    """End, once all that was started has ended; a second signal changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def main() -> None:
    """Run the command; its status is in the document. What it started does not outlive this process, whatever ends it."""
    output, timeout_s, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watch = Watch()
    watch.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    started = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    is_cut = threading.Event()

    def cut() -> None:
        is_cut.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(float(timeout_s), cut)
    timer.start()
    try:
        status = process.wait()
        wall_s = time.monotonic() - started
    finally:
        timer.cancel()
        watch.stop.set()
        watch.join()
        end_leftovers()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A short command may end between two samples: its largest process is known all the same.
    peak_kib = watch.peak_kib or used.ru_maxrss
    document = {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": wall_s,
        "peak_mib": peak_kib / 1024,
        "is_cut": is_cut.is_set(),
        "exit_status": status,
    }
    Path(output).write_text(json.dumps(document))
    sys.exit(0)


if __name__ == "__main__":
    main()
