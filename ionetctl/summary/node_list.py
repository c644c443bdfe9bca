"""Nodes as their regions show them: the records and JSON documents of ``nodes list`` and ``nodes show``. Pure.

Must not know where nodes are read from or how they are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from ionetctl import gpu
from ionetctl.core import host_paths
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.summary.fleet import READY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.core.model.node import Difference, NodeUse, NodeView, PlacedAllocation, RunningAllocation
    from ionetctl.summary.rollout_summary import Failure

LIST_SCHEMA: Final = "ionetctl.nodes.list/1"
NODE_SCHEMA: Final = "ionetctl.node/1"


class Holder(StrEnum):
    """Who keeps new jobs from a node."""

    IONETCTL = "ionetctl"
    """It has not shown its GPUs: ``enroll`` or ``verify`` releases it once it does."""
    ADMIN = "admin"
    """By ``nodes exclude``."""
    DRAIN = "drain"
    """Its jobs are being moved away."""
    UNKNOWN = "unknown"
    """Somebody, by other means than ionetctl."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a node gets no new jobs; empty texts where that was not said or not read."""

    holder: Holder
    who: str = ""
    reason: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class JobOnNode:
    """A job, and how many of its allocations run on the node or are about to."""

    job: str
    namespace: str
    allocations: int


@dataclass(frozen=True, slots=True)
class GpusOfNode:
    """The GPUs of one standard name."""

    name: str
    count: int
    healthy: int


@dataclass(frozen=True, slots=True)
class ListedNode:
    """A host's node; without ``view`` there is a ``problem``: why its region does not show it.

    ``jobs`` is ``None`` where the region does not tell them, ``differences`` where no inventory was given. ``use`` is ``None``
    where it was not asked for, or not answered: then ``use_problem`` says why.
    """

    host: Host
    node_id: NodeId | None
    view: NodeView | None
    problem: Failure | None = None
    holds: tuple[Hold, ...] = ()
    jobs: tuple[JobOnNode, ...] | None = None
    differences: tuple[Difference, ...] | None = None
    use: NodeUse | None = None
    use_problem: str | None = None
    meta: Mapping[str, str] | None = None

    @property
    def status(self) -> str:
        """The status in the region, or ``unknown``."""
        return self.view.status if self.view else "unknown"

    @property
    def takes_jobs(self) -> bool:
        """Whether it is ready and eligible."""
        return self.view is not None and (self.view.status, self.view.eligibility) == (READY, ELIGIBLE)

    @property
    def gpus(self) -> tuple[GpusOfNode, ...]:
        """Its GPUs by standard name."""
        found: dict[str, GpusOfNode] = {}
        for device in (self.view.devices if self.view else None) or ():
            if device.type == "gpu":
                name = gpu.standard_name(device.name, device.memory_mib)
                known = found.get(name, GpusOfNode(name, 0, 0))
                found[name] = GpusOfNode(name, known.count + len(device.ids), known.healthy + device.healthy)
        return tuple(found[name] for name in sorted(found))


@dataclass(frozen=True, slots=True)
class NodeReport:
    """All nodes that were asked for; ``untold`` are regions that do not tell their jobs, with the reason."""

    nodes: tuple[ListedNode, ...]
    untold: Mapping[RegionName, str] = field(default_factory=dict)

    @property
    def unanswered(self) -> Mapping[RegionName, str]:
        """The regions that did not answer, with the reason."""
        return {
            node.host.region: node.problem.message
            for node in self.nodes
            if node.problem and node.problem.code != "node_unknown"
        }

    def held_by(self, holder: Holder) -> int:
        """How many nodes somebody keeps from jobs."""
        return sum(any(hold.holder is holder for hold in node.holds) for node in self.nodes)


def holds_of(view: NodeView, meta: Mapping[str, str]) -> tuple[Hold, ...]:
    """Why a node gets no new jobs, by the marks in its metadata; nothing for one that does."""
    if view.eligibility == ELIGIBLE:
        return ()
    admission, holds = meta.get(host_paths.ADMISSION_KEY, ""), []
    _, _, code = admission.partition(": ")
    if admission and admission != host_paths.RELEASED:
        said = meta.get(host_paths.ADMISSION_REASON_KEY, "")
        reason = ": ".join(part for part in (code, said) if part)
        holds.append(Hold(Holder.IONETCTL, "", reason or "it is new and not proved yet"))
    if who := meta.get(host_paths.EXCLUDED_BY_KEY):
        reason, since = (
            meta.get(host_paths.EXCLUDED_REASON_KEY, ""),
            meta.get(host_paths.EXCLUDED_AT_KEY, ""),
        )
        holds.append(Hold(Holder.ADMIN, who, reason, since))
    if view.is_draining:
        holds.append(Hold(Holder.DRAIN))
    return tuple(holds) or (Hold(Holder.UNKNOWN),)


