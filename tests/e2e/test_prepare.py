"""Preparations on real systemd hosts: real apt, dpkg, systemd and timedatectl; packages from files, since hosts have no way out.

What needs a card or kernel modules is stood for by small packages, as docs/reference/preparations.md says.
"""

from __future__ import annotations

import json
import platform
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from tests.e2e import debs
from tests.e2e.base_root import base_root, why_unavailable
from tests.e2e.cards import CARD_FILE, card_text
from tests.e2e.machines import DOCKER_SETTINGS, Fleet
from tests.e2e.site import Finished, Site, site_of
from tests.nvml.library import NVIDIA_SMI

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machines import Machine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

DRIVER_VERSION = "550.90.07"
REBOOT_TIMEOUT_S = 120.0

TOOLKIT = """\
#!/usr/bin/python3
import json, sys
from pathlib import Path
if "--version" in sys.argv:
    print("NVIDIA Container Toolkit CLI version 1.17.8")
    sys.exit()
path = Path(next(word for word in sys.argv if word.startswith("--config=")).removeprefix("--config="))
found = json.loads(path.read_text()) if path.exists() else {}
found["runtimes"] = {**found.get("runtimes", {}), "nvidia": {"args": [], "path": "nvidia-container-runtime"}}
path.write_text(json.dumps(found))
"""
UNPROVEN = {
    code: {"severity": "warn", "reason": "there is no card"} for code in ("gpu_unknown", "gpu_count_mismatch")
}
DRIVER_UNIT = """\
[Unit]
Description=Stands for the module, which the kernel has after a boot
DefaultDependencies=no
After=local-fs.target
Before=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind /usr/lib/fake-driver /proc/driver
[Install]
WantedBy=basic.target
"""
RULES = """\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
	chain output {
		type filter hook output priority filter; policy drop;
		tcp sport 22 accept
		oif lo accept
	}
}
"""
MINER_UNIT = """\
[Service]
ExecStart=/opt/t-rex/t-rex 86400
Restart=always
[Install]
WantedBy=multi-user.target
"""
TIMESYNCD = """\
[Unit]
ConditionVirtualization=
[Service]
AmbientCapabilities=
"""
"""Systemd keeps it from running in a container, where it may not set the clock."""
MODPROBE = """\
#!/bin/sh
mkdir -p "/lib/modules/$(uname -r)"
echo "kernel/net/$1.ko" >>"/lib/modules/$(uname -r)/modules.builtin"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three bare hosts and their region, a real one where there is a real Nomad."""
    with (
        Fleet(3, tmp_path_factory.mktemp("hosts")) as fleet,
        site_of(fleet, tmp_path_factory.mktemp("site")) as site,
    ):
        yield site


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages: Debian's own Docker, CNI plugins and time service, and stand-ins for NVIDIA's."""
    directory = tmp_path_factory.mktemp("packages")
    try:
        root = base_root()
        debs.download(directory / "docker", root, "docker.io")
        debs.download(directory / "cni", root, "containernetworking-plugins")
        debs.download(directory / "time_sync", root, "systemd-timesyncd")
    except RuntimeError as error:
        pytest.skip(f"no real packages: {error}")
    toolkit = {"/usr/bin/nvidia-ctk": TOOLKIT.encode(), "/usr/bin/nvidia-container-runtime": b"#!/bin/sh\n"}
    debs.build(
        directory / "container_toolkit",
        "nvidia-container-toolkit",
        "1.17.8-1",
        toolkit,
        programs=frozenset(toolkit),
    )
    return directory


def changes(done: Finished) -> list[list[str]]:
    """What preparations changed, as the events have it."""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return [[e["preparation"], e["detail"]] for e in events if e.get("type") == "host_prepared"]


def enroll(site: Site, *machines: Machine, **host_fields: Any) -> Finished:
    """Enrol some hosts, and have the events told."""
    site.write(machines, **host_fields)
    return site.run("enroll", str(site.inventory), "--yes", "-o", "ndjson", "--timeout", "60")


def checked(site: Site) -> Finished:
    """What is still to be done."""
    return site.run("enroll", str(site.inventory), "--check", "-o", "json")


def stub_kernel(machine: Machine) -> None:
    """A kernel of its own is what these hosts do not have."""
    (machine.root / "usr/local/sbin/modprobe").write_text(MODPROBE)
    (machine.root / "usr/local/sbin/modprobe").chmod(0o755)
    drop_in = machine.root / "etc/systemd/system/systemd-timesyncd.service.d/container.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(TIMESYNCD)


def test_bare_host_is_prepared_and_enrolled(site: Site, packages: Path) -> None:
    """Docker, the CNI plugins, modules and time are what they should be after one run, and a second one rests."""
    machine = site.fleet.machines[0]
    stub_kernel(machine)
    (machine.root / "etc/docker").mkdir()
    (machine.root / "etc/docker/daemon.json").write_text(json.dumps(DOCKER_SETTINGS))
    asked = {
        "prepare": {
            "docker": True,
            "cni": True,
            "modules": True,
            "time_sync": True,
            "packages": str(packages),
        }
    }
    site.write([machine], **asked)
    planned = checked(site)
    assert planned.exit_code == 9, planned.stderr
    done = enroll(site, machine, **asked)
    assert done.exit_code == 0, (changes(done), done.stdout[-2000:], done.stderr)
    assert {name for name, _ in changes(done)} == {"time_sync", "modules", "docker", "cni"}
    assert (
        machine.run("systemctl is-enabled docker; systemctl is-active docker").stdout == "enabled\nactive\n"
    )
    assert "bridge" in machine.run("ls -L /opt/cni/bin").stdout.split()
    assert "br_netfilter" in machine.run("cat /etc/modules-load.d/ionet.conf").stdout
    assert machine.run("timedatectl show -p NTP").stdout == "NTP=yes\n"
    assert checked(site).exit_code == 0


def test_toolkit_is_entered_into_a_docker_that_runs(site: Site, packages: Path) -> None:
    """The runtime stands beside what the site wrote, real Docker knows it, and the host's agent is started anew."""
    machine = site.fleet.machines[0]
    asked = {"gpus": {}, "prepare": {"container_toolkit": True, "packages": str(packages)}}
    # Cards on the bus are what asks for a toolkit where the inventory promises nothing.
    machine.run(
        "mount -t tmpfs tmpfs /sys/bus/pci/devices && mkdir /sys/bus/pci/devices/0000:01:00.0 && cd /sys/bus/pci/devices/0* "
        "&& echo 0x10de >vendor && echo 0x030000 >class"
    )
    try:
        done = enroll(site, machine, **asked)
        rested = checked(site)
    finally:
        machine.run("umount /sys/bus/pci/devices")
    assert done.exit_code == 0, (changes(done), done.stderr)
    assert changes(done) == [
        ["container_toolkit", "installed nvidia-container-toolkit from files"],
        ["container_toolkit", "entered the runtime nvidia in /etc/docker/daemon.json"],
        ["container_toolkit", "restarted docker.service"],
    ]
    written = json.loads(machine.run("cat /etc/docker/daemon.json").stdout)
    assert ({key: written[key] for key in DOCKER_SETTINGS}, "nvidia" in written["runtimes"]) == (
        DOCKER_SETTINGS,
        True,
    )
    assert "nvidia" in machine.run("docker info --format '{{json .Runtimes}}'").stdout
    assert rested.exit_code == 0, rested.stdout


