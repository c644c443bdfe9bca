"""The commands of the HOWTO that lies on an enrolled host, each run there, and the log that an apply would show of its unit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ionetctl.remote
from tests.e2e.base_root import why_unavailable
from tests.e2e.machines import GATEWAY, Fleet
from tests.e2e.real_region import Address, RealRegion, nomad_binary
from tests.e2e.site import NOMAD_VERSION, Site, write_release
from tests.e2e.standin_nomad import build
from tests.e2e.standin_region import StandInRegion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machines import Machine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

SCRIPTS = Path(ionetctl.remote.__file__).parent
FUNCTIONS = "\n".join((SCRIPTS / name).read_text() for name in ("programs.sh", "report.sh"))
EXPECTED = [
    ("systemctl status nomad.service", 0, "active", "enabled"),
    ("journalctl -u nomad.service -e", 0, "active", "enabled"),
    ("systemctl stop nomad.service", 0, "inactive", "enabled"),
    ("systemctl start nomad.service", 0, "active", "enabled"),
    ("systemctl restart nomad.service", 0, "active", "enabled"),
    ("systemctl disable nomad.service", 0, "active", "disabled"),
    ("systemctl disable --now nomad.service", 0, "inactive", "disabled"),
]
"""Each command in the HOWTO's order, its exit status, and the unit after it."""
ELSEWHERE = {"/var/lib/ionet/restore-miner"}
"""Run where a miner was stopped, in the tests of preparations."""


@pytest.fixture(scope="module", params=["stand-in", "real"])
def enrolled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One host of a site of its own, enrolled."""
    program = nomad_binary()
    if request.param == "real" and program is None:
        pytest.skip("no real Nomad: put one on PATH, or name it in IONETCTL_TEST_NOMAD")
    directory = tmp_path_factory.mktemp("site")
    with Fleet(1, tmp_path_factory.mktemp("hosts")) as fleet:
        address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
        region: RealRegion | StandInRegion
        if request.param == "real" and program is not None:
            region, release = RealRegion(program, directory / "region", address), Path(program)
        else:
            region = StandInRegion(directory / "region", address)
            release = build(NOMAD_VERSION, directory / "nomad")
        write_release(directory / "mirror", "nomad", NOMAD_VERSION, release)
        with region:
            site = Site(fleet, region, directory)
            site.write(fleet.machines)
            done = site.enroll()
            assert done.exit_code == 0, done.stderr
            yield fleet.machines[0]


def test_every_command_does_what_it_says(enrolled: Machine) -> None:
    """A stop is a clean one: the unit is inactive, not failed; and nothing that the HOWTO names is left out here."""
    text = enrolled.read("/etc/nomad.d/HOWTO.md")
    commands = [each for each in re.findall(r"`([^`]+)`", text) if re.match(r"\w+ctl |/.*/restore-", each)]
    seen = [(command, *after(enrolled, command)) for command in commands if command not in ELSEWHERE]
    assert seen == EXPECTED
    assert set(commands) - {command for command, *_ in EXPECTED} == ELSEWHERE
    assert enrolled.run("systemctl is-failed nomad.service", check=False).stdout == "inactive\n"


def test_log_is_that_of_the_latest_start(enrolled: Machine) -> None:
    """On a real systemd: one start of the several that the unit's journal has, and its end."""
    enrolled.run("systemctl restart nomad.service", timeout_s=150)
    script = f"set -eu\ngrace_s=5\n{FUNCTIONS}\nlog_of nomad.service 4000"
    latest = enrolled.run(f"sh -c {shlex.quote(script)}").stdout.splitlines()
    whole = enrolled.run("journalctl -u nomad.service -o cat --no-pager").stdout.splitlines()
    started = "Started nomad.service - Nomad."
    assert latest.count(started) == 1 < whole.count(started)
    assert whole[-len(latest) :] == latest


def after(machine: Machine, command: str) -> tuple[int, str, str]:
    """The exit status of a command, and the unit's two states after it."""
    status = machine.run(f"{command} --no-pager" if "status" in command else command, check=False).returncode
    states = machine.run("systemctl is-active nomad.service; systemctl is-enabled nomad.service", check=False)
    active, enabled = states.stdout.split()
    return status, active, enabled
