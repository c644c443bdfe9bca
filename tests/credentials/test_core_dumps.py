"""A process of ours that crashes leaves nothing of its memory anywhere; the control, which is the same but for one call, does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

WAYS: Final = {
    "control": "pass",
    "command line": "from ionetctl.cli.app import main; sys.argv[1:] = ['--version']; main()",
    "worker": """
import runpy, socket
ours, theirs = socket.socketpair()
ours.close()
sys.argv[1:] = [str(theirs.fileno())]
runpy.run_module('ionetctl.app.start_worker', run_name='__main__')
""",
}
CRASH: Final = """
import os, resource, sys
_, directory, number, way = sys.argv
os.chdir(directory)
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
try:
    exec(way)
except BaseException:
    pass
os.kill(os.getpid(), int(number))
"""
FILTER: Final = """
from pathlib import Path
from ionetctl.credentials.core_dumps import turn_off_core_dumps
before = Path("/proc/self/coredump_filter").read_text()
turn_off_core_dumps()
print(int(before, 16) > 0, int(Path("/proc/self/coredump_filter").read_text(), 16))
"""


def crash(directory: Path, number: signal.Signals, way: str) -> tuple[bool, bool]:
    """Whether a process that went that way and then had the signal was killed by it, and whether its memory was dumped."""
    arguments = [sys.executable, "-c", CRASH, str(directory), str(int(number)), WAYS[way]]
    _, status = os.waitpid(os.posix_spawn(sys.executable, arguments, os.environ), 0)
    is_piped = Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")
    is_dumped = bool([*directory.iterdir()]) or (os.WCOREDUMP(status) and (not is_piped or way == "control"))
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == number, is_dumped


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
@pytest.mark.parametrize("way", WAYS)
def test_crash_leaves_no_core(tmp_path: Path, number: signal.Signals, way: str) -> None:
    """Neither of the command line's process nor of a worker's; the control leaves one."""
    assert crash(tmp_path, number, way) == (True, way == "control")


def test_piped_dumps_have_no_memory() -> None:
    """Linux does not apply the limit where a program takes the dumps: the filter leaves nothing to take."""
    ended = subprocess.run([sys.executable, "-c", FILTER], capture_output=True, check=True, text=True)
    assert ended.stdout == "True 0\n"
