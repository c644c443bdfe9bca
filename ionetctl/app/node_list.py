"""What the regions say of nodes, without SSH: what ``nodes list`` and ``nodes show`` ask of them.

What is shown of the answers stands in ``summary.node_list``. Imports what only some calls need where they do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl.app.open_fleet import FEW, open_fleet
from ionetctl.core import host_paths
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import IonetctlError, RegionError, TrustError
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.node import ELIGIBLE, Difference
from ionetctl.summary.fleet import READY
from ionetctl.summary.node_list import Hold, Holder, ListedNode, NodeReport, holds_of, jobs_of
from ionetctl.summary.rollout_summary import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ionetctl.app.open_fleet import Fleet, FleetNode
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.core.model.node import NodeUse, NodeView, PlacedAllocation, RunningAllocation
    from ionetctl.core.ports import Region
    from ionetctl.core.settings import Settings

_Answer = TypeVar("_Answer")

WHOLE: Final = 100
"""Of so many ineligible nodes of a region the metadata is read, which says why; of more only who holds them."""
AT_ONCE: Final = 4
"""Questions to a region at the same time: as many as there are connections to it."""
_EXCLUDED: Final = f'Meta["{host_paths.EXCLUDED_BY_KEY}"] matches ".+"'


@dataclass(slots=True)
class _Told:
    """What a region says of its nodes besides their list; ``untold`` is why it does not tell jobs, ``uses`` ``None`` where it was not asked."""

    metas: dict[NodeId, Mapping[str, str]] = field(default_factory=dict)
    held: frozenset[NodeId] = frozenset()
    excluded: frozenset[NodeId] = frozenset()
    jobs: dict[NodeId, Sequence[RunningAllocation | PlacedAllocation]] = field(default_factory=dict)
    untold: str = ""
    uses: dict[NodeId, NodeUse | str] | None = None


async def read_nodes(
    settings: Settings,
    source: str | None,
    limit: str | None,
    *,
    with_use: bool = False,
    tell: Callable[[str], None] | None = None,
) -> NodeReport:
    """The nodes of an inventory, or of the catalog where there is no ``source``, as their regions show them now.

    A few are read whole, with their metadata; ``with_use`` asks every node that is ready what it uses. ``tell`` is called while
    a region is waited for. Raises as ``open_fleet`` does; a region that does not answer is its nodes' problem.
    """
    async with open_fleet(settings, source, limit, SystemClock(), tell) as fleet:
        found = await fleet.find(with_devices=True)
        views: dict[RegionName, list[NodeView]] = defaultdict(list)
        for node in found:
            if node.view is not None:
                views[node.host.region].append(node.view)
        told = {name: _Told() for name in views}
        await asyncio.gather(
            *(
                _ask(fleet.regions[name], shown, told[name], is_few=len(found) <= FEW, with_use=with_use)
                for name, shown in views.items()
            )
        )
    nodes = [_listed(node, told, fleet) for node in found]
    if source is not None:
        places = {record.name: record.region for record in fleet.known.records.values()}
        nodes = [_compared(node, fleet.inventory.nomad.version, places.get(node.host.name)) for node in nodes]
    return NodeReport(tuple(nodes), {name: one.untold for name, one in told.items() if one.untold})


async def _ask(
    region: Region | IonetctlError, views: Sequence[NodeView], told: _Told, *, is_few: bool, with_use: bool
) -> None:
    """Ask a region that has listed its nodes for the rest."""
    if isinstance(region, IonetctlError):  # it has no views then
        return
    await _ask_jobs(region, views, told, is_few=is_few)
    closed = [view.id for view in views if view.eligibility != ELIGIBLE]
    read = [view.id for view in views] if is_few else closed[:WHOLE]
    for node_id, detail in (await _of_each(read, region.node)).items():
        if not isinstance(detail, IonetctlError | None):
            told.metas[node_id] = detail.meta
    # Their agents have at once what was written into it, and the servers up to ten seconds later.
    own = await _of_each([node_id for node_id in closed if node_id in told.metas], region.metadata)
    for node_id, meta in own.items():
        if not isinstance(meta, IonetctlError):
            told.metas[node_id] = meta.merged
    if any(node_id not in told.metas for node_id in closed):
        from ionetctl.host.release_node import held

        try:
            told.held = await held(region)
            told.excluded = frozenset(view.id for view in await region.nodes(_EXCLUDED))
        except (RegionError, TrustError):
            pass  # then nobody knows who holds them
    if with_use:
        uses = await _of_each([view.id for view in views if view.status == READY], region.use)
        told.uses = {
            node_id: use.message if isinstance(use, IonetctlError) else use for node_id, use in uses.items()
        }


async def _ask_jobs(region: Region, views: Sequence[NodeView], told: _Told, *, is_few: bool) -> None:
    """Ask what runs: node by node of a few, else for all that runs in the region."""
    if is_few:
        for node_id, jobs in (await _of_each([view.id for view in views], region.allocations)).items():
            if isinstance(jobs, IonetctlError):
                told.untold = jobs.message
            else:
                told.jobs[node_id] = jobs
        return
    try:
        placed = await region.all_allocations()
    except (RegionError, TrustError) as error:
        told.untold = error.message
        return
    by_node: dict[NodeId, list[PlacedAllocation]] = {view.id: [] for view in views}
    for each in placed:
        if each.node in by_node:
            by_node[each.node].append(each)
    told.jobs = {**by_node}


async def _of_each(
    nodes: Sequence[NodeId], ask: Callable[[NodeId], Awaitable[_Answer]]
) -> dict[NodeId, _Answer | IonetctlError]:
    """The answer to a question about each node, or why there is none."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(node: NodeId) -> _Answer | IonetctlError:
        async with slots:
            try:
                return await ask(node)
            except (RegionError, TrustError) as error:
                return error

    return dict(zip(nodes, await asyncio.gather(*map(one, nodes)), strict=True))


