"""One host as the inventory describes it, with defaults and group merged in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.outcome import Severity
from ionetctl.core.model.secret import SecretRef

if TYPE_CHECKING:
    from collections.abc import Mapping


Become = Literal["auto", "root", "sudo"]
Close = Literal["off", "key"]
Overclocks = Literal["reset", "keep"]


@dataclass(frozen=True, slots=True)
class Jump:
    """One jump host; equal jumps share one connection. ``None`` leaves the choice to the SSH configuration."""

    address: str
    port: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How a host is reached. ``None`` (or empty) means: not in the inventory, so ``~/.ssh/config`` decides.

    ``host_keys`` are full public keys (``ssh-ed25519 AAAA…``) or ``SHA256:`` fingerprints; where there is one,
    known_hosts is not used. ``host_authorities`` are the public keys of CAs whose host certificates are accepted, beside
    those of known_hosts. ``jump`` is a chain, nearest hop first; an empty chain means "directly", ``None``
    leaves it to the SSH configuration. ``become``: ``root`` logs in as root, ``sudo`` insists on sudo, ``auto``
    uses sudo unless the login is root already. ``close``: with ``key`` the key that logged in is taken out of the
    account's ``authorized_keys`` once the region has confirmed the node.
    """

    user: str | None = None
    port: int | None = None
    identities: tuple[str, ...] = ()
    passphrase: SecretRef | None = None
    certificate: str | None = None
    password: SecretRef | None = None
    jump: tuple[Jump, ...] | None = None
    host_keys: tuple[str, ...] = ()
    host_authorities: tuple[str, ...] = ()
    become: Become = "auto"
    become_password: SecretRef | None = None
    agent: bool = True
    close: Close = "off"

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret that reaching the host may need."""
        named = (self.passphrase, self.password, self.become_password)
        return tuple(each for each in named if each is not None)


@dataclass(frozen=True, slots=True)
class GpuPromise:
    """The GPUs that the inventory promises: ``model`` as written (a short form), ``count`` ``None`` when unknown."""

    model: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """The least CPU and memory of the host; checked by the survey."""

    cpu_cores: int | None = None
    memory_gib: float | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is held back from jobs. ``gpus`` are UUIDs or NVML indices as text."""

    cpu_cores: int | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RigPromise:
    """What the panel of a mining system calls the host; ``meta`` writes what the survey sees of it into the node's meta."""

    id: str | None = None
    name: str | None = None
    meta: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """Where the host is located; becomes client meta."""

    country: str | None = None
    city: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """The bandwidth of the host's network connection; becomes client meta."""

    mbps: int | None = None


@dataclass(frozen=True, slots=True)
class CheckRule:
    """The inventory's rule for one check: another severity, or a waiver. ``reason`` is recorded with every finding."""

    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """What an apply may do to a host so that it can be enrolled. All off unless the inventory asks.

    ``driver`` is a driver branch of the distribution (``550``); ``packages`` a directory (absolute) of ``.deb`` files
    for sites without internet access; ``reboot`` allows the reboot that a new driver needs. ``overclocks``: whether
    ``stop_miner`` sets clocks and power limits that a mining system changed back to default, as it does where this is ``None``.
    """

    docker: bool = False
    docker_userns: bool = False
    container_toolkit: bool = False
    cni: bool = False
    driver: str | None = None
    modules: bool = False
    time_sync: bool = False
    firewall: bool = False
    persistence: bool = False
    stop_miner: bool = False
    overclocks: Overclocks | None = None
    reboot: bool = False
    packages: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Limits of ``region: auto``: the regions that may be chosen (all where empty) and the longest round trip."""

    regions: tuple[RegionName, ...] = ()
    max_rtt_ms: float | None = None


AUTO_REGION = RegionName("auto")
"""A host's region in the inventory where the survey chooses it."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the inventory, with defaults and group merged in."""

    name: HostName
    address: str
    region: RegionName
    datacenter: str
    rack: str | None = None
    node_pool: str = "default"
    node_class: str | None = None
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, CheckRule] = field(default_factory=dict)
    prepare: Prepare = field(default_factory=Prepare)
    placement: Placement = field(default_factory=Placement)
    gpus: GpuPromise = field(default_factory=GpuPromise)
    expect: Expect = field(default_factory=Expect)
    reserve: Reserve = field(default_factory=Reserve)
    rig: RigPromise = field(default_factory=RigPromise)
    location: Location = field(default_factory=Location)
    network: Network = field(default_factory=Network)
    ssh: SshSettings = field(default_factory=SshSettings)
    groups: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where SSH finds it by the inventory: address, port and jump hosts. Behind NAT or a jump host, addresses recur."""
        places = [
            (self.address, self.ssh.port),
            *((each.address, each.port) for each in reversed(self.ssh.jump or ())),
        ]
        return " via ".join(f"{address.rstrip('.').casefold()} port {port or 22}" for address, port in places)
