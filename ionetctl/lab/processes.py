"""The rehearsal's own processes: started apart from their starter, known by id and start time, ended by id.

A process id alone names whoever has it now. So the start time is kept beside it, and nobody is signalled who does not
have both.
"""

from __future__ import annotations

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
    from ionetctl.lab.documents import Document
    from ionetctl.lab.places import Places

_POLL_S: Final = 0.02
_END_S: Final = 10.0
_LOG_TAIL: Final = 2000


class LabError(IonetctlError):
    """The rehearsal could not be set up or taken down."""


def start_process(places: Places, name: str, module: str, *arguments: str) -> int:
    """Start ``python -m module DIR …`` in a session of its own, with its pid file written; returns its id."""
    places.ready(name).unlink(missing_ok=True)
    with places.log(name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(places.root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # ``lab down`` may be another process: nobody here waits for the child, and that is no leak worth a warning.
    process.returncode = 0
    document = {"pid": process.pid, "started": _start_time(process.pid)}
    places.pid(name).write_text(json.dumps(document))
    return process.pid


def wait_ready(places: Places, name: str, deadline_s: float) -> Document:
    """What the process said when it was ready; raises ``LabError`` with its log's end when it dies or takes too long."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if places.ready(name).exists():
            document: Document = json.loads(places.ready(name).read_text())
            return document
        if not is_running(places, name):
            break
        time.sleep(_POLL_S)
    tail = places.log(name).read_text(errors="replace")[-_LOG_TAIL:].strip()
    message = f"the rehearsal's process {name} did not come up: {tail or 'it took too long'}"
    raise LabError("lab_not_ready", message, f"its log is {places.log(name)}")


def names(places: Places) -> list[str]:
    """The processes that have a pid file."""
    return sorted(path.stem for path in places.run.glob("*.pid"))


def is_running(places: Places, name: str) -> bool:
    """Whether the very process that was started still runs."""
    return _pid(places, name) is not None


def end_processes(places: Places, chosen: list[str], patience_s: float = _END_S) -> list[str]:
    """End processes, politely and after ``patience_s`` not, and remove their pid files; returns those that were running.

    Raises ``LabError`` when one survives.
    """
    running = [name for name in chosen if is_running(places, name)]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for name in running:
            _signal(places, name, number)
        if _wait_gone(places, running, patience_s):
            break
    else:
        raise LabError("lab_not_ended", f"these processes do not end: {', '.join(running)}")
    for name in chosen:
        places.pid(name).unlink(missing_ok=True)
        places.ready(name).unlink(missing_ok=True)
    return running


def _wait_gone(places: Places, chosen: list[str], patience_s: float) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if not any(is_running(places, name) for name in chosen):
            return True
        time.sleep(_POLL_S)
    return False


def _signal(places: Places, name: str, number: signal.Signals) -> None:
    pid = _pid(places, name)
    if pid is not None:
        os.kill(pid, number)


def _pid(places: Places, name: str) -> int | None:
    """The process's id while it is still that process and no zombie."""
    try:
        document = json.loads(places.pid(name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    pid = int(document["pid"])
    _reap(pid)
    return pid if _start_time(pid) == document["started"] is not None else None


def _reap(pid: int) -> None:
    """Collect our own dead child, where it is one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _start_time(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; ``None`` when it is gone (``proc(5)``, field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