def _listed(node: FleetNode, told: Mapping[RegionName, _Told], fleet: Fleet) -> ListedNode:
    """A node with what its region said of it."""
    host, view, problem = node.host, node.view, node.problem
    if view is None:
        record = fleet.known.of(host)
        failure = Failure(problem.code, problem.message, problem.hint) if problem else None
        return ListedNode(host, record.node_id if record else None, None, failure)
    of_region = told[host.region]
    meta, jobs = of_region.metas.get(view.id), of_region.jobs.get(view.id)
    use = None if of_region.uses is None else of_region.uses.get(view.id, f"the node is {view.status}")
    return ListedNode(
        host,
        view.id,
        view,
        holds=_marked(view, of_region) if meta is None else holds_of(view, meta),
        jobs=None if jobs is None else jobs_of(jobs),
        use=None if isinstance(use, str) else use,
        use_problem=use if isinstance(use, str) else None,
        meta=meta,
    )


def _marked(view: NodeView, told: _Told) -> tuple[Hold, ...]:
    """Who holds a node whose metadata was not read."""
    marks = {Holder.IONETCTL: view.id in told.held, Holder.ADMIN: view.id in told.excluded}
    holds = [Hold(holder) for holder, is_marked in marks.items() if is_marked]
    if view.is_draining:
        holds.append(Hold(Holder.DRAIN))
    if view.eligibility == ELIGIBLE:
        return ()
    return tuple(holds) or (Hold(Holder.UNKNOWN),)


def _compared(node: ListedNode, nomad_version: str, region: RegionName | None) -> ListedNode:
    """The node with what differs from the inventory; ``region`` is where the catalog knows it."""
    from ionetctl.verification.differences import differences

    host, view = node.host, node.view
    if view is not None:
        return replace(node, differences=tuple(differences(host, nomad_version, view, node.meta)))
    if region not in {None, host.region, AUTO_REGION}:
        return replace(node, differences=(Difference("region", host.region, region),))
    return node
