"""Hosts that are slow or speak another dialect: other programs of the same name, other words, other places, and noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionetctl.core.observed import Xid
from tests.remote.rehearsal import Host, shim

CASES = Path(__file__).parents[1] / "data" / "cases"
BEGIN = "[    0.000000] Linux version 6.8.0\n"


def says(host: Host, program: str, text: str, *, then: str = ":") -> None:
    """A program that prints this and then does that."""
    host.write(f"/standin/{program}", text)
    shim(host, program, f"cat '{host.path(f'/standin/{program}')}'; {then}")


# --- what a program printed before it was ended ---


@pytest.mark.parametrize("end", ["kill -9 $$", "kill $$", "exit 1", "exec sleep 60"])
def test_a_reach_stands_once_where_its_program_is_killed_after_it_printed(host: Host, end: str) -> None:
    """The program's records count whole or not at all: the shell's own are then the only ones."""
    record = "reach\\t127.0.0.1\\t1\\t0.3\\t\\t127.0.0.1\\t127.0.0.1\\n"
    shim(host, "python3", f"printf '{record}'; {end}")
    (reach,) = host.survey(servers="127.0.0.1:1").machine.reaches
    assert (reach.rtt_ms, reach.failure) == (None, "refused")


def test_a_reach_is_taken_from_a_program_that_ended_well(host: Host) -> None:
    """The control: what it printed is the record."""
    shim(host, "python3", "printf 'reach\\t127.0.0.1\\t1\\t0.3\\t\\t127.0.0.1\\t127.0.0.1\\n'")
    (reach,) = host.survey(servers="127.0.0.1:1").machine.reaches
    assert (reach.rtt_ms, reach.failure) == (0.3, None)


def test_a_ruleset_that_is_cut_off_says_nothing(host: Host) -> None:
    """Of a firewall that runs, half its rules do not show that nothing is blocked."""
    shim(host, "firewall-cmd", "echo running")
    says(host, "nft", "table inet firewalld {\n", then="kill -9 $$")
    (firewall,) = host.survey().machine.firewalls or ()
    assert (firewall.kind, firewall.blocks_outbound) == ("firewalld", None)


def test_a_kernel_log_that_is_cut_off_is_not_whole(host: Host) -> None:
    """The journal is asked then; without it nothing is claimed."""
    says(host, "dmesg", BEGIN, then="kill -9 $$")
    shim(host, "journalctl", "exit 1")
    assert host.survey().machine.xids is None
    says(host, "journalctl", BEGIN)
    assert host.survey().machine.xids == ()


# --- other programs of the same name ---


def test_podmans_stand_in_is_not_docker(host: Host) -> None:
    """No daemon is looked for that cannot be there."""
    shim(host, "docker", f'exec /bin/sh "{CASES}/podman-docker/docker" "$@"')
    machine = host.survey().machine
    assert (machine.docker, machine.is_docker_podman) == (None, True)


def test_a_docker_without_daemon_is_docker(host: Host) -> None:
    """The control: it says what it is."""
    shim(host, "docker", '[ "$1" = --version ] && echo "Docker version 27.3.1, build ce12230"')
    machine = host.survey().machine
    assert (machine.docker is None, machine.is_docker_podman) == (False, False)


# --- files and logs ---


def test_an_os_release_may_lack_its_last_line_break(host: Host) -> None:
    """Its last line counts as any other."""
    host.write("/etc/os-release", (CASES / "os-release-no-newline/os-release").read_bytes())
    facts = host.survey()
    assert (facts.os_id, facts.os_version) == ("ubuntu", "24.04")


def test_a_unit_may_lack_its_last_line_break(host: Host) -> None:
    """The agent's program is found in it."""
    host.write("/etc/systemd/system/nomad.service", "[Service]\nExecStart=/opt/foreign/nomad agent")
    host.write("/opt/foreign/nomad", "#!/bin/sh\necho 'Nomad v1.9.0'\n", 0o755)
    assert host.survey().nomad.agent_version == "Nomad v1.9.0"


def test_the_roots_type_decides_about_control_groups(host: Host) -> None:
    """What a VPN mounted below a v2 root makes no v1 host of it."""
    host.write("/proc/mounts", (CASES / "cgroup-vpn/mounts").read_text())
    host.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
    machine = host.survey().machine
    assert (machine.cgroups, machine.cgroup_controllers) == ("v2", ("cpuset", "cpu", "io", "memory", "pids"))


XIDS = {
    "xid-mig": {Xid(95, "0000:41:00", 1), Xid(79, "0000:42:00", 1)},
    "xid-new": {Xid(143, "0000:51:00", 1), Xid(154, "0000:51:00", 1), Xid(149, "0000:52:00", 1)},
}


@pytest.mark.parametrize("case", XIDS)
def test_every_error_of_the_driver_is_reported(host: Host, case: str) -> None:
    """Those of parts of a card, and those of numbers that nobody knows yet."""
    says(host, "dmesg", (CASES / case / "dmesg.txt").read_text())
    assert set(host.survey().machine.xids or ()) == XIDS[case]


@pytest.mark.parametrize("where", ["(a form of tomorrow)", "of no card"])
def test_an_error_whose_card_is_not_named_is_reported(host: Host, where: str) -> None:
    """The number counts, wherever it happened."""
    says(host, "dmesg", f"{BEGIN}[    9.000000] NVRM: Xid {where}: 95, pid=1\n")
    assert host.survey().machine.xids == (Xid(95, "", 1),)


def test_a_list_with_a_line_that_cannot_be_read_is_not_called_whole(host: Host) -> None:
    """Nothing is dropped in silence: without that line the list may not be all."""
    says(host, "dmesg", BEGIN + "[    9.000000] NVRM: Xid of another form\n")
    assert host.survey().machine.xids is None
