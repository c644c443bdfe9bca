"""The frozen records that flow from inventory to outcome. No I/O, no parsing, no defaults that hide a decision.

Sizes carry their unit in the name. A field that may be unknown is ``None``, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NewType

from ionetctl.observed import Surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ionetctl.observed import SeenGpu

HostName = NewType("HostName", str)
NodeId = NewType("NodeId", str)
RolloutId = NewType("RolloutId", str)
Digest = NewType("Digest", str)
"""A SHA-256 in lower-case hexadecimal, without a prefix."""
RegionName = NewType("RegionName", str)

Architecture = Literal["amd64", "arm64"]
SecretSource = Literal["env", "file", "keyring", "vault"]
Introduction = Literal["auto", "required", "off"]
Naming = Literal["as-written", "unique"]
Become = Literal["auto", "root", "sudo"]


# --- the site, as its inventory says ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is to be had; never the secret.

    ``locator`` is the variable's name (env), the path (file; absolute once loaded), ``service/user`` (keyring) or
    ``mount/path#field`` (vault).
    """

    source: SecretSource
    locator: str

    def __str__(self) -> str:
        return f"{self.source}:{self.locator}"


@dataclass(frozen=True, slots=True)
class Jump:
    """One jump host; equal jumps share one connection. ``None`` leaves the choice to the SSH configuration."""

    address: str
    port: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How a host is reached. ``None`` (or empty) means: the inventory is silent, so ``~/.ssh/config`` decides.

    ``host_keys`` are full public keys (``ssh-ed25519 AAAA…``) or ``SHA256:`` fingerprints; where there is one,
    known_hosts is not asked. ``jump`` is a chain, nearest hop first; an empty chain means "directly", ``None``
    leaves it to the SSH configuration. ``become``: ``root`` logs in as root, ``sudo`` insists on sudo, ``auto``
    uses sudo unless the login is root already.
    """

    user: str | None = None
    port: int | None = None
    identities: tuple[str, ...] = ()
    passphrase: SecretRef | None = None
    certificate: str | None = None
    password: SecretRef | None = None
    jump: tuple[Jump, ...] | None = None
    host_keys: tuple[str, ...] = ()
    become: Become = "auto"
    become_password: SecretRef | None = None
    agent: bool = True


@dataclass(frozen=True, slots=True)
class GpuPromise:
    """What the inventory says of GPUs: ``model`` as written (a short form), ``count`` ``None`` when unknown."""

    model: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """What the host was promised to have; confirmed by the survey."""

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
class Location:
    """Where the host stands; becomes client meta."""

    country: str | None = None
    city: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """What the host's line carries; becomes client meta."""

    mbps: int | None = None


@dataclass(frozen=True, slots=True)
class CheckRule:
    """What the site says of one check: another severity, or a waiver. ``reason`` is recorded with every finding."""

    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """What an apply may do to a host so that it can be enrolled. All off unless the inventory asks.

    ``driver`` is a driver branch of the distribution (``550``); ``packages`` a directory (absolute) of ``.deb`` files
    for sites without a way out; ``reboot`` allows the reboot that a new driver needs.
    """

    docker: bool = False
    container_toolkit: bool = False
    cni: bool = False
    driver: str | None = None
    modules: bool = False
    time_sync: bool = False
    firewall: bool = False
    persistence: bool = False
    stop_miner: bool = False
    reboot: bool = False
    packages: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """What limits ``region: auto``: the regions that may be chosen (all where empty) and the longest way there."""

    regions: tuple[RegionName, ...] = ()
    max_rtt_ms: float | None = None


AUTO_REGION = RegionName("auto")
"""A host's region as the inventory has it when the survey is to choose."""


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
    location: Location = field(default_factory=Location)
    network: Network = field(default_factory=Network)
    ssh: SshSettings = field(default_factory=SshSettings)
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadyPair:
    """A certificate file and where its private key is to be had."""

    cert: str
    key: SecretRef


@dataclass(frozen=True, slots=True)
class Issuer:
    """The region's CA, by which node certificates are issued here, each ``validity_days`` long at most."""

    cert: str
    key: SecretRef
    validity_days: int = 1825


@dataclass(frozen=True, slots=True)
class RegionTls:
    """TLS material of a region: paths are absolute once loaded.

    ``node`` is either an ``Issuer`` (a certificate per node) or a ``ReadyPair`` (the same for every node).
    ``server_name`` is what the API's certificate must bear. ``ca_pem`` is the CA's certificate itself where it is at
    hand already, as in the catalog; else the file ``ca`` is read.
    """

    ca: str
    server_name: str
    client: ReadyPair | None
    node: Issuer | ReadyPair
    ca_pem: str | None = None


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """One Nomad region: its API addresses (https URLs), its servers' RPC addresses and our token there."""

    name: RegionName
    api: tuple[str, ...]
    servers: tuple[str, ...]
    token: SecretRef
    tls: RegionTls
    introduction: Introduction = "auto"
    capacity: int = 10_000


