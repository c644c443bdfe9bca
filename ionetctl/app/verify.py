"""Whether every host of an inventory is a node as it should be: what ``verify`` asks of catalog and regions, without SSH.

Opens catalog and regions; what is shown of the answers stands in ``summary.fleet``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.app.open_fleet import KnownNodes, by_name, open_fleet
from ionetctl.core import host_paths
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ExitCode, HostUnverifiedError, IonetctlError, RegionError, TrustError
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.host.release_node import held, release
from ionetctl.summary.fleet import READY, Verdict, VerifyReport
from ionetctl.verification import gpu_evidence
from ionetctl.verification.expectation import Expectation, check_node
from ionetctl.verification.stamped_nodes import find_stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Region
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import NodeRecord

_WEAKER: Final = "found by name, pool and datacenter: the catalog does not know its id"
_RELEASED: Final = "released: its region shows all that was promised"


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
    async with open_fleet(settings, source, limit, SystemClock(), tell) as fleet:
        fleet.check_settings()
        known, inventory = fleet.known.records, fleet.inventory
        return VerifyReport(
            await judge_hosts(inventory.hosts, fleet.regions, inventory, known, releases=releases)
        )


async def judge_hosts(
    hosts: Sequence[Host],
    apis: Mapping[RegionName, Region | IonetctlError],
    inventory: Inventory,
    nodes: Mapping[tuple[RegionName, HostName], NodeRecord],
    *,
    releases: bool,
) -> tuple[Verdict, ...]:
    """What the regions say of the hosts, in order; ``apis`` has an error for a region that is known not to answer.

    ``nodes`` are the catalog's. See ``verify``.
    """
    known = KnownNodes(nodes)
    placed = {host.name: known.placed(host, inventory.regions) for host in hosts}
    asked = [one for places in placed.values() for one in places]
    judged = await asyncio.gather(
        *(
            _judge_region(
                apis[name],
                inventory,
                [host for host in asked if host.region == name],
                known,
                releases=releases,
            )
            for name in dict.fromkeys(host.region for host in asked)
        )
    )
    verdicts = {(one.region, one.host): one for of_region in judged for one in of_region}
    return tuple(_clearest([verdicts[p.region, p.name] for p in places]) for places in placed.values())


def _clearest(verdicts: Sequence[Verdict]) -> Verdict:
    """Of what several regions say of one host the word of the one that knows it."""
    return min(verdicts, key=lambda verdict: (verdict.code is not None, verdict.code == "not_registered"))


async def _judge_region(
    region: Region | IonetctlError,
    inventory: Inventory,
    hosts: Sequence[Host],
    known: KnownNodes,
    *,
    releases: bool,
) -> list[Verdict]:
    if isinstance(region, IonetctlError):
        return [_unasked(host, known.of(host), region) for host in hosts]
    try:
        found = await _find(region, inventory, hosts, known)
        holding = await _holding(region, [one.view for one in found if one.view])
        return [await _verdict(region, one, holding, releases=releases) for one in found]
    except (RegionError, TrustError) as error:
        return [_unasked(host, known.of(host), error) for host in hosts]


def _unasked(host: Host, record: NodeRecord | None, error: IonetctlError) -> Verdict:
    """The verdict on a host whose region cannot be asked."""
    message = f"region {host.region}: {error.message}"
    node_id = record.node_id if record else None
    exit_code = ExitCode.TRUST if isinstance(error, TrustError) else ExitCode.UNVERIFIED
    return Verdict(host.name, host.region, node_id, error.code, message, error.hint, exit_code=exit_code)


async def _find(
    region: Region, inventory: Inventory, hosts: Sequence[Host], known: KnownNodes
) -> list[_Found]:
    stamps = {record.node_id: record.stamp for host in hosts if (record := known.of(host)) and record.stamp}
    stamped = await find_stamped(region, stamps, with_devices=True)
    unknown = [host for host in hosts if not (record := known.of(host)) or record.node_id not in stamps]
    named = by_name(await region.nodes(with_devices=True) if unknown else (), inventory.naming)
    found = []
    for host in hosts:
        record = known.of(host)
        if record is not None and record.node_id in stamps:
            found.append(_Found(host, stamped.get(record.node_id), record.node_id))
        else:
            views = named.get(host.name, ())
            view = next((view for view in views if view.status == READY), views[0] if views else None)
            found.append(_Found(host, view, view.id if view else None, is_by_name=True))
    return found


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
            verdict = Verdict(host.name, host.region, self.node_id, None, note, "", by_name)
        else:
            verdict = Verdict(
                host.name, host.region, self.node_id, reason.code, reason.message, reason.hint, by_name
            )
        if self.view is None:
            return verdict
        return replace(verdict, version=self.view.version, drivers=self.view.drivers_healthy)


@dataclass(frozen=True, slots=True)
class _Holding:
    """The nodes that ionetctl holds, and those of them that the region's word can clear."""

    nodes: frozenset[NodeId] = frozenset()
    clearable: frozenset[NodeId] = frozenset()


async def _holding(region: Region, views: Sequence[NodeView]) -> _Holding:
    """Asked for only where a node is ineligible at all."""
    if all(view.eligibility == ELIGIBLE for view in views):
        return _Holding()
    return _Holding(await held(region), await held(region, by_region=True))


async def _verdict(region: Region, found: _Found, holding: _Holding, *, releases: bool) -> Verdict:
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
        return found.verdict(await release(region, word), _RELEASED)
    except RegionError as error:
        return found.verdict(HostUnverifiedError(error.code, error.message, error.hint))


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
