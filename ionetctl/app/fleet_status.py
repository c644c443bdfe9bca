"""How the fleet stands, without SSH: what ``status`` and ``verify`` ask of catalog and regions.

Opens catalog and regions; what is shown of the answers stands in ``fleet``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from ionetctl import gpu
from ionetctl.core import host_paths
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ConfigurationError, HostUnverifiedError, RegionError, TrustError
from ionetctl.core.model.inventory import Naming, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.node import NodeView
from ionetctl.core.model.secret import SecretRef
from ionetctl.credentials.secrets import SecretStore
from ionetctl.history.catalog import Catalog
from ionetctl.history.catalog.leases import rfc3339
from ionetctl.history.journal import list_journals
from ionetctl.host.release_node import held, release
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.nomad import NomadRegion
from ionetctl.placement.region_choice import candidates
from ionetctl.plan.bundle import SUFFIX_CHARACTERS
from ionetctl.summary.fleet import READY, UNKNOWN, NodeStatus, StatusReport, Verdict, VerifyReport
from ionetctl.verification import gpu_evidence
from ionetctl.verification.expectation import ELIGIBLE, Expectation, check_node
from ionetctl.verification.stamped_nodes import find_stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ionetctl.core.events import RegionEntry
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.core.model.names import NodeId, RegionName
    from ionetctl.core.model.secret import SecretSource
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import NodeRecord
    from ionetctl.nomad import OnWait, Wait

_WEAKER: Final = "found by name, pool and datacenter: the catalog does not know its id"
_RELEASED: Final = "released: its region shows all that was promised"


async def refresh_status(
    settings: Settings,
    is_offline: bool,  # noqa: FBT001  (the command's own flag)
    tell: Callable[[str], None] | None = None,
) -> StatusReport:
    """The fleet of the catalog, as its regions show it now; ``is_offline`` asks none.

    ``tell`` is called while a region is waited for. A region that does not answer is named in the report, and its nodes stand as last recorded. Raises
    ``ConfigurationError`` for a catalog that cannot be read.
    """
    clock = SystemClock()
    settings.prepare_state()
    catalog = Catalog.open(settings.catalog_path, clock, list_journals(settings.rollouts_dir))
    try:
        records = catalog.nodes()
        answers = {} if is_offline else await _ask_regions(catalog.regions(), records, settings, tell)
        now = rfc3339(clock.now())
        nodes = tuple(_node_status(record, answers, now) for record in records)
        _mark_seen(catalog, nodes, now)
    finally:
        catalog.close()
    silent = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    return StatusReport(nodes, silent)


Answer = dict["NodeId", NodeView] | str


async def _ask_regions(
    entries: Iterable[RegionEntry],
    records: Iterable[NodeRecord],
    settings: Settings,
    tell: Callable[[str], None] | None,
) -> dict[RegionName, Answer]:
    """By region its nodes, or why it did not answer."""
    secrets = SecretStore(settings.environ)
    wanted = {record.region for record in records}
    asked = [entry for entry in entries if entry.name in wanted]
    answers = await asyncio.gather(*(_ask_region(entry, secrets, tell) for entry in asked))
    return {entry.name: answer for entry, answer in zip(asked, answers, strict=True)}


def _on_wait(region: str, tell: Callable[[str], None] | None) -> OnWait:
    async def on_wait(wait: Wait) -> None:
        if tell is not None:
            tell(
                f"waiting for region {region} at {wait.address}: attempt {wait.attempt} failed, "
                f"{wait.waited_s:.0f} s yet: {wait.error.message}"
            )

    return on_wait


async def _ask_region(entry: RegionEntry, secrets: SecretStore, tell: Callable[[str], None] | None) -> Answer:
    on_wait = _on_wait(entry.name, tell)
    try:
        async with NomadRegion.open(_settings_of(entry), secrets.reveal, on_wait=on_wait) as region:
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


def _node_status(record: NodeRecord, answers: Mapping[RegionName, Answer], now: str) -> NodeStatus:
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
        enrolled_at=record.enrolled_at or None,
        last_seen_at=now if view and view.status == READY else record.last_seen_at or None,
        gpus=_gpus(view) if view else {},
        gpu_model=record.gpu_model,
        gpus_probed=record.gpus_probed,
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

    def placed(self, host: Host, regions: Iterable[RegionName]) -> tuple[Host, ...]:
        """The host in the region that it joined, or in each that it may have where nobody remembers."""
        everywhere = tuple(replace(host, region=name) for name in candidates(host, regions))
        return tuple(one for one in everywhere if self.of(one))[:1] or everywhere


async def verify(
    source: str,
    limit: str | None,
    settings: Settings,
    *,
    releases: bool = True,
    tell: Callable[[str], None] | None = None,
) -> VerifyReport:
    """What the regions say of every host of an inventory, by the catalog's node id and stamp where it knows them.

    A node that ionetctl holds, and that the region's word now clears, is released where ``releases``. The hosts of a
    region that cannot be asked have its error as their verdict. ``tell`` is called while a region is waited for.

    Raises ``ConfigurationError`` for inventory, secrets and catalog.
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
    placed = {host.name: known.placed(host, inventory.regions) for host in hosts}
    asked = [one for places in placed.values() for one in places]
    names = tuple(dict.fromkeys(host.region for host in asked))
    async with AsyncExitStack() as stack:
        judging = []
        for name in names:
            on_wait = _on_wait(name, tell)
            region = NomadRegion.open(inventory.regions[name], secrets.reveal, on_wait=on_wait)
            await stack.enter_async_context(region)
            of_region = [host for host in asked if host.region == name]
            judging.append(_judge_region(region, inventory, of_region, known, releases=releases))
        judged = await asyncio.gather(*judging)
    verdicts = {(one.region, one.host): one for of_region in judged for one in of_region}
    return VerifyReport(
        tuple(_clearest([verdicts[p.region, p.name] for p in places]) for places in placed.values())
    )


