"""The survey, really run under every shell: what it finds, what it leaves out, and that it changes nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.facts import Disk, RemoteFile
from tests.remote.rehearsal import NODE_ID, NOMAD, STANDINS, TOKEN, Host, file, owner, shim
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from pathlib import Path

FORKS_LIMIT = 45
LINE_LIMIT_CHARS = 4000
PROGRAMS = "awk cat date df grep head id readlink sed sha256sum sleep stat tr uname base64 timeout systemctl"


def furnish(host: Host) -> None:
    """Make of a host one that runs an agent of ours."""
    host.write(
        "/etc/os-release", 'NAME=Ubuntu\nID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04 LTS"\n'
    )
    host.write("/proc/1/comm", "systemd\n")
    host.write("/proc/cpuinfo", "".join(f"processor\t: {n}\nmodel name\t: cheap\n\n" for n in range(16)))
    host.write("/proc/meminfo", "MemTotal:       32768000 kB\nMemFree:        1 kB\n")
    host.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    host.write("/proc/7/comm", "nomad\n")
    host.write("/proc/7/cmdline", "/usr/local/bin/nomad\0agent\0-config\0/etc/nomad.d\0")
    host.write("/proc/8/comm", "nomad\n")
    host.write("/proc/8/cmdline", "/usr/local/bin/nomad\0logmon\0")
    host.write("/standin/active", "active\n")
    host.write("/standin/enabled", "enabled\n")
    host.write(host_paths.UNIT, "[Service]\nExecStart=-/opt/foreign/nomad agent -config /etc/nomad.d\n")
    host.write("/opt/foreign/nomad", (STANDINS / "nomad").read_bytes(), 0o755)
    host.write(host_paths.CLIENT_ID, NODE_ID)
    host.write(host_paths.INTRODUCTION_TOKEN, TOKEN)
    host.write(
        host_paths.CLIENT_CONFIG, 'meta {\n    "unique.ionet_bundle" = "0123456789abcdef-n1"\n}\n', 0o640
    )
    host.write("/etc/nomad.d/extra.json", "{}\n")
    host.write(f"{host_paths.UNIT}.d/limits.conf", "[Service]\n")
    for name in ("a1", "b2", "c3"):
        host.path(f"/opt/nomad/data/alloc/{name}").mkdir(parents=True)
    host.write(host_paths.NODE_CERT, "-----BEGIN CERTIFICATE-----\n" + "A" * 200 + "\n")
    host.write(host_paths.MANIFEST, f"{'a' * 64}  {host_paths.CLIENT_CONFIG}\ntorn line\n", 0o600)
    host.path(host_paths.NOMAD_LINK).parent.mkdir(parents=True)
    host.path(host_paths.NOMAD_LINK).symlink_to(host.path(NOMAD))


def mount_of(path: Path) -> str:
    """Where the file system of a path is mounted."""
    return str(next(each for each in (path, *path.parents) if each.is_mount()))


def test_a_furnished_host_is_told_whole(host: Host) -> None:
    """Every fact that lies in the tree comes back as it lies there."""
    furnish(host)
    facts = host.survey(host_paths.CLIENT_CONFIG, host_paths.NOMAD_LINK, "/etc/nomad.d/missing")
    assert (facts.os_id, facts.os_version, facts.os_name) == ("ubuntu", "24.04", "Ubuntu 24.04 LTS")
    assert (facts.kernel, facts.architecture) == (os.uname().release, os.uname().machine)
    assert (facts.init, facts.is_root) == ("systemd", os.geteuid() == 0)
    assert (facts.cpu_cores, facts.memory_mib) == (16, 32000)
    assert facts.machine_id == "0123456789abcdef0123456789abcdef"
    assert facts.boot_id == "b0071d00-0000-4000-8000-000000000001"
    assert (facts.has_gzip, facts.has_tar) == (True, True)
    assert facts.links == {host_paths.NOMAD_LINK: NOMAD}
    assert facts.manifest == {host_paths.CLIENT_CONFIG: "a" * 64}
    assert facts.node_certificate == host.read(host_paths.NODE_CERT)


def test_the_agent_is_told(host: Host) -> None:
    """The agent's state is what systemd, processes and files say."""
    furnish(host)
    nomad = host.survey().nomad
    assert (nomad.is_ours, nomad.active, nomad.is_enabled, nomad.is_running) == (True, "active", True, True)
    assert (nomad.agent_version, nomad.node_id, nomad.stamp) == (
        "Nomad v2.0.5",
        NODE_ID,
        "0123456789abcdef-n1",
    )
    assert (nomad.has_introduction_token, nomad.allocations, nomad.is_interrupted) == (True, 3, False)
    assert nomad.config_files == (
        host_paths.CLIENT_CONFIG,
        "/etc/nomad.d/extra.json",
        f"{host_paths.UNIT}.d/limits.conf",
    )


