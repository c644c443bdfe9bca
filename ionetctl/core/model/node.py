"""A region and its nodes, as its servers report them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core.model.names import NodeId, RegionName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

ELIGIBLE: Final = "eligible"
"""The eligibility of a node that may have new allocations."""


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
class Amounts:
    """CPU time as the scheduler counts it, memory and disk."""

    cpu_mhz: int = 0
    memory_mib: int = 0
    disk_mib: int = 0


@dataclass(frozen=True, slots=True)
class NodeResources:
    """What a node has, and what of it its configuration holds back from jobs."""

    cpu_cores: int
    total: Amounts
    reserved: Amounts


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the region lists it (``GET /v1/nodes``); ``devices`` and ``resources`` only where resources were asked for."""

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
    is_draining: bool = False
    resources: NodeResources | None = None

    @property
    def gpu_count(self) -> int | None:
        """How many GPUs the region shows, or ``None`` where devices were not asked for."""
        if self.devices is None:
            return None
        return sum(len(device.ids) for device in self.devices if device.type == "gpu")


@dataclass(frozen=True, slots=True)
class DrainSpec:
    """How a node is drained: after ``deadline_s`` what is left is stopped (0: it never is, below 0: at once)."""

    deadline_s: float
    ignores_system_jobs: bool = False


@dataclass(frozen=True, slots=True)
class LastDrain:
    """The drain that a node is in, or was in last; ``status`` is ``draining``, ``complete`` or ``canceled``.

    ``meta`` is what was said with it. ``spec`` is ``None`` once it has ended; ``deadline_passed`` says that what was left was stopped then.
    """

    status: str
    started_at: str
    meta: Mapping[str, str]
    spec: DrainSpec | None = None
    deadline_passed: bool = False


@dataclass(frozen=True, slots=True)
class NodeDetail:
    """One node in full (``GET /v1/node/:id``); ``meta`` is static and dynamic metadata merged."""

    view: NodeView
    meta: Mapping[str, str]
    attributes: Mapping[str, str]
    drain: LastDrain | None = None


@dataclass(frozen=True, slots=True)
class NodeMeta:
    """A node's metadata as its agent has it: that of its configuration, and what was set since, ``None`` hiding a key."""

    static: Mapping[str, str]
    dynamic: Mapping[str, str | None]

    @property
    def merged(self) -> dict[str, str]:
        """The metadata in effect."""
        both: dict[str, str | None] = {**self.static, **self.dynamic}
        return {key: value for key, value in both.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SystemJob:
    """A system job of a region that is not stopped; ``datacenters`` may have wildcards."""

    id: str
    namespace: str
    datacenters: tuple[str, ...]
    node_pool: str


@dataclass(frozen=True, slots=True)
class RegionServer:
    """A server of a region as its members list it; ``status`` is Serf's (``alive``, ``failed``, ``left``)."""

    name: str
    address: str
    version: str
    status: str
    is_leader: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """The heartbeat settings of a region's servers: times in seconds, ``max_per_second`` for the whole region."""

    min_ttl_s: float
    max_per_second: float
    failover_ttl_s: float
    grace_s: float


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """The state of a region's servers.

    ``enforcement``, ``connections_per_client`` and ``heartbeats`` are ``None`` where our token may not read the agent's
    configuration. ``certificate_expires_at`` is that of the API's certificate.
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
    """A node's introduction token (``POST /v1/acl/identity/client-introduction-token``). ``jwt`` is a secret."""

    jwt: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """A node's certificate chain in PEM (leaf first), and its private key in PEM, which is a secret; empty where the host has made it."""

    chain_pem: bytes
    key_pem: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class RunningAllocation:
    """An allocation that runs on a node or is about to; ``drivers`` are its tasks', none where the region does not tell them."""

    name: str
    drivers: frozenset[str] = frozenset()
    job: str = ""
    namespace: str = ""
    job_type: str = ""


@dataclass(frozen=True, slots=True)
class PlacedAllocation:
    """An allocation that runs on ``node`` or is about to, and what it takes there; ``gpus`` are numbers by the name of the device."""

    name: str
    job: str
    namespace: str
    node: NodeId
    takes: Amounts
    gpus: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What one GPU does now; ``None`` where its plugin does not tell."""

    id: str
    name: str
    utilization_percent: int | None
    memory_used_mib: int | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What a node uses now (``GET /v1/client/stats``). The disk is that of the allocations' directory."""

    cpu_percent: float
    memory_used_mib: int
    memory_mib: int
    disk_used_mib: int
    disk_mib: int
    gpus: tuple[GpuUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a node is not as its inventory has it; ``found`` is ``None`` where it is not there."""

    what: str
    expected: str
    found: str | None


DOOR_NAMESPACE: Final = "ionet-maintenance"
"""The namespace of the maintenance door's job, the only one whose jobs may use ``exec``."""
DOOR_JOB: Final = "ionet-door"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace of a region: ``enabled`` are the task drivers that its jobs may use (``None``: all but ``disabled``)."""

    name: str
    enabled: frozenset[str] | None = None
    disabled: frozenset[str] = frozenset()

    def lets_run(self, driver: str) -> bool:
        """Whether a job there may use a task driver."""
        return driver not in self.disabled and (self.enabled is None or driver in self.enabled)

    @property
    def is_fenced(self) -> bool:
        """Whether its jobs may use docker alone. A list of what is refused is no fence: Nomad may learn another driver."""
        return self.enabled is not None and self.enabled - self.disabled <= {"docker"}


@dataclass(frozen=True, slots=True)
class SeenNamespaces:
    """The namespaces that our token sees; ``are_all``: its rights leave none of the region's out."""

    namespaces: tuple[Namespace, ...]
    are_all: bool


WordOutcome = Literal["applied", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class WordAnswer:
    """What a host answered to a word for its maintenance door; ``code`` is the stamp that it has now where it was applied."""

    serial: int
    outcome: WordOutcome
    code: str
    text: str
