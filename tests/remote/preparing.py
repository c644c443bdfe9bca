"""Preparations, really run under every shell: what is done to a host, and what the survey then says of it.

The host is looked at by the real survey before and after, so that what a preparation does and what asks for it agree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.host import GpuPromise, Prepare
from ionetctl.core.model.host import Host as InventoryHost
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.plan import Action, Change
from ionetctl.host.prepare import PreparePayload
from ionetctl.plan.prepare_steps import CNI_PLUGINS, needed_preparations, step_records, surveyed_paths
from ionetctl.remote import prepare_script, receive_script, restore_miner_script
from tests.remote.rehearsal import ROLLOUT, STANDINS, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.plan.packages import Package
    from ionetctl.plan.prepare_steps import Record


MINERS_UNDO: Final = "/var/lib/ionet/miners/undo"
"""The record of how miners were stopped; ``restore-miner`` renames it."""
SITE: Final = InventoryHost(HostName("g1"), "10.0.0.1", RegionName("r"), "dc", gpus=GpuPromise(None, 1))
PROGRAMS: Final = (
    *(
        "systemctl",
        "apt-get",
        "apt-cache",
        "apt-mark",
        "dpkg",
        "dpkg-query",
        "timedatectl",
        "modprobe",
        "modinfo",
    ),
    *("nvidia-smi", "ufw", "nft", "firewall-cmd", "iptables", "ip6tables", "netfilter-persistent"),
)
"""Stood for on a host of a test; docker and nvidia-ctk come with their packages, firewalls where a test has them."""
FIREWALLS: Final = frozenset({"ufw", "nft", "firewall-cmd", "iptables", "ip6tables", "netfilter-persistent"})
APPEARS: Final = 'ln -sf "$0" "$(dirname "$0")/{name}"'
DOCKER: Final = f"{APPEARS.format(name='docker')}\necho 'disabled inactive' >\"$state/units/docker.service\""


@dataclass(frozen=True)
class Reported:
    """What a preparation reported: its lines, each split at its tabs."""

    reports: list[list[str]]
    exit_status: int

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(report[1], report[2]) for report in self.reports if report[0] == "changed"]

    @property
    def error(self) -> tuple[str, str] | None:
        return next(((r[1], r[2]) for r in self.reports if r[0] == "error"), None)

    @property
    def reboot(self) -> str | None:
        return next((report[1] for report in self.reports if report[0] == "reboot"), None)

    @property
    def is_done(self) -> bool:
        return self.reports[-1] == ["done"]


def make_debian(host: Host) -> Host:
    """Make it a bare Debian host of the inventory's, with a card and no firewall."""
    shutil.rmtree(host.shims)
    host.shims.mkdir()
    for name in PROGRAMS:
        if name not in FIREWALLS:
            add(host, name)
    host.environment |= {"IONET_STANDINS": str(host.shims), "IONET_SETTLE_S": "3", "IONET_QUIET_S": "1"}
    for folder in ("units", "effects", "complaints"):
        host.path(f"/standin/{folder}").mkdir()
    host.write("/standin/time", "NTP=no\nNTPSynchronized=no\n")
    host.write(
        "/standin/offers", "docker.io 24.0.5\ncontainernetworking-plugins 1.1.1\nsystemd-timesyncd 252\n"
    )
    host.write("/standin/installed", "")
    host.write("/standin/persistence", "Disabled\n")
    host.write("/standin/effects/docker.io", DOCKER)
    host.write("/standin/effects/docker-ce", DOCKER)
    host.write("/standin/effects/nvidia-container-toolkit", APPEARS.format(name="nvidia-ctk"))
    host.write("/standin/effects/containernetworking-plugins", cni_effect())
    host.write("/etc/os-release", "ID=debian\nVERSION_ID=12\n")
    host.write("/proc/modules", "")
    host.path("/sys/module").mkdir(parents=True)
    host.path("/var").mkdir()
    return host


def cni_effect() -> str:
    made = "\n".join(
        f'echo "#!" >"$IONET_ROOT/usr/lib/cni/{name}"; chmod 755 "$IONET_ROOT/usr/lib/cni/{name}"'
        for name in (*CNI_PLUGINS, "vlan")
    )
    return f'mkdir -p "$IONET_ROOT/usr/lib/cni"\n{made}'