def test_the_program_stands_behind_our_script(host: Host) -> None:
    """In a unit of ours; a shell alone has no version to tell."""
    furnish(host)
    started = f"/bin/sh {host_paths.START_SCRIPT} /opt/foreign/nomad agent -config /etc/nomad.d"
    host.write(host_paths.UNIT, f"[Service]\nExecStart={started}\n")
    assert host.survey().nomad.agent_version == "Nomad v2.0.5"


def test_files_come_with_digest_and_rights(host: Host) -> None:
    """Managed files and the configuration's files come with digest, mode and owner, each once."""
    furnish(host)
    host.write("/etc/sticky", "x", 0o4750)
    facts = host.survey(host_paths.CLIENT_CONFIG, "/etc/sticky", "/etc/nomad.d")
    text = host.path(host_paths.CLIENT_CONFIG).read_bytes()
    expected = RemoteFile(host_paths.CLIENT_CONFIG, file("", text).digest, 0o640, owner())
    assert facts.files[host_paths.CLIENT_CONFIG] == expected
    assert facts.files["/etc/sticky"].mode == 0o4750
    assert set(facts.files) == {"/etc/sticky", *facts.nomad.config_files}


def test_a_bare_host_leaves_facts_out(host: Host) -> None:
    """What is not there is not invented."""
    shim(host, "systemctl", "exit 1")
    facts = host.survey(host_paths.CLIENT_CONFIG)
    assert (facts.os_id, facts.machine_id, facts.cpu_cores, facts.memory_mib) == ("", None, None, None)
    assert (facts.nomad.active, facts.nomad.node_id, facts.nomad.agent_version) == ("unknown", None, None)
    assert (facts.files, facts.links, facts.manifest, facts.node_certificate) == ({}, {}, {}, None)
    assert (facts.gpus, facts.gpu_source) == (None, "not probed")


def test_disks_are_told_for_where_we_write(host: Host) -> None:
    """Room and rights of where we write and where jobs run are those of the nearest directory that exists."""
    expected = shutil.disk_usage(host.root).free >> 20
    disks = host.survey().disks
    assert [disk.path for disk in disks] == [
        "/",
        "/opt/nomad",
        "/opt/nomad/data",
        "/etc/nomad.d",
        "/var/lib/ionet",
        "/usr/local/bin",
        "/tmp",
        "/var/tmp",
        "/var/log",
    ]
    assert all(abs(disk.available_mib - expected) < 1024 for disk in disks)
    assert {(disk.is_read_only, disk.is_noexec, disk.mount) for disk in disks} == {
        (False, False, mount_of(host.root))
    }
    assert isinstance(disks[0], Disk)
    assert disks[0].kind != "unknown"


def test_the_clock_is_told(host: Host) -> None:
    """The offset is the host's clock against the controller's."""
    facts = host.survey(controller_time=time.time() - 600)
    assert facts.clock_offset_s is not None
    assert abs(facts.clock_offset_s - 600) < 10


def test_it_changes_nothing(host: Host) -> None:
    """Two surveys leave the tree as it was and say the same."""
    furnish(host)
    before = host.tree()
    first, second = host.survey(host_paths.CLIENT_CONFIG), host.survey(host_paths.CLIENT_CONFIG)
    assert host.tree() == before
    assert (first.files, first.nomad, first.manifest) == (second.files, second.nomad, second.manifest)


def test_tabs_and_line_breaks_become_spaces(host: Host) -> None:
    """A host's text cannot forge a record."""
    host.write("/etc/os-release", "ID=a\tb\nPRETTY_NAME=x\ty\tz\n")
    host.write(host_paths.CLIENT_CONFIG, '"unique.ionet_bundle" = "a\tb"\n')
    facts = host.survey()
    assert (facts.os_id, facts.os_name, facts.nomad.stamp) == ("a b", "x y z", "a b")


