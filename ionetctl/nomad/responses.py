"""Nomad's API responses, from JSON to records: strict in the types of known fields, ignoring unknown ones.

It knows the JSON of Nomad's responses and nothing of HTTP. Names and devices in them come from hosts, so they are made
printable and cut to ``TEXT_LIMIT`` characters here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final, TypeVar

import msgspec

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import (
    Amounts,
    Device,
    DrainSpec,
    Heartbeats,
    IntroductionToken,
    LastDrain,
    NodeDetail,
    NodeMeta,
    NodeResources,
    NodeView,
    RegionServer,
    SystemJob,
)
from ionetctl.core.sanitize import harmless

TEXT_LIMIT: Final = 256
EXCERPT_CHARS: Final = 200
LEAST_TOKEN_CHARS: Final = 16
"""Nomad's are UUIDs."""
_JWT_LIMIT: Final = 16_384
_NS_PER_S: Final = 1_000_000_000
_MIB_PER: Final[dict[str, int]] = {"MiB": 1, "GiB": 1024}
_DRAIN: Final = "Drain"
"""The subsystem of a node's events that are about drains."""
_RUNTIMES: Final = "driver.docker.runtimes"
DEFAULT_HEARTBEATS: Final = Heartbeats(
    min_ttl_s=10.0, max_per_second=50.0, failover_ttl_s=300.0, grace_s=10.0
)
"""The defaults of Nomad's servers (nomad/config.go, ``DefaultConfig``)."""
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")

_Document = TypeVar("_Document")


Number = Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)]
"""More than any number of Nomad's that ionetctl calculates with, durations in nanoseconds aside."""
_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
LEAST_HEARTBEATS: Final = 0.001
"""A second; fewer are no setting, and the intervals that follow from them no numbers."""


# A list of nodes is a million records, none of which refers back to what holds it: with ``gc=False`` Python's collector does
# not follow them.
class _Measure(msgspec.Struct, rename="pascal", gc=False):
    number: Number | None = msgspec.field(name="Int", default=None)
    unit: str = ""


class _Instance(msgspec.Struct, rename="pascal", gc=False):
    id: str = msgspec.field(name="ID")
    healthy: bool = False


class _DeviceGroup(msgspec.Struct, rename="pascal", gc=False):
    vendor: str
    type: str
    name: str
    instances: list[_Instance] | None = None
    attributes: dict[str, _Measure] | None = None


class _Cpu(msgspec.Struct, rename="pascal", gc=False):
    cpu_shares: Number = 0
    """MHz of all cores together."""
    total_cpu_cores: Number = 0
    reserved_cpu_cores: list[Number] | None = None


class Memory(msgspec.Struct, gc=False):
    """Memory in MiB, which Nomad calls MB."""

    mib: Number = msgspec.field(name="MemoryMB", default=0)


class Disk(msgspec.Struct, gc=False):
    """Disk in MiB, likewise."""

    mib: Number = msgspec.field(name="DiskMB", default=0)


class _Resources(msgspec.Struct, rename="pascal", gc=False):
    devices: list[_DeviceGroup] | None = None
    cpu: _Cpu | None = None
    memory: Memory | None = None
    disk: Disk | None = None

    @property
    def amounts(self) -> Amounts:
        return Amounts(
            self.cpu.cpu_shares if self.cpu else 0,
            self.memory.mib if self.memory else 0,
            self.disk.mib if self.disk else 0,
        )


class _Driver(msgspec.Struct, rename="pascal", gc=False):
    healthy: bool = False
    detected: bool = False
    attributes: dict[str, str] | None = None


class NodeStub(msgspec.Struct, rename="pascal", gc=False):
    """A row of ``GET /v1/nodes``."""

    id: str = msgspec.field(name="ID")
    name: str
    datacenter: str
    status: str
    scheduling_eligibility: str
    address: str = ""
    """Absent in a whole node, which has HTTPAddr."""
    node_pool: str = "default"
    """Absent before Nomad 1.6."""
    node_class: str = ""
    version: str = ""
    drain: bool = False
    drivers: dict[str, _Driver] | None = None
    node_resources: _Resources | None = None
    reserved_resources: _Resources | None = None


class _DrainStrategy(msgspec.Struct, rename="pascal"):
    deadline_ns: Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)] = msgspec.field(
        name="Deadline", default=0
    )
    ignore_system_jobs: bool = False


