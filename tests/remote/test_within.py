"""``within`` of the scripts that change hosts: what it ends with, whoever made the host's ``timeout``."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ionetctl.remote
from tests.remote.rehearsal import shim

if TYPE_CHECKING:
    from tests.remote.rehearsal import Host

PROGRAMS = (Path(ionetctl.remote.__file__).parent / "programs.sh").read_text()
CASE = Path(__file__).parents[1] / "data" / "cases" / "uutils-timeout" / "timeout"


@pytest.fixture(params=["its own", "uutils'", "none"])
def timed(request: pytest.FixtureRequest, host: Host) -> Host:
    """A host with its shell's ``timeout``, one that speaks like uutils', or none that ends anything."""
    if request.param == "uutils'":
        shim(host, "timeout", CASE.read_text())
    elif request.param == "none":
        shim(host, "timeout", 'shift 3; exec "$@"')
    return host


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("within 5 true", 0),
        ("within 5 sh -c 'exit 9'", 9),
        ("within 5 sh -c 'exit 125'", 125),
        ("within 5 sh -c 'kill -9 $$'", 137),
        ("within 1 sh -c 'sleep 1.2; exit 3'", 124),
    ],
)
def test_status_is_the_commands_or_that_of_a_timeout(timed: Host, command: str, status: int) -> None:
    """The time that passed tells a command that was ended from one that failed."""
    script = f"set -eu\ngrace_s=5\n{PROGRAMS}\nstatus=0\n{command} || status=$?\nexit $status"
    done = subprocess.run(timed.argv("-c", script), env=timed.environ(), check=False, timeout=30)
    assert done.returncode == status