def test_a_long_value_is_cut(host: Host) -> None:
    """A line is bounded, whatever a host calls itself."""
    host.write("/etc/os-release", f"ID={'x' * 5000}\n")
    lines = host.survey_output().decode().splitlines()
    assert "os.id\t" + "x" * (LINE_LIMIT_CHARS - len("os.id\t")) in lines


def test_it_is_printed_at_once(host: Host) -> None:
    """A packet for each record would cost the controller more than the records."""
    furnish(host)
    shim(host, "dmesg", "echo '[    0.000000] Linux version 6.8.0'")
    # Each write to such a socket is one message.
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        argv = host.argv("-s", "--", "n0nce", "127.0.0.1:1")
        subprocess.run(
            argv, input=survey_script(), stdout=its.fileno(), env=host.environ(), check=True, timeout=60
        )
        its.close()
        output, rest = ours.recv(1 << 16), ours.recv(1 << 16)
    assert output.startswith(b"ionet-survey\t1\tn0nce\n")
    assert output.endswith(b"\nionet-survey-end\tn0nce\n")
    assert rest == b""


def test_what_a_stuck_part_said_before_is_told(one_host: Host) -> None:
    """It is left behind when its time is up, and all else is whole."""
    script = survey_script().replace(b"beside 20 ", b"beside 1 ")
    assert script != survey_script()
    shim(one_host, "systemd-detect-virt", "echo kvm")
    # Nobody ends this, and it keeps the output open.
    shim(one_host, "timedatectl", "setsid sleep 5 & echo NTP=yes")
    run = subprocess.run(
        one_host.argv("-s", "--", "n0nce", "-"),
        input=script,
        capture_output=True,
        env=one_host.environ(),
        check=True,
        timeout=60,
    )
    lines = run.stdout.decode().splitlines()
    assert "virtualization\tkvm" in lines
    assert [line for line in lines if line.startswith("time.")] == []
    assert lines[-1] == "ionet-survey-end\tn0nce"


def test_few_processes_are_started(one_host: Host, tmp_path: Path) -> None:
    """A survey of a whole host starts a few dozen programs at most."""
    furnish(one_host)
    record = tmp_path / "programs"
    for name in PROGRAMS.split():
        real = one_host.shims / name
        target = real.resolve() if real.exists() else f"/usr/bin/{name}"
        shim(one_host, name, f'echo {name} >>"{record}"; exec {target} "$@"')
    managed = [f"/etc/nomad.d/file-{number}" for number in range(20)]
    for path in managed:
        one_host.write(path, "x")
    one_host.survey(*managed)
    started = record.read_text().split()
    assert started.count("sha256sum") == started.count("stat") == 1
    assert len(started) < FORKS_LIMIT


def test_the_certificate_travels_as_base64(host: Host) -> None:
    """The chain's bytes come back as they lie there."""
    furnish(host)
    lines = [line for line in host.survey_output().decode().splitlines() if line.startswith("cert\t")]
    text = base64.b64decode("".join(line.removeprefix("cert\t") for line in lines))
    assert (
        hashlib.sha256(text).digest() == hashlib.sha256(host.path(host_paths.NODE_CERT).read_bytes()).digest()
    )


@pytest.mark.parametrize("cut", [100, 5000, -20])
def test_a_torn_script_does_nothing(host: Host, cut: int) -> None:
    """A script that arrives in part says nothing, whatever it could have done."""
    run = subprocess.run(
        host.argv("-s", "--", "n", "-"),
        input=survey_script()[:cut],
        capture_output=True,
        env=host.environ(),
        check=False,
    )
    assert run.stdout == b""


def test_a_file_that_cannot_be_read_is_not_told(host: Host) -> None:
    """The others are, and the survey is whole."""
    for name in ("good", "bad"):
        host.write(f"/etc/nomad.d/{name}.hcl", "a = 1\n")
    good = host.path("/etc/nomad.d/good.hcl")
    shim(host, "sha256sum", f"echo '{'0' * 64}  {good}'; exit 1")
    assert list(host.survey().files) == ["/etc/nomad.d/good.hcl"]
