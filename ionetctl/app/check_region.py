"""``region check``: the regions of an inventory, asked whether they can take its hosts. No host is touched.

The wiring of adapters; what speaks against a region is decided in ``inspection``.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import RegionError, TrustError, UsageError
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.inventory import Issuer, VaultIssuer
from ionetctl.credentials.certificates import read_chain
from ionetctl.credentials.pki import check_client_pair, signs_servers
from ionetctl.credentials.secrets import SecretStore
from ionetctl.inventory.load import load_inventory
from ionetctl.nomad import CallLimits, NomadRegion
from ionetctl.placement.readiness import Certificate, Inspection, UnansweredRegion, region_hosts
from ionetctl.placement.region_choice import candidates
from ionetctl.plan.bundle import SUFFIX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory, RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import NodeView, RegionStatus
    from ionetctl.core.ports import Clock
    from ionetctl.core.settings import Settings

PATIENCE: Final = CallLimits(attempts=4, deadline_s=30.0)
"""Somebody sits and waits for the answer, and asks again."""
_SUFFIX: Final = re.compile(rf"-[0-9a-f]{{{SUFFIX_CHARACTERS}}}\Z")


async def inspect_regions(
    source: str, chosen: Sequence[str], settings: Settings
) -> tuple[Inspection | UnansweredRegion, ...]:
    """What is found of each region of an inventory, or of those ``chosen``, in the inventory's order.

    Raises ``ConfigurationError`` for inventory and secrets, ``UsageError`` (``region_unknown``).
    """
    inventory = load_inventory(source)
    names = _chosen(inventory, chosen)
    secrets, clock = SecretStore(settings.environ, inventory.secret_variables), SystemClock()
    await asyncio.to_thread(
        secrets.resolve_all, [ref for name in names for ref in inventory.regions[name].secrets]
    )
    asked = (_inspect(inventory, inventory.regions[name], secrets, clock) for name in names)
    return tuple(await asyncio.gather(*asked))


def _chosen(inventory: Inventory, chosen: Sequence[str]) -> list[RegionName]:
    for name in chosen:
        if name not in inventory.regions:
            hint = f"described in the inventory: {', '.join(inventory.regions)}"
            raise UsageError("region_unknown", f"{name} is none of the regions", hint)
    return [name for name in inventory.regions if not chosen or name in chosen]


async def _inspect(
    inventory: Inventory, settings: RegionSettings, secrets: SecretStore, clock: Clock
) -> Inspection | UnansweredRegion:
    check_client_pair(settings, secrets.reveal, clock.now())
    try:
        async with NomadRegion.open(settings, secrets.reveal, PATIENCE) as region:
            status = await region.status()
            nodes = await region.nodes()
            namespaces = await region.namespaces() if inventory.nomad.signers else None
    except (RegionError, TrustError) as error:
        return UnansweredRegion(settings.name, error.code, error.message, error.hint, error.exit_code)
    return replace(_inspection(inventory, settings, status, nodes, clock), namespaces=namespaces)


def _inspection(
    inventory: Inventory,
    settings: RegionSettings,
    status: RegionStatus,
    nodes: Sequence[NodeView],
    clock: Clock,
) -> Inspection:
    hosts = inventory.hosts
    known = {view.name for view in nodes}
    if inventory.naming == "unique":
        known = {_SUFFIX.sub("", name) for name in known}
    return Inspection(
        settings=settings,
        status=status,
        nodes=Counter(view.status for view in nodes),
        hosts=region_hosts(hosts, settings.name, _undecided(inventory, settings.name), frozenset(known)),
        certificates=tuple(_certificates(settings, status)),
        nomad_version=inventory.nomad.version,
        at=clock.now(),
        issuer_signs_servers=signs_servers(settings),
    )


def _undecided(inventory: Inventory, name: RegionName) -> int:
    """How many hosts leave their region open and may come to this one."""
    open_ones: Iterable[Host] = (host for host in inventory.hosts if host.region == AUTO_REGION)
    return sum(name in candidates(host, inventory.regions) for host in open_ones)


def _certificates(settings: RegionSettings, status: RegionStatus) -> Iterator[Certificate]:
    """The certificates whose end would stop the region, or us. Raises ``ConfigurationError`` for unreadable files."""
    tls = settings.tls
    if status.certificate_expires_at is not None:
        yield Certificate("API", status.certificate_expires_at)
    files = {"CA": tls.ca}
    if not isinstance(tls.node, VaultIssuer):
        files["issuer" if isinstance(tls.node, Issuer) else "node"] = tls.node.cert
    if tls.client is not None:
        files["client"] = tls.client.cert
    for what, path in files.items():
        yield Certificate(what, min(one.not_valid_after_utc for one in read_chain(path)))