@dataclass(frozen=True, slots=True)
class NomadSettings:
    """Which releases the fleet gets, and where they come from.

    ``mirror`` is a directory (absolute) or base URL laid out as the vendor's release site; ``None`` is that site.
    """

    version: str
    device_plugin_version: str
    mirror: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """A whole site. ``source`` is what the user named it (a path or ``-``), ``directory`` what paths are relative to.

    ``digest`` is the SHA-256 of the text it was read from.
    """

    source: str
    directory: str
    digest: Digest
    naming: Naming
    regions: Mapping[RegionName, RegionSettings]
    nomad: NomadSettings
    hosts: tuple[Host, ...]


# --- what a host says of itself --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A regular file on a host: digest of its content, permission bits, owner as ``user:group``."""

    path: str
    digest: Digest
    mode: int
    owner: str


@dataclass(frozen=True, slots=True)
class Disk:
    """Room and rights where we write. ``path`` is the place asked for, ``kind`` its file system's type."""

    path: str
    available_mib: int
    kind: str
    is_read_only: bool
    is_noexec: bool


@dataclass(frozen=True, slots=True)
class NomadState:
    """The Nomad agent a host runs or has.

    ``is_ours`` is true when our manifest is there. ``agent_version`` is what the installed program says,
    ``active`` systemd's word (``active``, ``inactive``, ``failed``, ``activating`` …), ``is_running`` whether any
    Nomad agent process was seen, whoever started it. ``allocations`` is the number of allocation directories.
    """

    is_ours: bool
    active: str
    is_enabled: bool
    is_running: bool
    agent_version: str | None
    node_id: NodeId | None
    stamp: str | None
    has_introduction_token: bool
    allocations: int
    is_interrupted: bool
    """An apply was cut off between its first change and its last."""
    config_files: tuple[str, ...] = ()
    """Every file in the configuration directory that the agent would read."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the survey found on one host. Sizes in MiB, time in seconds since the epoch (controller's and host's)."""

    os_id: str
    os_version: str
    os_name: str
    kernel: str
    architecture: str
    """``uname -m`` as it came: ``x86_64``, ``aarch64`` …"""
    init: str
    """``systemd`` or the name of process 1."""
    is_root: bool
    clock_offset_s: float | None
    machine_id: str | None
    boot_id: str | None
    cpu_cores: int | None
    memory_mib: int | None
    disks: tuple[Disk, ...]
    gpus: tuple[SeenGpu, ...] | None
    """``None`` when nothing on the host could say."""
    gpu_source: str
    """Who said it, or why nobody could."""
    nomad: NomadState
    files: Mapping[str, RemoteFile]
    links: Mapping[str, str]
    manifest: Mapping[str, Digest]
    """Path → digest as we last installed it; empty where nothing of ours is."""
    node_certificate: str | None
    """The PEM chain that the node presents (public)."""
    lock_owner: str | None = None
    lock_started_at: str | None = None
    has_gzip: bool = True
    has_tar: bool = True
    around: Surroundings = Surroundings()  # noqa: RUF009  (frozen, and shared by all that know nothing of it)
    is_driver_hanging: bool = False
    driver_version: str | None = None
    """As NVML says it; ``around.driver`` is what files and kernel say."""
    cuda_version: str | None = None


# --- what a host should have -----------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What a managed path is; each kind is compared and installed in its own way."""

    FILE = "file"
    """Small text; compared by digest, sent whole."""
    PROGRAM = "program"
    """A release's executable; compared by digest, sent compressed."""
    CERTIFICATE = "certificate"
    """Minted per node; compared by meaning."""
    KEY = "key"
    """Belongs to the certificate beside it."""
    LINK = "link"
    """A symbolic link; compared by target."""


