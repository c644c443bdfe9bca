"""Rehearsal hosts behind real OpenSSH servers: the rehearsal's region, trees and agents, reached through ``sshd``.

The rehearsal serves SSH from Python, which costs more than what is measured. So ``sshd`` listens on the same loopback
addresses, on a port of its own, and gives each address the environment of its host. OpenSSH listens on 16 addresses at
most, so there is a server for every 16 hosts. It accepts the user who runs the bench, root or not.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.lab.host.ssh_server import HostPlan, LabHost
from ionetctl.lab.paths import LabPaths
from ionetctl.lab.rehearsal import lab_down, lab_up
from ionetctl.lab.site import LabSpec, plan_site
from tests.bench.machine_code import fill_releases
from tests.bench.meter import descendants
from tests.support.programs import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADDRESSES_PER_SERVER: Final = 16
"""``MAX_LISTEN_SOCKS`` of sshd.c."""
_START_S: Final = 20.0
_SETTLE_S: Final = 5.0
_SMALL_BYTES: Final = 128 << 10
_CONFIG: Final = """\
Port {port}
{listen}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PrintMotd no
MaxStartups 1000
LogLevel ERROR
Subsystem sftp internal-sftp
{matches}
"""
_LAB_PORT: Final = re.compile(r"user: miner, port: \d+")
_ONE_KEY: Final = (
    "  checks: {host_key_doubled: {severity: waived, reason: one sshd stands for all of them}}\n"
)
_LAB_KEY: Final = re.compile(r'host_key: "[^"]+"')


@dataclass(frozen=True, slots=True)
class SshHost:
    """One host: where it listens, and the directory that stands for its ``/``."""

    name: str
    address: str
    tree: Path


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts that serve. ``inventory`` names them by the servers' port, key and user; all have one host key."""

    directory: Path
    inventory: Path
    hosts: tuple[SshHost, ...]
    port: int
    user: str
    identity: Path
    host_key: str
    servers: tuple[int, ...]
    agents: tuple[int, ...]

    def cpu_s(self) -> float:
        """The CPU that the hosts have used: their SSH servers and all that these started, their agents and supervisors.

        Waits, for a few seconds at most, until sessions that have just been left are over: only then do they count.
        """
        until = time.monotonic() + _SETTLE_S
        while any(map(descendants, self.servers)) and time.monotonic() < until:
            time.sleep(0.05)
        return sum(map(_cpu_s, (*self.servers, *self.agents)))

    @property
    def known_hosts(self) -> Path:
        """A known_hosts file of all of them."""
        return self.directory / "sshd/known_hosts"


def has_sshd() -> bool:
    """Whether this machine has an OpenSSH server."""
    return path_of("sshd") is not None


@contextlib.contextmanager
def fleet(directory: Path, hosts: int, program_bytes: int = 0) -> Iterator[Fleet]:
    """A rehearsal that is reached through real OpenSSH servers, for as long as the block lasts.

    With ``program_bytes`` its stand-in for Nomad has so many bytes of machine code; otherwise it is small, so that a payload costs next to nothing.
    """
    spec = LabSpec(
        hosts=hosts, directory=directory / "lab", program_bytes=1 if program_bytes else _SMALL_BYTES
    )
    lab = lab_up(spec)
    try:
        if program_bytes:
            fill_releases(LabPaths(lab.directory).artifacts, program_bytes)
        agents = tuple(pid for name, pid in lab.pids.items() if name != "region")
        with _sshd(spec, LabPaths(lab.directory), agents) as running:
            yield running
    finally:
        lab_down(spec.directory)
        shutil.rmtree(directory)


@contextlib.contextmanager
def _sshd(spec: LabSpec, paths: LabPaths, agents: tuple[int, ...]) -> Iterator[Fleet]:
    folder = paths.root / "sshd"
    folder.mkdir(mode=0o755)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "host_key")
    (folder / "host_key").chmod(0o600)
    identity = asyncssh.read_private_key(paths.identity)
    identity.write_public_key(folder / "authorized_keys")
    public = " ".join(key.export_public_key().decode().split()[:2])
    hosts = tuple(SshHost(host.name, host.address, paths.tree(host.name)) for host in plan_site(spec))
    user = pwd.getpwuid(os.getuid()).pw_name
    port = _free_port(hosts[0].address)
    (folder / "known_hosts").write_text("".join(f"[{host.address}]:{port} {public}\n" for host in hosts))
    inventory = paths.root / "through-sshd.yaml"
    text = _LAB_PORT.sub(f"user: {user}, become: sudo, port: {port}", paths.inventory.read_text())
    text = text.replace("\ndefaults:\n", f"\ndefaults:\n{_ONE_KEY}")
    inventory.write_text(_LAB_KEY.sub(f'host_key: "{public}"', text))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        groups = [hosts[at : at + ADDRESSES_PER_SERVER] for at in range(0, len(hosts), ADDRESSES_PER_SERVER)]
        servers = tuple(
            stack.enter_context(_server(folder, str(number), chosen, port, paths))
            for number, chosen in enumerate(groups)
        )
        for host in hosts:
            _wait_listening(host.address, port)
        yield Fleet(paths.root, inventory, hosts, port, user, paths.identity, public, servers, agents)


@contextlib.contextmanager
def _server(folder: Path, name: str, hosts: Sequence[SshHost], port: int, paths: LabPaths) -> Iterator[int]:
    config = folder / f"{name}.conf"
    listen = "\n".join(f"ListenAddress {host.address}" for host in hosts)
    matches = "\n".join(_match(host, paths) for host in hosts)
    config.write_text(_CONFIG.format(port=port, listen=listen, folder=folder, matches=matches))
    process = subprocess.Popen(
        [str(path_of("sshd")), "-D", "-E", str(folder / f"{name}.log"), "-f", str(config)],
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _match(host: SshHost, paths: LabPaths) -> str:
    """The part of a server's configuration that gives commands on an address the environment of its host."""
    variables = LabHost(HostPlan(host.name, host.address, 0, "", ""), paths).environment()
    listed = " ".join(f'"{name}={value}"' for name, value in variables.items())
    return f"Match LocalAddress {host.address}\n  SetEnv {listed}"


def _cpu_s(process: int) -> float:
    """User and system time of a process and of the children that it has waited for (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _free_port(address: str) -> int:
    with socket.socket() as listening:
        listening.bind((address, 0))
        return int(listening.getsockname()[1])


def _wait_listening(address: str, port: int) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