def _clearest(verdicts: Sequence[Verdict]) -> Verdict:
    """Of what several regions say of one host the word of the one that knows it."""
    return min(verdicts, key=lambda verdict: (verdict.code is not None, verdict.code == "not_registered"))


async def _judge_region(
    region: NomadRegion, inventory: Inventory, hosts: Sequence[Host], known: _Known, *, releases: bool
) -> list[Verdict]:
    try:
        found = await _find(region, inventory, hosts, known)
        holding = await _holding(region, [one.view for one in found if one.view])
        return [await _verdict(region, one, holding, releases=releases) for one in found]
    except (RegionError, TrustError) as error:
        return [_unasked(host, known.of(host), error) for host in hosts]


def _unasked(host: Host, record: NodeRecord | None, error: RegionError | TrustError) -> Verdict:
    """The verdict on a host whose region cannot be asked."""
    message = f"region {host.region}: {error.message}"
    node_id = record.node_id if record else None
    return Verdict(
        host.name, host.region, node_id, error.code, message, error.hint, exit_code=error.exit_code
    )


async def _find(
    region: NomadRegion, inventory: Inventory, hosts: Sequence[Host], known: _Known
) -> list[_Found]:
    stamps = {record.node_id: record.stamp for host in hosts if (record := known.of(host)) and record.stamp}
    stamped = await find_stamped(region, stamps, with_devices=True)
    unknown = [host for host in hosts if not (record := known.of(host)) or record.node_id not in stamps]
    everyone = await region.nodes(with_devices=True) if unknown else ()
    found = []
    for host in hosts:
        record = known.of(host)
        if record is not None and record.node_id in stamps:
            found.append(_Found(host, stamped.get(record.node_id), record.node_id))
        else:
            views = [view for view in everyone if _may_be(host, view, inventory.naming)]
            view = next((view for view in views if view.status == READY), views[0] if views else None)
            found.append(_Found(host, view, view.id if view else None, is_by_name=True))
    return found


def _may_be(host: Host, view: NodeView, naming: Naming) -> bool:
    """Whether a node looks like a host whose id nobody knows."""
    suffix = rf"(-[0-9a-f]{{{SUFFIX_CHARACTERS}}})?" if naming == "unique" else ""
    return re.fullmatch(re.escape(host.name) + suffix, view.name) is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a region shows of a host; ``node_id`` may be known where there is no ``view``."""

    host: Host
    view: NodeView | None
    node_id: NodeId | None
    is_by_name: bool = False

    def verdict(self, reason: HostUnverifiedError | None = None, note: str = "") -> Verdict:
        """The verdict, for a reason or none; ``note`` is told of a host that is as it should be."""
        host, by_name = self.host, self.is_by_name
        if reason is None:
            return Verdict(host.name, host.region, self.node_id, None, note, "", by_name)
        return Verdict(
            host.name, host.region, self.node_id, reason.code, reason.message, reason.hint, by_name
        )


@dataclass(frozen=True, slots=True)
class _Holding:
    """The nodes that ionetctl holds, and those of them that the region's word can clear."""

    nodes: frozenset[NodeId] = frozenset()
    clearable: frozenset[NodeId] = frozenset()


async def _holding(region: NomadRegion, views: Sequence[NodeView]) -> _Holding:
    """Asked for only where a node is ineligible at all."""
    if all(view.eligibility == ELIGIBLE for view in views):
        return _Holding()
    return _Holding(await held(region), await held(region, by_region=True))


async def _verdict(region: NomadRegion, found: _Found, holding: _Holding, *, releases: bool) -> Verdict:
    host, view = found.host, found.view
    if found.is_by_name and view is None:
        message = "the region has no node of this name"
        return found.verdict(HostUnverifiedError("not_registered", message, "enrol the host"))
    is_held = view is not None and view.eligibility != ELIGIBLE and view.id in holding.nodes
    due = Expectation(
        host.node_pool, host.datacenter, gpu_evidence.expected_gpu_count(host), may_be_ineligible=is_held
    )
    word = check_node(view, due)
    reason = word if isinstance(word, HostUnverifiedError) else gpu_evidence.shortfall(host, word)
    if reason is not None or isinstance(word, HostUnverifiedError):
        return found.verdict(reason)
    if not is_held:
        return found.verdict(note=_WEAKER if found.is_by_name else "")
    if not releases or word.id not in holding.clearable or host.gpus.count is None:
        return found.verdict(_held_still(word, holding))
    try:
        await release(region, word.id)
    except RegionError as error:
        return found.verdict(HostUnverifiedError(error.code, error.message, error.hint))
    return found.verdict(note=_RELEASED)


def _held_still(view: NodeView, holding: _Holding) -> HostUnverifiedError:
    if view.id in holding.clearable:
        message = "the node is held, and its region shows nothing against it any more"
        return HostUnverifiedError(
            "node_held", message, "verify without --no-release, or enroll, releases it"
        )
    message = f"the node is held: {host_paths.ADMISSION_REASON_KEY} in its metadata says why"
    return HostUnverifiedError(
        "node_held", message, "mend the host, then enroll it: that takes another probe"
    )
