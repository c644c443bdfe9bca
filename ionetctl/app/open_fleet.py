"""A fleet opened for work through Nomad, without SSH: its hosts, where each is in its region's list, and the regions.

The hosts are an inventory's, or else the catalog's: those that were enrolled from here, with the regions as they were then.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.app.known_fleet import inventory_of, select_nodes, tell_waiting
from ionetctl.core.errors import ConfigurationError, IonetctlError, RegionError, TrustError
from ionetctl.credentials.secrets import SecretStore
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import list_journals
from ionetctl.nomad import NomadRegion
from ionetctl.placement.region_choice import candidates
from ionetctl.plan.bundle import SUFFIX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory, Naming
    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Clock, Region
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import NodeRecord
    from ionetctl.nomad import OnWait

FEW: Final = 50
"""So many nodes are asked for by their ids; the whole list is read for more."""
_UNIQUE: Final = re.compile(rf"(.+)-[0-9a-f]{{{SUFFIX_CHARACTERS}}}")


@dataclass(frozen=True, slots=True)
class KnownNodes:
    """What the catalog remembers of hosts, by region and name."""

    records: Mapping[tuple[RegionName, HostName], NodeRecord]

    def of(self, host: Host) -> NodeRecord | None:
        """The host's record."""
        return self.records.get((host.region, host.name))

    def placed(self, host: Host, regions: Iterable[RegionName]) -> tuple[Host, ...]:
        """The host in the region that it joined, or in each that it may have where nobody remembers."""
        everywhere = tuple(
            host if name == host.region else replace(host, region=name) for name in candidates(host, regions)
        )
        return tuple(one for one in everywhere if self.of(one))[:1] or everywhere


def by_name(views: Iterable[NodeView], naming: Naming) -> Mapping[str, Sequence[NodeView]]:
    """The nodes that look like a host whose id nobody knows, by its name."""
    found: dict[str, list[NodeView]] = defaultdict(list)
    for view in views:
        found[view.name].append(view)
        if naming == "unique" and (match := _UNIQUE.fullmatch(view.name)):
            found[match[1]].append(view)
    return found


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A host in its region; ``problem`` where the region cannot be asked, or does not know a node for it."""

    host: Host
    view: NodeView | None
    problem: IonetctlError | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hosts chosen, in ``inventory``, and its regions, each open or the error why it is not."""

    inventory: Inventory
    known: KnownNodes
    regions: Mapping[RegionName, Region | IonetctlError]

    def check_settings(self) -> None:
        """Raise ``ConfigurationError`` where the settings or secrets of a region are wrong."""
        for region in self.regions.values():
            if isinstance(region, ConfigurationError):
                raise region

    async def find(self, *, with_devices: bool = False) -> tuple[FleetNode, ...]:
        """Every host as its region shows it now, by the catalog's node id, or by its name where that has none."""
        placed = [self.known.placed(host, self.inventory.regions) for host in self.inventory.hosts]
        asked = [one for places in placed for one in places]
        names = dict.fromkeys(host.region for host in asked)
        answers = await asyncio.gather(
            *(
                self._ask(name, [host for host in asked if host.region == name], with_devices=with_devices)
                for name in names
            )
        )
        found = {(node.host.region, node.host.name): node for answer in answers for node in answer}
        return tuple(_clearest([found[one.region, one.name] for one in places]) for places in placed)

    async def _ask(self, name: RegionName, hosts: Sequence[Host], *, with_devices: bool) -> list[FleetNode]:
        region = self.regions[name]
        if isinstance(region, IonetctlError):
            return [FleetNode(host, None, region) for host in hosts]
        try:
            views = await region.nodes(self._expression(hosts), with_devices=with_devices)
        except (RegionError, TrustError) as error:
            return [FleetNode(host, None, error) for host in hosts]
        of_id, of_name = {view.id: view for view in views}, by_name(views, self.inventory.naming)
        return [_found(host, self.known.of(host), of_id, of_name) for host in hosts]

    def _expression(self, hosts: Sequence[Host]) -> str | None:
        """The filter for few nodes that are known by their ids."""
        ids = [record.node_id for host in hosts if (record := self.known.of(host))]
        if len(ids) < len(hosts) or len(ids) > FEW:
            return None
        return " or ".join(f'ID == "{node_id}"' for node_id in ids)


