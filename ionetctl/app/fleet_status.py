"""How the fleet stands, without SSH: what ``status`` and ``capacity`` ask of catalog and regions.

Opens catalog and regions, and imports what asks regions or reads limits where that is done; what is shown of the answers stands in ``summary.fleet``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ionetctl import gpu
from ionetctl.app.known_fleet import region_settings, select_nodes, tell_waiting
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ConfigurationError, RegionError, TrustError
from ionetctl.core.model.node import Amounts
from ionetctl.core.model.secret import variables
from ionetctl.credentials.secrets import SecretStore
from ionetctl.history.catalog import Catalog
from ionetctl.history.catalog.leases import rfc3339
from ionetctl.history.journal import list_journals
from ionetctl.summary.fleet import READY, UNKNOWN, NodeStatus, StatusReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ionetctl.core.events import RegionEntry
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.core.model.node import NodeView, PlacedAllocation
    from ionetctl.core.ports import Region
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import NodeRecord


async def read_fleet(
    settings: Settings,
    limit: str | None,
    *,
    is_offline: bool,
    with_takes: bool = False,
    tell: Callable[[str], None] | None = None,
) -> StatusReport:
    """The fleet of the catalog, as its regions show it now; ``is_offline`` asks none, ``with_takes`` asks what jobs take too.

    ``limit`` selects nodes by what the catalog knows, and only their regions are asked. ``tell`` is called while a region is waited for. A region that does
    not answer is named in the report, and its nodes stand as last recorded. Raises ``ConfigurationError`` for a catalog
    that cannot be read, and ``UsageError`` for a limit that selects no node.
    """
    clock = SystemClock()
    settings.prepare_state()
    catalog = Catalog.open(settings.catalog_path, clock, list_journals(settings.rollouts_dir))
    try:
        records = select_nodes(catalog, limit)
        answers = {}
        if not is_offline:
            answers = await _ask_regions(catalog.regions(), records, settings, tell, with_takes=with_takes)
        now = rfc3339(clock.now())
        nodes = tuple(_node_status(record, answers, now) for record in records)
        _mark_seen(catalog, nodes, now)
    finally:
        catalog.close()
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    untold = {name: answer.untold for name, answer in answers.items() if not isinstance(answer, str)}
    return StatusReport(nodes, silent, {name: reason for name, reason in untold.items() if reason})


@dataclass(frozen=True, slots=True)
class _Shown:
    """A region's nodes, and the allocations on them; ``untold`` is why it does not tell these."""

    views: Mapping[NodeId, NodeView]
    placed: Mapping[NodeId, Sequence[PlacedAllocation]] = field(default_factory=dict)
    untold: str = ""


Answer = _Shown | str


async def _ask_regions(
    entries: Iterable[RegionEntry],
    records: Iterable[NodeRecord],
    settings: Settings,
    tell: Callable[[str], None] | None,
    *,
    with_takes: bool,
) -> dict[RegionName, Answer]:
    """By region its nodes, or why it did not answer."""
    known = list(entries)
    withheld = variables(ref for entry in known for ref in region_settings(entry).secrets)
    secrets = SecretStore(settings.environ, withheld)
    wanted = {record.region for record in records}
    asked = [entry for entry in known if entry.name in wanted]
    answers = await asyncio.gather(
        *(_ask_region(entry, secrets, tell, with_takes=with_takes) for entry in asked)
    )
    return {entry.name: answer for entry, answer in zip(asked, answers, strict=True)}


async def _ask_region(
    entry: RegionEntry, secrets: SecretStore, tell: Callable[[str], None] | None, *, with_takes: bool
) -> Answer:
    from ionetctl.nomad import NomadRegion

    on_wait = tell_waiting(entry.name, tell)
    settings = region_settings(entry)
    try:
        await asyncio.to_thread(secrets.resolve_all, settings.secrets)
        async with NomadRegion.open(settings, secrets.reveal, on_wait=on_wait) as region:
            views = {view.id: view for view in await region.nodes(with_devices=True)}
            return await _with_allocations(region, views) if with_takes else _Shown(views)
    except (ConfigurationError, RegionError, TrustError) as error:
        return error.message


async def _with_allocations(region: Region, views: Mapping[NodeId, NodeView]) -> _Shown:
    placed: dict[NodeId, list[PlacedAllocation]] = defaultdict(list)
    try:
        for each in await region.all_allocations():
            placed[each.node].append(each)
    except (RegionError, TrustError) as error:
        return _Shown(views, untold=error.message)
    return _Shown(views, placed)


def _node_status(record: NodeRecord, answers: Mapping[RegionName, Answer], now: str) -> NodeStatus:
    answer = answers.get(record.region, "not asked")
    view = None if isinstance(answer, str) else answer.views.get(record.node_id)
    placed = () if isinstance(answer, str) else answer.placed.get(record.node_id, ())
    return NodeStatus(
        name=record.name,
        node_id=record.node_id,
        region=record.region,
        datacenter=view.datacenter if view else record.datacenter,
        rack=record.rack,
        node_pool=view.node_pool if view else record.node_pool,
        status=view.status if view else UNKNOWN,
        eligibility=view.eligibility if view else None,
        gpus_expected=record.gpus_expected,
        gpus_seen=view.gpu_count if view else record.gpus_seen,
        enrolled_at=record.enrolled_at or None,
        last_seen_at=now if view and view.status == READY else record.last_seen_at or None,
        gpus=_gpus(view) if view else {},
        gpu_model=record.gpu_model,
        gpus_probed=record.gpus_probed,
        resources=view.resources if view else None,
        takes=_sum(each.takes for each in placed) if placed else None,
        gpus_taken=_gpus_taken(view, placed) if view and placed else {},
    )


def _sum(parts: Iterable[Amounts]) -> Amounts:
    cpu, memory, disk = zip(*((each.cpu_mhz, each.memory_mib, each.disk_mib) for each in parts), strict=True)
    return Amounts(sum(cpu), sum(memory), sum(disk))


def _gpus_taken(view: NodeView, placed: Iterable[PlacedAllocation]) -> Mapping[str, int]:
    """The GPUs that allocations have, by standard name."""
    memory = {device.name: device.memory_mib for device in view.devices or ()}
    counts: Counter[str] = Counter()
    for name, count in (taken for each in placed for taken in each.gpus):
        counts[gpu.standard_name(name, memory.get(name))] += count
    return counts


def _gpus(view: NodeView) -> Mapping[str, int]:
    """A node's healthy GPUs by standard name."""
    counts: Counter[str] = Counter()
    for device in view.devices or ():
        if device.type == "gpu" and device.healthy:
            counts[gpu.standard_name(device.name, device.memory_mib)] += device.healthy
    return counts


def _mark_seen(catalog: Catalog, nodes: Sequence[NodeStatus], at: str) -> None:
    for region in dict.fromkeys(node.region for node in nodes):
        names = [node.name for node in nodes if node.region == region and node.status == READY]
        if names:
            catalog.mark_seen(region, names, at)