def jobs_of(allocations: Iterable[RunningAllocation | PlacedAllocation]) -> tuple[JobOnNode, ...]:
    """The jobs of a node's allocations, by namespace and name."""
    counts = Counter((each.namespace, each.job) for each in allocations)
    return tuple(JobOnNode(job, namespace, count) for (namespace, job), count in sorted(counts.items()))


def list_document(report: NodeReport) -> dict[str, Any]:
    """The ``nodes list -o json`` document."""
    gpus: Counter[str] = Counter()
    for node in report.nodes:
        gpus.update({one.name: one.healthy for one in node.gpus})
    return {
        "schema": LIST_SCHEMA,
        "summary": {
            "nodes": len(report.nodes),
            "ready": sum(node.status == READY for node in report.nodes),
            "take_jobs": sum(node.takes_jobs for node in report.nodes),
            "held": report.held_by(Holder.IONETCTL),
            "excluded": report.held_by(Holder.ADMIN),
            "draining": report.held_by(Holder.DRAIN),
            "differing": sum(bool(node.differences) for node in report.nodes),
            "allocations": sum(job.allocations for node in report.nodes for job in node.jobs or ()),
            "gpus": dict(sorted(gpus.items())),
        },
        "nodes": [node_row(node) for node in report.nodes],
        "unanswered": _reasons(report.unanswered),
        "untold": _reasons(report.untold),
        "error": None,
    }


def _reasons(regions: Mapping[RegionName, str]) -> list[dict[str, str]]:
    return [{"region": name, "message": reason} for name, reason in regions.items()]


def node_row(node: ListedNode) -> dict[str, Any]:
    """One node of the list."""
    host, view = node.host, node.view
    return {
        "name": host.name,
        "node_id": node.node_id,
        "region": host.region,
        "datacenter": view.datacenter if view else host.datacenter,
        "rack": host.rack,
        "node_pool": view.node_pool if view else host.node_pool,
        "status": node.status,
        "eligibility": view.eligibility if view else None,
        "holds": [
            {"holder": hold.holder, "who": hold.who, "reason": hold.reason, "since": hold.since}
            for hold in node.holds
        ],
        "jobs": None
        if node.jobs is None
        else [
            {"job": job.job, "namespace": job.namespace, "allocations": job.allocations} for job in node.jobs
        ],
        "drivers": list(view.drivers_healthy) if view else None,
        "gpus": [{"name": one.name, "count": one.count, "healthy": one.healthy} for one in node.gpus]
        if view
        else None,
        "version": view.version if view else None,
        "certificate_expires_at": None,
        "differences": None
        if node.differences is None
        else [
            {"what": each.what, "expected": each.expected, "found": each.found} for each in node.differences
        ],
        "use": asdict(node.use) if node.use else None,
        "use_error": node.use_problem,
        "error": error_row(node.problem),
    }


def error_row(failure: Failure | None) -> dict[str, str] | None:
    """A failure as documents have it."""
    if failure is None:
        return None
    return {"code": failure.code, "message": failure.message, "hint": failure.hint}


def exit_code_of(node: ListedNode) -> ExitCode:
    """0 for a node that its region shows, else 8."""
    return ExitCode.UNVERIFIED if node.problem else ExitCode.OK


def node_document(node: ListedNode) -> dict[str, Any]:
    """The ``nodes show -o json`` document."""
    view = node.view
    resources = view.resources if view else None
    return {
        "schema": NODE_SCHEMA,
        "exit_code": int(exit_code_of(node)),
        **node_row(node),
        "address": view.address if view else node.host.address,
        "node_class": view.node_class if view else node.host.node_class,
        "resources": asdict(resources) if resources else None,
        "meta": dict(sorted(node.meta.items())) if node.meta is not None else None,
    }