class _LastDrain(msgspec.Struct, rename="pascal"):
    status: str = ""
    started_at: str = ""
    meta: dict[str, str] | None = None


class _NodeEvent(msgspec.Struct, rename="pascal"):
    subsystem: str = ""
    message: str = ""
    details: dict[str, str] | None = None


class WholeNode(NodeStub, rename="pascal", gc=False):
    """The part of ``GET /v1/node/:id`` that ionetctl uses; ``meta`` is static and dynamic metadata merged."""

    meta: dict[str, str] | None = None
    attributes: dict[str, str] | None = None
    drain_strategy: _DrainStrategy | None = None
    last_drain: _LastDrain | None = None
    events: list[_NodeEvent] | None = None


class ClientMetadata(msgspec.Struct, rename="pascal"):
    """The answer of ``GET /v1/client/metadata``."""

    static: dict[str, str] | None = None
    dynamic: dict[str, str | None] | None = None


class JobStub(msgspec.Struct, rename="pascal"):
    """A row of ``GET /v1/jobs``."""

    id: str = msgspec.field(name="ID")
    namespace: str = "default"
    datacenters: list[str] | None = None
    node_pool: str = "default"
    stop: bool = False


class Pool(msgspec.Struct, rename="pascal"):
    """A row of ``GET /v1/node/pools``."""

    name: str


class MintedToken(msgspec.Struct):
    """The answer of ``POST /v1/acl/identity/client-introduction-token``."""

    jwt: str = msgspec.field(name="JWT")


class _ClientIntroduction(msgspec.Struct, rename="pascal"):
    enforcement: str


class _ServerConfig(msgspec.Struct, rename="pascal"):
    client_introduction: _ClientIntroduction | None = None
    min_heartbeat_ttl_ns: _Nanoseconds = msgspec.field(name="MinHeartbeatTTL", default=0)
    max_heartbeats_per_second: float = 0.0
    failover_heartbeat_ttl_ns: _Nanoseconds = msgspec.field(name="FailoverHeartbeatTTL", default=0)
    heartbeat_grace_ns: _Nanoseconds = msgspec.field(name="HeartbeatGrace", default=0)

    def __post_init__(self) -> None:
        if self.max_heartbeats_per_second and self.max_heartbeats_per_second < LEAST_HEARTBEATS:
            raise ValueError("MaxHeartbeatsPerSecond is too small")


class _Limits(msgspec.Struct):
    rpc_max_conns_per_client: Number | None = msgspec.field(name="RPCMaxConnsPerClient", default=None)


class _AgentConfig(msgspec.Struct, rename="pascal"):
    region: str = ""
    server: _ServerConfig | None = None
    limits: _Limits | None = None


class AgentSelf(msgspec.Struct):
    """The part of ``GET /v1/agent/self`` that matters; it is the answering server's own configuration."""

    config: _AgentConfig

    @property
    def enforcement(self) -> str | None:
        """How introductions are enforced (``none``, ``warn``, ``strict``), or ``None`` before Nomad 1.11."""
        server = self.config.server
        known = server.client_introduction if server else None
        return printable(known.enforcement) if known else None

    @property
    def connections_per_client(self) -> int | None:
        """How many connections the server accepts from one address; ``None`` where the response has no limits."""
        return self.config.limits.rpc_max_conns_per_client if self.config.limits else None

    @property
    def heartbeats(self) -> Heartbeats | None:
        """The heartbeat settings, with Nomad's defaults for those that are 0; ``None`` where the response has none."""
        server = self.config.server
        if server is None:
            return None
        default = DEFAULT_HEARTBEATS
        return Heartbeats(
            server.min_heartbeat_ttl_ns / _NS_PER_S or default.min_ttl_s,
            server.max_heartbeats_per_second or default.max_per_second,
            server.failover_heartbeat_ttl_ns / _NS_PER_S or default.failover_ttl_s,
            server.heartbeat_grace_ns / _NS_PER_S or default.grace_s,
        )


