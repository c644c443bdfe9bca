"""The fleet's state, from catalog and regions: the records and JSON documents of ``status`` and ``verify``. Pure.

Must not know where nodes are read from or how they are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.errors import ExitCode, worst
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.summary.rollout_summary import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.model.node import Amounts, NodeResources

READY: Final = "ready"
UNKNOWN: Final = "unknown"
"""The status of a node whose region was not asked, or does not list it."""

STATUS_SCHEMA: Final = "ionetctl.status/1"
VERIFY_SCHEMA: Final = "ionetctl.verify/1"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. ``status`` and ``eligibility`` are what the region reports, ``gpus`` its healthy GPUs by standard name."""

    name: HostName
    node_id: NodeId | None
    region: RegionName
    datacenter: str
    rack: str | None
    node_pool: str
    status: str
    eligibility: str | None
    gpus_expected: int | None
    gpus_seen: int | None
    enrolled_at: str | None
    last_seen_at: str | None
    gpus: Mapping[str, int]
    gpu_model: str | None = None
    """As the inventory has it."""
    gpus_probed: int | None = None
    """How many the latest rollout found on the host itself; ``gpus_seen`` is what the region shows."""
    resources: NodeResources | None = None
    takes: Amounts | None = None
    """What the allocations on it take, where that was asked for; ``gpus_taken`` are the GPUs by standard name."""
    gpus_taken: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_its_gpus(self) -> bool:
        """Whether as many GPUs are seen as are expected; also where one of the numbers is unknown."""
        return None in {self.gpus_seen, self.gpus_expected} or self.gpus_seen == self.gpus_expected

    @property
    def takes_jobs(self) -> bool:
        """Whether it is ready and, as far as its region says, eligible."""
        return self.status == READY and self.eligibility in {ELIGIBLE, None}


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that show the same; ``last_seen_at`` is that of the node seen longest ago, ``None`` where one never was."""

    first: NodeStatus
    names: tuple[HostName, ...]
    last_seen_at: str | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The fleet. ``silent`` are regions that did not answer, with the reason: their nodes are as last recorded.

    ``untold`` are regions that do not tell their allocations, where these were asked for.
    """

    nodes: tuple[NodeStatus, ...]
    silent: Mapping[RegionName, str]
    untold: Mapping[RegionName, str] = field(default_factory=dict)

    @property
    def ready(self) -> int:
        """How many nodes are ready."""
        return sum(node.status == READY for node in self.nodes)

    @property
    def unknown(self) -> int:
        """How many nodes no region spoke of: it was not asked, did not answer, or does not list them."""
        return sum(node.status == UNKNOWN for node in self.nodes)

    @property
    def error(self) -> Failure | None:
        """The error of a report for which regions were asked and none answered."""
        if not self.silent or any(node.region not in self.silent for node in self.nodes):
            return None
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.silent.items())
        message = f"no region could be asked, all is as last recorded: {reasons}"
        return Failure("no_region_reachable", message, "check the network from here to the regions' APIs")

    @property
    def gpus(self) -> Mapping[str, int]:
        """The GPUs of all nodes by standard name."""
        return count_gpus(self.nodes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a region shows an inventory's host as it should be; ``code`` is ``None`` where it does.

    ``is_by_name`` says that the node was found by name, pool and datacenter alone, which is weaker than by its id.
    """

    host: HostName
    region: RegionName
    node_id: NodeId | None
    code: str | None
    message: str
    hint: str
    is_by_name: bool = False
    exit_code: ExitCode = ExitCode.UNVERIFIED
    """What the host counts as where there is a ``code``; 6 where its region is not trusted."""
    version: str = ""
    """The Nomad that the node runs; empty where the region does not show it."""
    drivers: tuple[str, ...] = ()
    """The task drivers that its jobs may use now, as the region shows them."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All hosts of an inventory, in its order."""

    verdicts: tuple[Verdict, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 where every host is as it should be, else 8; 6 where a region is not trusted."""
        return worst({verdict.exit_code for verdict in self.verdicts if verdict.code is not None})


@dataclass(frozen=True, slots=True)
class Rack:
    """Sums over the nodes of a rack; ``gpus_expected`` counts those that are known."""

    datacenter: str
    rack: str | None
    nodes: int
    ready: int
    gpus_expected: int
    gpus_seen: int
    gpus: Mapping[str, int]


def count_gpus(nodes: Iterable[NodeStatus]) -> Mapping[str, int]:
    """GPUs by standard name over the nodes, sorted by name."""
    total: Counter[str] = Counter()
    for node in nodes:
        total.update(node.gpus)
    return dict(sorted(total.items()))


def group_alike(nodes: Iterable[NodeStatus]) -> tuple[NodeGroup, ...]:
    """The nodes by region, status, eligibility and GPUs; those that need a look come first."""
    groups: dict[tuple[object, ...], list[NodeStatus]] = {}
    for node in nodes:
        key = (node.region, node.status, node.eligibility, node.gpus_seen, node.gpus_expected)
        groups.setdefault(key, []).append(node)
    found = [
        NodeGroup(
            alike[0],
            tuple(node.name for node in alike),
            None
            if any(node.last_seen_at is None for node in alike)
            else min(str(node.last_seen_at) for node in alike),
        )
        for alike in groups.values()
    ]
    return tuple(sorted(found, key=lambda group: group.first.takes_jobs and group.first.has_its_gpus))


def by_rack(nodes: Iterable[NodeStatus]) -> tuple[Rack, ...]:
    """The racks, by datacenter and name; nodes without a rack come first in theirs."""
    racks: dict[tuple[str, str], list[NodeStatus]] = {}
    for node in nodes:
        racks.setdefault((node.datacenter, node.rack or ""), []).append(node)
    return tuple(_rack(datacenter, rack, racks[datacenter, rack]) for datacenter, rack in sorted(racks))


def _rack(datacenter: str, rack: str, nodes: list[NodeStatus]) -> Rack:
    return Rack(
        datacenter=datacenter,
        rack=rack or None,
        nodes=len(nodes),
        ready=sum(node.status == READY for node in nodes),
        gpus_expected=sum(node.gpus_expected or 0 for node in nodes),
        gpus_seen=sum(node.gpus_seen or 0 for node in nodes),
        gpus=count_gpus(nodes),
    )


def status_document(report: StatusReport) -> dict[str, Any]:
    """The contract's ``status -o json`` document. Nodes count as down that their region lists and that are not ready."""
    return {
        "schema": STATUS_SCHEMA,
        "summary": {
            "nodes": len(report.nodes),
            "ready": report.ready,
            "down": len(report.nodes) - report.ready - report.unknown,
            "unknown": report.unknown,
            "gpus": dict(report.gpus),
        },
        "nodes": [node_row(node) for node in report.nodes],
        **unanswered_keys(report),
    }


def unanswered_keys(report: StatusReport) -> dict[str, Any]:
    """What documents say of regions that did not answer: each with the reason, and the error where none did."""
    error = report.error
    return {
        "unanswered": [{"region": name, "message": reason} for name, reason in report.silent.items()],
        "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
    }


def node_row(node: NodeStatus) -> dict[str, Any]:
    """One node as the contract has it."""
    return {
        "name": node.name,
        "node_id": node.node_id,
        "region": node.region,
        "datacenter": node.datacenter,
        "rack": node.rack,
        "node_pool": node.node_pool,
        "status": node.status,
        "eligibility": node.eligibility,
        "gpus": {"expected": node.gpus_expected, "seen": node.gpus_seen, "probed": node.gpus_probed},
        "enrolled_at": node.enrolled_at,
        "last_seen_at": node.last_seen_at,
    }


def verify_document(report: VerifyReport) -> dict[str, Any]:
    """The ``verify -o json`` document."""
    confirmed = sum(verdict.code is None for verdict in report.verdicts)
    return {
        "schema": VERIFY_SCHEMA,
        "exit_code": int(report.exit_code),
        "summary": {
            "hosts": len(report.verdicts),
            "confirmed": confirmed,
            "unconfirmed": len(report.verdicts) - confirmed,
        },
        "hosts": [verdict_row(verdict) for verdict in report.verdicts],
        "error": None,
    }


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """One host of a verification."""
    error = None
    if verdict.code is not None:
        error = {"code": verdict.code, "message": verdict.message, "hint": verdict.hint}
    return {
        "name": verdict.host,
        "region": verdict.region,
        "node_id": verdict.node_id,
        "matched_by": "name" if verdict.is_by_name else "node_id",
        "error": error,
    }
