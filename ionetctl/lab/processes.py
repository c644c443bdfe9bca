"""The rehearsal's background processes: how they are started, found again and ended, and how they report ready.

A process id may be reused. So a pid file has the start time as well, and only a process that matches both is signalled.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import IonetctlError

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.paths import LabPaths

_POLL_INTERVAL_S: Final = 0.02
_END_TIMEOUT_S: Final = 10.0
_LOG_TAIL_CHARS: Final = 2000


class LabError(IonetctlError):
    """The rehearsal could not be set up or taken down."""


def start_process(paths: LabPaths, name: str, module: str, *arguments: str) -> int:
    """Start ``python -m module DIR …`` in a session of its own and write its pid file; returns its id."""
    paths.ready(name).unlink(missing_ok=True)
    with paths.log(name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(paths.root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # The child outlives this object, and ``lab down`` ends it: without a return code ``Popen`` would warn of a leak.
    process.returncode = 0
    document = {"pid": process.pid, "started": _start_time(process.pid)}
    paths.pid(name).write_text(json.dumps(document))
    return process.pid


def wait_ready(paths: LabPaths, name: str, timeout_s: float) -> JsonObject:
    """The document that the process wrote when it was ready.

    Raises ``LabError``, with the end of its log, when it ends before that or takes longer than ``timeout_s``.
    """
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if paths.ready(name).exists():
            document: JsonObject = json.loads(paths.ready(name).read_text())
            return document
        if not is_running(paths, name):
            break
        time.sleep(_POLL_INTERVAL_S)
    tail = paths.log(name).read_text(errors="replace")[-_LOG_TAIL_CHARS:].strip()
    message = f"the rehearsal's process {name} did not come up: {tail or 'it took too long'}"
    raise LabError("lab_not_ready", message, f"its log is {paths.log(name)}")


def process_names(paths: LabPaths) -> list[str]:
    """The names of the processes that have a pid file."""
    return sorted(path.stem for path in paths.run.glob("*.pid"))


def is_running(paths: LabPaths, name: str) -> bool:
    """Whether the process that was started (and not another with its id) still runs."""
    return _pid(paths, name) is not None


def end_processes(paths: LabPaths, chosen: list[str], timeout_s: float = _END_TIMEOUT_S) -> list[str]:
    """End processes (SIGTERM, SIGKILL after ``timeout_s``) and remove their pid files; returns those that were running.

    Raises ``LabError`` when one is still running after both.
    """
    running = [name for name in chosen if is_running(paths, name)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for name in running:
            _signal(paths, name, number)
        if _wait_gone(paths, running, timeout_s):
            break
    else:
        raise LabError("lab_not_ended", f"these processes do not end: {', '.join(running)}")
    for name in chosen:
        paths.pid(name).unlink(missing_ok=True)
        paths.ready(name).unlink(missing_ok=True)
    return running


def _wait_gone(paths: LabPaths, chosen: list[str], timeout_s: float) -> bool:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if not any(is_running(paths, name) for name in chosen):
            return True
        time.sleep(_POLL_INTERVAL_S)
    return False


def _signal(paths: LabPaths, name: str, number: signal.Signals) -> None:
    pid = _pid(paths, name)
    if pid is not None:
        os.kill(pid, number)


def _pid(paths: LabPaths, name: str) -> int | None:
    """The id in the pid file; ``None`` when that process has ended, is a zombie, or the id was reused."""
    try:
        document = json.loads(paths.pid(name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(document["pid"])
    _reap(pid)
    return pid if _start_time(pid) == document["started"] is not None else None


def _reap(pid: int) -> None:
    """Wait for the process where it is our own child and has ended, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM, SIGINT or SIGHUP sets: a served process ends when it does. Needs a running loop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def write_ready(path: Path, document: JsonObject) -> None:
    """Write a ready file atomically: ``wait_ready`` never sees a part of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(document))
    draft.rename(path)


def _start_time(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; ``None`` when it is gone (``proc(5)``, field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