def _clearest(answers: Sequence[FleetNode]) -> FleetNode:
    """Of what several regions say of one host the word of the one that knows it; nobody's where two do."""
    first, *others = sorted(answers, key=lambda node: (node.view is None, _is_unknown(node)))
    if others and others[0].view is not None:
        message = f"{first.host.region} and {others[0].host.region} both have a node {first.host.name}"
        return FleetNode(first.host, None, RegionError("node_unknown", message, "give the host its region"))
    return first


def _is_unknown(node: FleetNode) -> bool:
    return node.problem is not None and node.problem.code == "node_unknown"


def _found(
    host: Host,
    record: NodeRecord | None,
    of_id: Mapping[NodeId, NodeView],
    of_name: Mapping[str, Sequence[NodeView]],
) -> FleetNode:
    views = of_name.get(host.name, ()) if record is None else ()
    view = of_id.get(record.node_id) if record else next(iter(views), None)
    if view is None or len(views) > 1:
        how = f"the node {record.node_id}" if record else "a node of this name"
        message = (
            f"{host.region} does not know {how}"
            if view is None
            else f"{host.region} has {how} more than once"
        )
        return FleetNode(
            host, None, RegionError("node_unknown", message, "enrol the host, or see nodes list")
        )
    return FleetNode(host, view)


@asynccontextmanager
async def open_fleet(
    settings: Settings,
    source: str | None,
    limit: str | None,
    clock: Clock,
    tell: Callable[[str], None] | None = None,
    *,
    on_wait: Callable[[RegionName], OnWait] | None = None,
) -> AsyncIterator[Fleet]:
    """The fleet of an inventory, or of the catalog where there is no ``source``; its regions are closed at the end.

    ``tell`` is called while a region is waited for, or what ``on_wait`` gives for its name. Raises ``ConfigurationError`` for inventory and catalog, ``UsageError``
    for a limit that selects no host; a region whose secrets or keys are wrong has its error instead.
    """
    inventory = None
    if source is not None:
        from ionetctl.inventory.select import load_selected

        inventory = load_selected(source, limit)
    settings.prepare_state()
    with Catalog.open(settings.catalog_path, clock, list_journals(settings.rollouts_dir)) as catalog:
        if inventory is None:
            nodes = select_nodes(catalog, limit)
            inventory = inventory_of(nodes, catalog.regions())
        else:
            nodes = catalog.nodes()
    known = KnownNodes({(node.region, node.name): node for node in nodes})
    wanted = {one.region for host in inventory.hosts for one in known.placed(host, inventory.regions)}
    secrets = SecretStore(settings.environ, inventory.secret_variables)
    async with AsyncExitStack() as stack:
        regions: dict[RegionName, Region | IonetctlError] = {}
        for name in sorted(wanted):
            waiting = on_wait(name) if on_wait else tell_waiting(name, tell)
            regions[name] = await _open_region(inventory, name, secrets, stack, waiting)
        yield Fleet(inventory, known, regions)


async def _open_region(
    inventory: Inventory, name: RegionName, secrets: SecretStore, stack: AsyncExitStack, on_wait: OnWait
) -> Region | IonetctlError:
    settings = inventory.regions.get(name)
    if settings is None:
        hint = "name the inventory that the hosts were enrolled from"
        return ConfigurationError("region_unknown", f"the catalog has no access to region {name}", hint)
    try:
        await asyncio.to_thread(secrets.resolve_all, settings.secrets)
        region = NomadRegion.open(settings, secrets.reveal, on_wait=on_wait)
        return await stack.enter_async_context(region)
    except (ConfigurationError, TrustError) as error:
        return error