class _Member(msgspec.Struct, rename="pascal"):
    status: str
    tags: dict[str, str]
    name: str = ""

    @property
    def rpc_address(self) -> str:
        """Where the server takes RPC, as the leader's address is written."""
        host, port = self.tags.get("rpc_addr", ""), self.tags.get("port", "")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Members(msgspec.Struct, rename="pascal"):
    """The answer of ``GET /v1/agent/members``: the servers of all federated regions."""

    members: list[_Member]

    def builds(self, region: str) -> list[str]:
        """The versions of the servers of a region that are not gone."""
        return [
            printable(member.tags["build"])
            for member in self.members
            if member.status == "alive" and member.tags.get("region") == region and "build" in member.tags
        ]

    def servers(self, region: str, leader: str) -> tuple[RegionServer, ...]:
        """The servers of a region by name, those that are gone too; ``leader`` is the leader's RPC address."""
        found = [
            RegionServer(
                name=printable(member.name),
                address=printable(member.rpc_address),
                version=printable(member.tags.get("build", "")),
                status=printable(member.status),
                is_leader=member.status == "alive" and member.rpc_address == leader,
            )
            for member in self.members
            if member.tags.get("region") == region
        ]
        return tuple(sorted(found, key=lambda server: server.name))


class _Task(msgspec.Struct, rename="pascal"):
    driver: str


class _TaskGroup(msgspec.Struct, rename="pascal"):
    name: str
    tasks: list[_Task] | None = None


class _Job(msgspec.Struct, rename="pascal"):
    task_groups: list[_TaskGroup] | None = None
    type: str = ""


class Allocation(msgspec.Struct, rename="pascal"):
    """A row of ``GET /v1/node/:id/allocations``."""

    name: str
    client_status: str
    job_id: str = msgspec.field(name="JobID", default="")
    namespace: str = ""
    task_group: str = ""
    job: _Job | None = None

    @property
    def drivers(self) -> frozenset[str]:
        """The drivers of its tasks."""
        groups = (self.job.task_groups if self.job else None) or ()
        tasks = (task for group in groups if group.name == self.task_group for task in group.tasks or ())
        return frozenset(common(task.driver) for task in tasks)


class _Claims(msgspec.Struct):
    exp: int


def decoded(kind: type[_Document], body: bytes, what: str) -> _Document:
    """A JSON body as a record. Raises ``RegionError`` (``region_nonsense``), ``what`` naming the call."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deep"
    raise malformed(what, why)


def malformed(what: str, why: str) -> RegionError:
    """The error (``region_nonsense``) for a response that is not Nomad's."""
    hint = "regions.….api must name the region's Nomad servers, or a load balancer that passes TLS through to them"
    return RegionError("region_nonsense", f"{what} was not answered as Nomad does: {printable(why)}", hint)


def node_view(stub: NodeStub, *, with_devices: bool) -> NodeView:
    """A row of the node list as a record of the model."""
    return NodeView(
        id=NodeId(printable(stub.id)),
        name=printable(stub.name),
        address=printable(stub.address),
        datacenter=common(stub.datacenter),
        node_pool=common(stub.node_pool),
        node_class=common(stub.node_class),
        status=common(stub.status),
        eligibility=common(stub.scheduling_eligibility),
        version=common(stub.version),
        drivers_healthy=tuple(
            sorted([common(name) for name, driver in (stub.drivers or {}).items() if driver.healthy])
        ),
        devices=_devices(stub.node_resources) if with_devices else None,
        docker_runtimes=_docker_runtimes(stub.drivers or {}),
        is_draining=stub.drain,
        resources=_node_resources(stub) if with_devices else None,
    )


def _node_resources(stub: NodeStub) -> NodeResources | None:
    """What a node has. Whole cores that it holds back are counted by the time that they have: their MHz stand nowhere else."""
    found, reserved = stub.node_resources, stub.reserved_resources
    if found is None or found.cpu is None:
        return None
    held, cores = reserved.amounts if reserved else Amounts(), found.cpu.total_cpu_cores
    if reserved and reserved.cpu and reserved.cpu.reserved_cpu_cores and cores > 0:
        of_cores = found.cpu.cpu_shares * len(reserved.cpu.reserved_cpu_cores) // cores
        held = replace(held, cpu_mhz=max(held.cpu_mhz, of_cores))
    return NodeResources(cores, found.amounts, held)


def node_detail(node: WholeNode) -> NodeDetail:
    """A whole node as a record of the model."""
    return NodeDetail(
        node_view(node, with_devices=True),
        _printable_map(node.meta),
        _printable_map(node.attributes),
        _last_drain(node),
    )


