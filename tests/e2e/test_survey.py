"""The survey on real systemd hosts: what systemd, the kernel and the network really say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.facts.survey_output import parse_survey
from tests.e2e.machines import Fleet, Machine
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ionetctl.core.model.facts import Facts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

NOBODY = "192.0.2.1:4647"
"""An address that is nobody's (RFC 5737), and that no route of these hosts leads to."""


@pytest.fixture(scope="module")
def machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A host that is up."""
    assert debian.is_dir()
    with Fleet(1, tmp_path_factory.mktemp("surveyed")) as hosts:
        yield hosts.machines[0]


def surveyed(machine: Machine, servers: str = "-") -> Facts:
    """What the product's own script says there."""
    (machine.root / "root/survey.sh").write_bytes(survey_script())
    done = machine.run(f"sh -s -- n0nce '{servers}' </root/survey.sh")
    assert done.stderr == ""
    return parse_survey(done.stdout.encode(), "n0nce", controller_time=0.0)


def test_a_systemd_host_is_told(machine: Machine) -> None:
    """Name, version, virtualization and time come from systemd itself."""
    facts = surveyed(machine)
    seen = facts.machine
    version = int(machine.run("systemctl --version").stdout.split()[1])
    assert (facts.init, seen.hostname, seen.systemd_version) == ("systemd", machine.name, version)
    assert (seen.virtualization, seen.package_manager, seen.has_python) == (
        "systemd-nspawn",
        "apt",
        True,
    )
    assert seen.is_time_synchronized is not None
    assert seen.cgroups is not None


def test_its_network_is_told(machine: Machine) -> None:
    """The cable's end is its interface, and a server is reached through it or not."""
    seen = surveyed(machine, f"{machine.address}:22,{machine.address}:1,{NOBODY}").machine
    assert [each.is_up for each in seen.interfaces or ()] == [True]
    found = {(reach.port, reach.failure, reach.local_address) for reach in seen.reaches if reach.port != 4647}
    assert found == {(22, None, machine.address), (1, "refused", None)}
    failures = {reach.failure for reach in seen.reaches if reach.port == 4647}
    assert failures <= {"unreachable", "timeout"}


def test_a_unit_that_mines_is_told(machine: Machine) -> None:
    """A miner's process comes with the unit that keeps it running; it gone, nothing is told."""
    machine.run("cp /usr/bin/sleep /usr/local/bin/t-rex")
    machine.run("systemd-run --quiet --unit=mining /usr/local/bin/t-rex 600")
    miners = surveyed(machine).machine.miners or ()
    machine.run("systemctl stop mining; rm /usr/local/bin/t-rex")
    assert [(miner.name, miner.unit) for miner in miners] == [("t-rex", "mining.service")]
    assert surveyed(machine).machine.miners == ()
