"""How the fleet stands, without SSH: what ``status`` and ``verify`` ask of catalog and regions.

Opens catalog and regions; what is shown of the answers stands in ``fleet``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from ionetctl import gpu
from ionetctl.bundle import SUFFIX_CHARACTERS
from ionetctl.catalog import Catalog
from ionetctl.catalog.leases import rfc3339
from ionetctl.clock import SystemClock
from ionetctl.errors import ConfigurationError, HostUnverifiedError, RegionError, TrustError
from ionetctl.fleet import READY, UNKNOWN, NodeStatus, StatusReport, Verdict, VerifyReport
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.journal import list_journals
from ionetctl.model import Naming, NodeView, ReadyPair, RegionSettings, RegionTls, SecretRef
from ionetctl.outcomes import gpus_expected
from ionetctl.region import NomadRegion
from ionetctl.secrets import SecretStore
from ionetctl.verification import Expectation, find_stamped, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ionetctl.catalog import NodeRecord
    from ionetctl.events import RegionEntry
    from ionetctl.model import Host, Inventory, NodeId, RegionName, SecretSource
    from ionetctl.settings import Settings

_WEAKER: Final = "found by name, pool and datacenter: the catalog does not know its id"


async def refresh_status(settings: Settings, is_offline: bool) -> StatusReport:  # noqa: FBT001  (the command's own flag)
    """The fleet of the catalog, as its regions show it now; ``is_offline`` asks none.

    A region that does not answer is named in the report, and its nodes stand as last recorded. Raises
    ``ConfigurationError`` for a catalog that cannot be read.
    """
    clock = SystemClock()
    settings.prepare_state()
    catalog = Catalog.open(settings.catalog_path, clock, list_journals(settings.rollouts_dir))
    try:
        records = catalog.nodes()
        answers = {} if is_offline else await _ask_regions(catalog.regions(), records, settings)
        nodes = tuple(_node_status(record, answers) for record in records)
        _mark_seen(catalog, nodes, rfc3339(clock.now()))
    finally:
        catalog.close()
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    return StatusReport(nodes, silent)


Answer = dict["NodeId", NodeView] | str


async def _ask_regions(
    entries: Iterable[RegionEntry], records: Iterable[NodeRecord], settings: Settings
) -> dict[RegionName, Answer]:
    """By region its nodes, or why it did not answer."""
    secrets = SecretStore(settings.environ)
    wanted = {record.region for record in records}
    asked = [entry for entry in entries if entry.name in wanted]
    answers = await asyncio.gather(*(_ask_region(entry, secrets) for entry in asked))
    return {entry.name: answer for entry, answer in zip(asked, answers, strict=True)}


async def _ask_region(entry: RegionEntry, secrets: SecretStore) -> Answer:
    try:
        async with NomadRegion.open(_settings_of(entry), secrets.reveal) as region:
            return {view.id: view for view in await region.nodes(with_devices=True)}
    except (ConfigurationError, RegionError, TrustError) as error:
        return error.message


def _settings_of(entry: RegionEntry) -> RegionSettings:
    """A region as the catalog remembers it: enough to ask it, not to enrol into it."""
    token = SecretRef(cast("SecretSource", entry.token_source), entry.token_locator)
    client = None
    if entry.client_cert and entry.client_key_source and entry.client_key_locator:
        key = SecretRef(cast("SecretSource", entry.client_key_source), entry.client_key_locator)
        client = ReadyPair(entry.client_cert, key)
    tls = RegionTls("", entry.server_name, client, ReadyPair("", token), ca_pem=entry.ca_pem)
    return RegionSettings(entry.name, entry.api, (), token, tls, entry.introduction, entry.capacity)


def _node_status(record: NodeRecord, answers: Mapping[RegionName, Answer]) -> NodeStatus:
    answer = answers.get(record.region, "not asked")
    view = answer.get(record.node_id) if isinstance(answer, dict) else None
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
        enrolled_at=record.enrolled_at,
        last_seen_at=record.last_seen_at,
        gpus=_gpus(view) if view else {},
        gpu_model=record.gpu_model,
    )


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


@dataclass(frozen=True, slots=True)
class _Known:
    """What the catalog remembers of the inventory's hosts, by region and name."""

    records: Mapping[tuple[str, str], NodeRecord]

    def of(self, host: Host) -> NodeRecord | None:
        """The host's record."""
        return self.records.get((host.region, host.name))


async def verify(source: str, limit: str | None, settings: Settings) -> VerifyReport:
    """What the regions say of every host of an inventory, by the catalog's node id and stamp where it knows them.

    Raises ``ConfigurationError`` for inventory, secrets and catalog, ``RegionError`` and ``TrustError`` for a region
    that cannot be asked.
    """
    inventory = load_inventory(source)
    hosts = inventory.hosts if limit is None else select_hosts(inventory, limit)
    settings.prepare_state()
    catalog = Catalog.open(settings.catalog_path, SystemClock(), list_journals(settings.rollouts_dir))
    try:
        known = _Known({(record.region, record.name): record for record in catalog.nodes()})
    finally:
        catalog.close()
    secrets = SecretStore(settings.environ)
    verdicts: dict[tuple[str, str], Verdict] = {}
    async with AsyncExitStack() as stack:
        for name in dict.fromkeys(host.region for host in hosts):
            region = NomadRegion.open(inventory.regions[name], secrets.reveal)
            await stack.enter_async_context(region)
            of_region = [host for host in hosts if host.region == name]
            for verdict in await _judge_region(region, inventory, of_region, known):
                verdicts[name, verdict.host] = verdict
    return VerifyReport(tuple(verdicts[host.region, host.name] for host in hosts))


async def _judge_region(
    region: NomadRegion, inventory: Inventory, hosts: Sequence[Host], known: _Known
) -> list[Verdict]:
    stamps = {record.node_id: record.stamp for host in hosts if (record := known.of(host)) and record.stamp}
    stamped = await find_stamped(region, stamps, with_devices=True)
    unknown = [host for host in hosts if not (record := known.of(host)) or record.node_id not in stamps]
    everyone = await region.nodes(with_devices=True) if unknown else ()
    verdicts = []
    for host in hosts:
        record = known.of(host)
        if record is not None and record.node_id in stamps:
            verdicts.append(_verdict(host, stamped.get(record.node_id), record.node_id))
        else:
            views = [view for view in everyone if _may_be(host, view, inventory.naming)]
            view = next((view for view in views if view.status == READY), views[0] if views else None)
            verdicts.append(_verdict(host, view, view.id if view else None, is_by_name=True))
    return verdicts


def _may_be(host: Host, view: NodeView, naming: Naming) -> bool:
    """Whether a node looks like a host whose id nobody knows."""
    suffix = rf"(-[0-9a-f]{{{SUFFIX_CHARACTERS}}})?" if naming == "unique" else ""
    return re.fullmatch(re.escape(host.name) + suffix, view.name) is not None


def _verdict(
    host: Host, view: NodeView | None, node_id: NodeId | None, *, is_by_name: bool = False
) -> Verdict:
    reason = judge(view, Expectation(host.node_pool, host.datacenter, gpus_expected(host)))
    if not isinstance(reason, HostUnverifiedError):
        return Verdict(host.name, host.region, node_id, None, _WEAKER if is_by_name else "", "", is_by_name)
    if is_by_name and view is None:
        reason = HostUnverifiedError(
            "not_registered", "the region has no node of this name", "enrol the host"
        )
    return Verdict(host.name, host.region, node_id, reason.code, reason.message, reason.hint, is_by_name)