def test_miner_is_stopped_and_put_back(site: Site) -> None:
    """Its unit no longer runs nor starts at boot, its crontab no longer names it; one command undoes all of it."""
    machine = site.fleet.machines[1]
    table = "/var/spool/cron/crontabs/root"
    line = "@reboot /opt/t-rex/t-rex 86400"
    (machine.root / "etc/systemd/system/rig.service").write_text(MINER_UNIT)
    machine.run(
        "mkdir -p /opt/t-rex /var/spool/cron/crontabs && cp /bin/sleep /opt/t-rex/t-rex && "
        f"printf '%s\\n' '{line}' >{table} && systemctl daemon-reload && systemctl enable --now rig.service && "
        "setsid -f /opt/t-rex/t-rex 86400 </dev/null >/dev/null 2>&1"
    )
    running = "systemctl is-enabled rig.service; systemctl is-active rig.service; pgrep -c t-rex"
    assert machine.run(running).stdout.split() == ["enabled", "active", "2"]
    done = enroll(site, machine, prepare={"stop_miner": True})
    assert done.exit_code == 0, (changes(done), done.stderr)
    assert machine.run(running, check=False).stdout.split() == ["disabled", "inactive", "0"]
    assert machine.run(f"cat {table}").stdout == f"#ionet# {line}\n"
    assert checked(site).exit_code == 0
    machine.run("/var/lib/ionet/restore-miner")
    assert machine.run(running).stdout.split() == ["enabled", "active", "1"]
    assert machine.run(f"cat {table}").stdout == f"{line}\n"
    machine.run(f"systemctl disable --now rig.service && rm {table}")


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path) -> Path:
    """A directory with a driver's package: an NVML stand-in with one card, and a module that only a boot brings."""
    library = f"/usr/lib/{platform.machine()}-linux-gnu/libnvidia-ml.so"
    version = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER_VERSION}  Fri\n"
    files = {
        "/lib/systemd/system/fake-driver.service": DRIVER_UNIT.encode(),
        "/usr/lib/fake-driver/nvidia/version": version.encode(),
        f"{library}.{DRIVER_VERSION}": nvml_library.read_bytes(),
        "/usr/bin/nvidia-smi": NVIDIA_SMI.read_bytes(),
        f"/{CARD_FILE}": card_text(make_gpus(GPU_MODELS[0], "rig", 1)).encode(),
    }
    links = {
        f"{library}.1": f"libnvidia-ml.so.{DRIVER_VERSION}",
        "/etc/systemd/system/basic.target.wants/fake-driver.service": "/lib/systemd/system/fake-driver.service",
    }
    programs = frozenset({"/usr/bin/nvidia-smi"})
    folder = tmp_path / "driver"
    debs.build(
        folder, "nvidia-driver-550", f"{DRIVER_VERSION}-0ubuntu1", files, programs=programs, links=links
    )
    return tmp_path