@dataclass(frozen=True, slots=True)
class Program:
    """A verified executable of the local cache, ready to be streamed.

    ``digest`` and ``size_bytes`` are those of the executable itself, ``packed_path`` is its gzip form on the
    controller, ``packed_bytes`` that file's size.
    """

    name: str
    version: str
    architecture: Architecture
    digest: Digest
    size_bytes: int
    packed_path: str
    packed_bytes: int


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One path that the host should have.

    ``content`` is the file's bytes (kind FILE), or empty where it is minted or streamed; ``target`` is a link's
    target; ``restarts`` says that the agent must be restarted to see a change of it.
    """

    path: str
    kind: Kind
    mode: int
    restarts: bool
    is_secret: bool = False
    owner: str = "root:root"
    content: bytes = b""
    digest: Digest = Digest("")
    program: Program | None = None
    target: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """All that a host should have. ``digest`` identifies it without stamp and minted material.

    The client configuration in ``files`` carries the placeholder of the stamp until the plan settles it:
    ``with_stamp`` in ``bundle`` fills it in.
    """

    host: HostName
    digest: Digest
    files: tuple[BundleFile, ...]


class Action(StrEnum):
    """What a change does."""

    CREATE = "create"
    UPDATE = "update"
    CHMOD = "chmod"
    MOVE_ASIDE = "move-aside"
    """A file that is not ours and that the agent would read: kept, out of its way."""
    RENEW = "renew"
    """A certificate with its key."""
    START = "start"
    RESTART = "restart"
    REGISTER = "register"
    """The region does not know the node: an introduction is needed."""
    RELEASE = "release"
    """The node was held, and proves its GPUs: it may have jobs."""
    PREPARE = "prepare"
    """The inventory's ``prepare`` asks for it; ``path`` names the preparation."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what a host should have and what it has; ``reason`` is for people."""

    action: Action
    path: str
    reason: str
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What changes in one text file, as the lines of a unified diff without line breaks."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be done on one host. Empty means converged.

    ``stamp`` is the one the client configuration carries after the plan was applied (or carries already).
    """

    host: HostName
    stamp: str
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the host is as it should be."""
        return not self.changes


# --- what a region says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Device:
    """A group of like devices of a node, as the region shows it."""

    vendor: str
    type: str
    name: str
    ids: tuple[str, ...]
    healthy: int
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the region lists it (``GET /v1/nodes``); ``devices`` only where resources were asked for."""

    id: NodeId
    name: str
    address: str
    datacenter: str
    node_pool: str
    node_class: str
    status: str
    eligibility: str
    version: str
    drivers_healthy: tuple[str, ...] = ()
    devices: tuple[Device, ...] | None = None
    docker_runtimes: tuple[str, ...] | None = None
    """Docker's runtimes as the node reports them; ``None`` where Docker is not detected."""

    @property
    def gpu_count(self) -> int | None:
        """How many GPUs the region sees, or ``None`` where devices were not asked for."""
        if self.devices is None:
            return None
        return sum(len(device.ids) for device in self.devices if device.type == "gpu")


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One node, whole (``GET /v1/node/:id``): static and dynamic meta merged, and when it registered first."""

    view: NodeView
    meta: Mapping[str, str]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegionServer:
    """A server of a region as its members list it; ``status`` is Serf's word (``alive``, ``failed``, ``left``)."""

    name: str
    address: str
    version: str
    status: str
    is_leader: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """How a region's servers have their clients beat: seconds, and beats a second over the whole region."""

    min_ttl_s: float
    max_per_second: float
    failover_ttl_s: float
    grace_s: float


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """What a region's preflight found. ``enforcement`` is ``None`` where our token may not look.

    So are ``connections_per_client`` and ``heartbeats``. ``certificate_expires_at`` is the end of the certificate
    that the API showed.
    """

    name: RegionName
    server_version: str
    enforcement: str | None
    pools: frozenset[str]
    connections_per_client: int | None = None
    servers: tuple[RegionServer, ...] = ()
    heartbeats: Heartbeats | None = None
    certificate_expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IntroductionToken:
    """A node's introduction: opaque to us but for its end. ``jwt`` is a secret; see ``secrets.Secret``."""

    jwt: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """A node's certificate chain in PEM (leaf first), and its private key in PEM, which is a secret."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)


# --- how it ends -----------------------------------------------------------------------------------------------------


class Severity(StrEnum):
    """How much a finding weighs."""

    WAIVED = "waived"
    """The site knows of it and said why it does not matter."""
    INFO = "info"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the survey shows that an admin should know; ``BLOCK`` keeps the host from being touched.

    ``exit_code`` is what a blocking finding earns its host. Where the inventory changed the severity, ``declared`` is
    the check's own and ``reason`` the site's words.
    """

    code: str
    severity: Severity
    message: str
    hint: str
    exit_code: int = 5
    declared: Severity | None = None
    reason: str = ""


class Result(StrEnum):
    """The outcomes that the contract names."""

    ENROLLED = "enrolled"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a host did not make it, and where it happened. ``exit_code`` is the one this problem earns."""

    code: str
    step: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one host ended. Durations in seconds; ``gpus_seen`` ``None`` when nobody could say."""

    host: HostName
    address: str
    region: RegionName
    datacenter: str
    result: Result
    node_id: NodeId | None = None
    gpus_expected: int | None = None
    gpus_seen: int | None = None
    duration_s: float = 0.0
    attempts: int = 0
    problem: Problem | None = None
    stamp: str = ""
    """The one that the region shows, where it confirmed the host."""