def add(host: Host, *names: str) -> None:
    """Give the host stand-ins for some programs."""
    for name in names:
        (host.shims / name).symlink_to(STANDINS / "debian")


def look(host: Host) -> Facts:
    """What the survey finds."""
    return host.survey(*surveyed_paths())


def changes_for(*names: str) -> tuple[Change, ...]:
    return tuple(Change(Action.PREPARE, name, "") for name in names)


def run(host: Host, records: tuple[Record, ...], packages: tuple[Package, ...] = ()) -> Reported:
    """Carry out records as the controller has it done: under the lock, from a tar on standard input."""
    done = send(host, records, packages)
    assert done.stderr == b""
    assert not host.path("/var/lib/ionet/lock").is_symlink()
    assert not host.path("/var/lib/ionet/staging").exists()
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert lines[0] == ["ready", "n0nce"]
    return Reported(lines[2:], done.returncode)


def send(
    host: Host, records: tuple[Record, ...], packages: tuple[Package, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    """Send records to be carried out, however that ends."""
    payload = PreparePayload(prepare_script(), restore_miner_script(), records, packages)
    identity = ("n0nce", ROLLOUT, "ada@ops", "2026-03-01T12:00:00Z", str(host.fence()), "-")
    return subprocess.run(
        host.argv("-c", receive_script(), "sh", *identity),
        input=b"".join((b"%d\n" % payload.size_bytes({}), *payload.blocks({}))),
        capture_output=True,
        env=host.environ(),
        timeout=60,
        check=False,
    )


def prepare(
    host: Host, asked: Prepare, packages: tuple[Package, ...] = (), *, facts: Facts | None = None
) -> Reported:
    """Do what the survey shows to be needed."""
    site = replace(SITE, prepare=asked)
    seen = facts or look(host)
    changes = needed_preparations(site, seen)
    allowed = ("reboot", "yes" if asked.reboot else "no")
    return run(host, (("limit", "20"), allowed, *step_records(site, seen, changes)), packages)


def still_needed(host: Host, asked: Prepare) -> list[tuple[str, str]]:
    """What the survey shows to be needed."""
    return [
        (change.path, change.reason)
        for change in needed_preparations(replace(SITE, prepare=asked), look(host))
    ]


def calls(host: Host, program: str) -> list[str]:
    """How a program was called."""
    called = host.read("/standin/calls").splitlines()
    return [line.removeprefix(f"{program} ") for line in called if line.startswith(f"{program} ")]


def installed(host: Host) -> list[str]:
    return [line.split()[0] for line in host.read("/standin/installed").splitlines()]


def assert_lasting(host: Host, asked: Prepare) -> None:
    """The survey needs nothing more, and the same done again changes nothing."""
    assert still_needed(host, asked) == []
    before = host.tree(besides=("standin",))
    site = replace(SITE, prepare=asked)
    names = [
        name
        for name in ("modules", "docker", "docker_userns", "container_toolkit", "cni", "time_sync")
        if getattr(asked, name)
    ]
    again = run(host, step_records(site, look(host), changes_for(*names)))
    assert (again.changes, again.is_done) == ([], True)
    assert host.tree(besides=("standin",)) == before


@contextlib.contextmanager
def shown(
    host: Host, *command: Path | str, name: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that the host shows among its own, once the kernel knows it by ``name``."""
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        host.path(f"/proc/{process.pid}").symlink_to(f"/proc/{process.pid}")
        deadline = time.monotonic() + 30
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != name and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def restore(host: Host, *, fails: bool = False) -> list[str]:
    """What ``restore-miner`` reports, line by line; where it fails, of what."""
    command = host.argv(str(host.path("/var/lib/ionet/restore-miner")))
    done = subprocess.run(
        command, capture_output=True, text=True, env=host.environ(), timeout=60, check=False
    )
    assert done.returncode == (1 if fails else 0), done.stderr
    return (done.stderr if fails else done.stdout).splitlines()