@pytest.mark.nomad
def test_driver_takes_over_by_a_reboot(
    site: Site, driver: Path, nomad_program: str, device_plugin_program: str
) -> None:
    """The host reboots for real, is waited for, and is enrolled in the same run; without leave to reboot it is not."""
    assert all((nomad_program, device_plugin_program))
    machine = site.fleet.machines[2]
    prepare = {"driver": "550", "packages": str(driver)}
    promised = {"gpus": {"count": 1}, "checks": UNPROVEN}
    refused = enroll(site, machine, prepare=prepare, **promised)
    assert ending(refused, machine) == "reboot_needed", refused.stderr
    before = machine.run("cat /proc/sys/kernel/random/boot_id").stdout
    site.write([machine], prepare={**prepare, "reboot": True}, **promised)
    argv = site.argv("enroll", str(site.inventory), "--yes", "-o", "ndjson", "--timeout", "30")
    with subprocess.Popen(
        site.fleet.controller_argv(argv),
        env=site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        machine.follow_reboot(REBOOT_TIMEOUT_S)
        stdout, stderr = run.communicate(timeout=300)
    types = [json.loads(line).get("type") for line in stdout.splitlines()]
    assert (run.returncode, types.count("host_rebooting")) == (0, 1), (stdout[-3000:], stderr)
    assert machine.run("cat /proc/sys/kernel/random/boot_id").stdout != before
    assert checked(site).exit_code == 0


def ending(done: Finished, machine: Machine) -> str:
    """The code with which a host failed in the step of preparations."""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (outcome,) = [
        e["outcome"] for e in events if e.get("type") == "host_finished" and e["host"] == machine.name
    ]
    assert outcome["problem"]["step"] == "prepare"
    return str(outcome["problem"]["code"])


def test_firewall_that_drops_all_lets_the_region_through(site: Site, tmp_path: Path) -> None:
    """Debian's nftables in the guest's own network: the rule works now, and stands in the file for the next boot."""
    machine = site.fleet.machines[1]
    try:
        debs.download(tmp_path, base_root(), "nftables")
    except RuntimeError as error:
        pytest.skip(f"no real packages: {error}")
    folder = machine.root / "opt/debs"
    folder.mkdir(exist_ok=True)
    for package in tmp_path.glob("*.deb"):
        (folder / package.name).write_bytes(package.read_bytes())
    machine.run("dpkg -i /opt/debs/*.deb")
    (machine.root / "etc/nftables.conf").write_text(RULES)
    if machine.run("nft -f /etc/nftables.conf", check=False).returncode != 0:
        pytest.skip("this machine's kernel has no nftables")
    machine.run("systemctl enable nftables.service")
    try:
        done = enroll(site, machine, prepare={"firewall": True})
        rested = checked(site)
        machine.run("nft -f /etc/nftables.conf")
        reloaded = checked(site)
    finally:
        machine.run("nft flush ruleset; systemctl disable nftables.service; rm /etc/nftables.conf")
    assert done.exit_code == 0, (changes(done), done.stderr)
    assert changes(done) == [["firewall", "nftables lets TCP 4647 out, now and at boot"]]
    assert (rested.exit_code, reloaded.exit_code) == (0, 0)
