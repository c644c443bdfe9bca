"""The two commands in a fresh clone, on a machine that has Python 3.11, make and git and nothing else that tests run."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.bare_machine import BareMachine, make_bare_machine
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ABSENT: Final = frozenset({"busybox", "cc", "ssh-agent", "sshd", "zsh"})
USING_PROGRAMS: Final = (
    "tests/cli/test_probe.py tests/credentials tests/plan/test_payload.py tests/remote/test_probe.py "
    "tests/remote/test_survey.py tests/remote/test_survey_machine.py tests/remote/test_survey_network.py tests/ssh"
)
"""Tests that run programs of the machine, each kind at least once."""

either_user = pytest.mark.parametrize("as_root", [False, True], ids=["plain user", "root"])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareMachine]:
    if os.geteuid() != 0:
        pytest.skip("a machine of its own needs root")
    needs("debootstrap", "unshare", "setpriv", "chroot", "git")
    directory = tmp_path_factory.mktemp("bare machine")
    try:
        made = make_bare_machine(directory / "root")
    except RuntimeError as error:
        pytest.skip(f"no bare machine: {error}")
    try:
        succeed(made, "make .venv/.develop", as_root=False)
        yield made
    finally:
        shutil.rmtree(directory)


def succeed(machine: BareMachine, command: str, *, as_root: bool) -> str:
    """The output of a command that has to end well."""
    done = machine.run(command, as_root=as_root)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def untested_for_want_of(output: str) -> set[str]:
    """The programs that the closing lines of a test run name as absent."""
    reasons = re.findall(r"^NOT TESTED HERE: \d+ tests: no (.+) on this machine$", output, re.MULTILINE)
    return {program for reason in reasons for program in reason.split(", ")}


@pytest.mark.parametrize(
    ("command", "hosts", "as_root"),
    [("make demo", 50, False), (".venv/bin/ionetctl demo --hosts 5", 5, True)],
    ids=["plain user", "root"],
)
def test_rehearsal_enrols(machine: BareMachine, command: str, hosts: int, *, as_root: bool) -> None:
    """``make demo`` enrols its fleet, and so does a smaller one of root's."""
    assert f"{hosts} nodes: {hosts} ready" in succeed(machine, command, as_root=as_root)


def test_quick_checks_pass(machine: BareMachine) -> None:
    """``make quick`` finds nothing wrong, and tests all it has but what needs a program."""
    output = succeed(machine, "make quick", as_root=False)
    assert (" passed" in output, untested_for_want_of(output)) == (
        True,
        {"busybox", "ssh-keygen", "xz", "zstd"},
    )


@either_user
def test_absent_programs_fail_nothing(machine: BareMachine, *, as_root: bool) -> None:
    """Tests that need a program are skipped, and the last lines name it."""
    output = succeed(machine, f".venv/bin/pytest --quiet --numprocesses 2 {USING_PROGRAMS}", as_root=as_root)
    assert (" passed" in output, ABSENT - untested_for_want_of(output)) == (True, frozenset())


@either_user
def test_unreachable_mirror_stops_nothing(machine: BareMachine, *, as_root: bool) -> None:
    """``make test`` goes on without the packages that it cannot install, and names the programs."""
    done = machine.run("make .venv/.programs", as_root=as_root, has_network=False)
    absent = "busybox cc curl debootstrap ip jq ssh-keygen systemd-nspawn"
    assert (done.returncode, f"not on this machine: {absent};" in done.stdout) == (0, True), done.stdout
