"""How a node stands now, as its region and its agent say: what a change of the node is planned from. Sees ports and model only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError, RegionError
from ionetctl.core.model.node import ELIGIBLE, NodeMeta
from ionetctl.host.outcomes import OF_AGENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import LastDrain, NodeDetail, NodeView, RunningAllocation
    from ionetctl.core.ports import Region

DOWN: Final = "down"
REASON_CHARACTERS: Final = 200
"""The most that is kept of a reason in a node's metadata."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who keeps jobs from a node by ``nodes exclude``, since when (RFC 3339) and why, as it was recorded."""

    by: str
    at: str
    reason: str

    @property
    def meta(self) -> dict[str, str | None]:
        """What stands in the node's dynamic metadata."""
        return {
            host_paths.EXCLUDED_BY_KEY: self.by,
            host_paths.EXCLUDED_AT_KEY: self.at,
            host_paths.EXCLUDED_REASON_KEY: self.reason[:REASON_CHARACTERS] or None,
        }

    def __str__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"excluded by {self.by} at {self.at}{reason}"


NOT_EXCLUDED: Final[Mapping[str, str | None]] = dict.fromkeys(Exclusion("", "", "").meta)
"""What takes an exclusion out of a node's metadata."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A host's node; ``allocations`` run there now or are about to, ``reachable`` says that its agent answered."""

    host: Host
    detail: NodeDetail
    meta: NodeMeta
    reachable: bool
    allocations: tuple[RunningAllocation, ...] = ()

    @property
    def view(self) -> NodeView:
        """The node as its region lists it."""
        return self.detail.view

    @property
    def is_eligible(self) -> bool:
        """Whether the node may have new jobs."""
        return self.view.eligibility == ELIGIBLE

    @property
    def drain(self) -> LastDrain | None:
        """The drain that the node is in."""
        return self.detail.drain if self.view.is_draining else None

    @property
    def exclusion(self) -> Exclusion | None:
        """What ``nodes exclude`` left in the node's metadata."""
        meta = self.meta.merged
        if host_paths.EXCLUDED_BY_KEY not in meta:
            return None
        at, reason = meta.get(host_paths.EXCLUDED_AT_KEY, ""), meta.get(host_paths.EXCLUDED_REASON_KEY, "")
        return Exclusion(meta[host_paths.EXCLUDED_BY_KEY], at, reason)

    @property
    def hold(self) -> str | None:
        """Why ionetctl itself keeps jobs from the node: it has not proved what the inventory promises."""
        return None if self.is_eligible else self.mark_of_hold

    @property
    def mark_of_hold(self) -> str | None:
        """The reason that the node's metadata has of a hold; of a node that may have jobs somebody left it there."""
        meta = self.meta.merged
        admission = meta.get(host_paths.ADMISSION_KEY, host_paths.RELEASED)
        if admission == host_paths.RELEASED:
            return None
        return meta.get(host_paths.ADMISSION_REASON_KEY) or admission


async def look(region: Region, host: Host, node: NodeId, *, at_jobs: bool) -> NodeState:
    """The node as it stands now, with what runs there where that is asked for.

    Its metadata is its agent's, since the servers have a change some seconds later; theirs where the agent cannot be asked. Raises
    ``HostFailedError`` (``node_unknown``) where the region does not know the node, and what the region raises.
    """
    detail = await region.node(node)
    if detail is None:
        message = f"{host.region} does not know the node {node} any more"
        raise HostFailedError("node_unknown", message, "was it purged? enrol the host again")
    allocations = tuple(await region.allocations(node)) if at_jobs else ()
    try:
        if detail.view.status == DOWN:
            return NodeState(
                host, detail, NodeMeta(detail.meta, {}), reachable=False, allocations=allocations
            )
        meta = await region.metadata(node)
    except RegionError as error:
        if error.code not in OF_AGENT:
            raise
        return NodeState(host, detail, NodeMeta(detail.meta, {}), reachable=False, allocations=allocations)
    return NodeState(host, detail, meta, reachable=True, allocations=allocations)
