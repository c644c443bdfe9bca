"""The fleet as the catalog knows it: its nodes as hosts, and the way to its regions. ``status`` starts with it: nothing here needs a template or a client."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, cast

from ionetctl.core.errors import UsageError
from ionetctl.core.events import RegionWaited
from ionetctl.core.model.host import GpuPromise, Host
from ionetctl.core.model.inventory import Inventory, NomadSettings, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import Digest
from ionetctl.core.model.secret import SecretRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ionetctl.core.events import RegionEntry
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.model.secret import SecretSource
    from ionetctl.history.catalog import Catalog, NodeRecord
    from ionetctl.nomad import OnWait, Wait

CATALOG: Final = "catalog"
"""The source of an inventory that was made from the catalog."""


def check_names(hosts: Iterable[Host]) -> None:
    """Raise ``UsageError`` (``node_name_doubled``) for a name that nodes of several regions bear: each is a host of its own."""
    regions: dict[HostName, list[RegionName]] = defaultdict(list)
    for host in hosts:
        regions[host.name].append(host.region)
    for name, of_name in regions.items():
        if len(of_name) > 1:
            hint = f"name an inventory with -i, or one region: --limit '{name},!region:{of_name[0]}'"
            raise UsageError("node_name_doubled", f"{name} is a node of {' and of '.join(of_name)}", hint)


def select_nodes(catalog: Catalog, limit: str | None) -> tuple[NodeRecord, ...]:
    """The catalog's nodes, or those that ``--limit`` selects. Raises ``UsageError`` for a limit that selects none."""
    if limit is None:
        return catalog.nodes()
    from ionetctl.inventory.select import words_asked_for

    words = words_asked_for(limit)
    try:
        return _limited(catalog.nodes(words), limit)
    except UsageError:
        # What a limit excludes may be among the others, and so may be what a misspelt word was meant to be.
        return _limited(catalog.nodes(), limit)


def _limited(nodes: Sequence[NodeRecord], limit: str) -> tuple[NodeRecord, ...]:
    """Those of the nodes that ``--limit`` selects. The catalog has no groups or tags to select by."""
    from ionetctl.inventory.select import select_hosts

    known = inventory_of(nodes, ())
    chosen = {(host.region, host.name) for host in select_hosts(known, limit)}
    return tuple(node for node in nodes if (node.region, node.name) in chosen)


def inventory_of(nodes: Iterable[NodeRecord], regions: Iterable[RegionEntry]) -> Inventory:
    """The nodes as hosts of an inventory that is enough to ask for them, not to enrol them. It has no groups and no tags."""
    return Inventory(
        CATALOG,
        "",
        Digest(""),
        "as-written",
        {entry.name: region_settings(entry) for entry in regions},
        NomadSettings("", ""),
        tuple(
            Host(
                node.name,
                node.address,
                node.region,
                node.datacenter,
                node.rack,
                node.node_pool,
                gpus=GpuPromise(node.gpu_model, node.gpus_expected),
            )
            for node in nodes
        ),
    )


def region_settings(entry: RegionEntry) -> RegionSettings:
    """A region as the catalog remembers it: enough to ask it, not to enrol into it."""
    token = SecretRef(cast("SecretSource", entry.token_source), entry.token_locator)
    client = None
    if entry.client_cert and entry.client_key_source and entry.client_key_locator:
        key = SecretRef(cast("SecretSource", entry.client_key_source), entry.client_key_locator)
        client = ReadyPair(entry.client_cert, key)
    tls = RegionTls("", entry.server_name, client, ReadyPair("", token), ca_pem=entry.ca_pem)
    return RegionSettings(entry.name, entry.api, (), token, tls, entry.introduction, entry.capacity)


def waited(region: RegionName, wait: Wait) -> RegionWaited:
    """The event of a region that is waited for."""
    return RegionWaited(
        region=region,
        address=wait.address,
        attempt=wait.attempt,
        waited_s=round(wait.waited_s, 1),
        code=wait.error.code,
        message=wait.error.message,
    )


def tell_waiting(region: str, tell: Callable[[str], None] | None) -> OnWait:
    """What tells an admin, by ``tell``, that a region is waited for."""

    async def on_wait(wait: Wait) -> None:
        if tell is not None:
            tell(
                f"waiting for region {region} at {wait.address}: attempt {wait.attempt} failed, "
                f"{wait.waited_s:.0f} s yet: {wait.error.message}"
            )

    return on_wait