def node_meta(found: ClientMetadata) -> NodeMeta:
    """A node's metadata as its agent has it."""
    dynamic = {
        printable(key): None if value is None else printable(value)
        for key, value in (found.dynamic or {}).items()
    }
    return NodeMeta(_printable_map(found.static), dynamic)


def system_job(job: JobStub) -> SystemJob:
    """A row of the list of jobs."""
    datacenters = tuple(printable(each) for each in job.datacenters or ())
    return SystemJob(printable(job.id), printable(job.namespace), datacenters, printable(job.node_pool))


def _last_drain(node: WholeNode) -> LastDrain | None:
    last, strategy = node.last_drain, node.drain_strategy
    if last is None:
        return None
    spec = DrainSpec(strategy.deadline_ns / _NS_PER_S, strategy.ignore_system_jobs) if strategy else None
    of_drain = [event for event in node.events or () if event.subsystem == _DRAIN]
    details = (of_drain[-1].details or {}) if of_drain else {}
    return LastDrain(
        printable(last.status),
        printable(last.started_at),
        _printable_map(last.meta),
        spec,
        deadline_passed=details.get("deadline_reached") == "true",
    )


def _printable_map(entries: dict[str, str] | None) -> dict[str, str]:
    return {printable(key): printable(value) for key, value in (entries or {}).items()}


def _docker_runtimes(drivers: dict[str, _Driver]) -> tuple[str, ...] | None:
    """Docker's runtimes, which its driver lists in one attribute with commas."""
    docker = drivers.get("docker")
    if docker is None or not docker.detected:
        return None
    listed = (docker.attributes or {}).get(_RUNTIMES, "")
    return tuple(sorted([common(name) for name in listed.split(",") if name]))


def _devices(resources: _Resources | None) -> tuple[Device, ...]:
    return tuple(_device(group) for group in (resources.devices if resources else None) or ())


def _device(group: _DeviceGroup) -> Device:
    instances = group.instances or []
    return Device(
        vendor=common(group.vendor),
        type=common(group.type),
        name=common(group.name),
        ids=tuple([printable(instance.id) for instance in instances]),
        healthy=sum([instance.healthy for instance in instances]),
        memory_mib=_mib((group.attributes or {}).get("memory")),
    )


def _mib(measure: _Measure | None) -> int | None:
    if measure is None or measure.number is None or measure.unit not in _MIB_PER:
        return None
    return measure.number * _MIB_PER[measure.unit]


def excerpt(body: bytes, secret: str) -> str:
    """The beginning of a refusal's text, fit to be shown.

    Without the secret, should it be repeated there, with or without what sanitizing takes out of its middle.
    """
    text = harmless(_without(secret, body.decode(errors="replace")), len(body))
    return _without(secret, text)[:EXCERPT_CHARS]


def _without(secret: str, text: str) -> str:
    return re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE) if is_secret(secret) else text


def is_secret(token: str) -> bool:
    """Whether a token is long enough to be one, and not a word in its place for a region without ACLs."""
    return len(token) >= LEAST_TOKEN_CHARS


def introduction_token(jwt: str) -> IntroductionToken:
    """An introduction token with its actual expiry: the region may have shortened the requested one.

    Raises ``RegionError`` (``region_nonsense``); its message shows nothing of the token.
    """
    match = _JWT.fullmatch(jwt)
    if match is None or len(jwt) > _JWT_LIMIT:
        raise malformed("the introduction token", "it is no JWT")
    payload = match.group(1)
    try:
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims
        )
        return IntroductionToken(jwt, datetime.fromtimestamp(claims.exp, UTC))
    except (msgspec.DecodeError, RecursionError, OverflowError, ValueError, OSError):
        pass  # raised below, so that the error has no context with the claims in it
    raise malformed("the introduction token", "its claims cannot be read")


def printable(text: str) -> str:
    """A host's or a server's text, sanitized and cut for display."""
    return harmless(text, TEXT_LIMIT)


def common(text: str) -> str:
    """As ``printable``, for what many nodes have in common: looked at once, and one text in memory for all of them."""
    return _printable_once(text) if len(text) <= TEXT_LIMIT else printable(text)


_printable_once: Final = lru_cache(maxsize=1024)(printable)
