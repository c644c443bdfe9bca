"""A site opened for work: inventory read, secrets resolved, regions at hand, releases in the cache.

The wiring of adapters. Everything that can be wrong without any host is found here, before the first connection.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.app.known_fleet import waited
from ionetctl.app.subjects import Subjects
from ionetctl.artifacts import ArtifactKey, ArtifactStore, Publisher
from ionetctl.artifacts.release import NOMAD
from ionetctl.artifacts.signature import VENDOR_FINGERPRINT
from ionetctl.checks import ARCHITECTURES
from ionetctl.core import host_paths
from ionetctl.core.errors import IonetctlError
from ionetctl.core.events import Warned
from ionetctl.credentials.certificates import read_ca
from ionetctl.credentials.pki import check_client_pair, open_issuer
from ionetctl.credentials.secrets import SecretStore
from ionetctl.host.dependencies import RegionTools
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.nomad import NomadRegion
from ionetctl.placement.compatibility import check_region
from ionetctl.placement.fences import check_fences
from ionetctl.placement.region_choice import candidates
from ionetctl.verification.node_watcher import NodeWatcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory, NomadSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import RegionStatus
    from ionetctl.core.model.plan import Form, Program
    from ionetctl.core.ports import Clock, Emit
    from ionetctl.core.settings import Settings
    from ionetctl.nomad import Wait

LOCK_FILE: Final = "ionetctl.lock"


def _ignore(_: Mapping[ArtifactKey, Program]) -> None:
    """For a site whose programs nobody else needs."""


@dataclass(slots=True)
class Site:
    """All that belongs to one inventory; ``hosts`` are those chosen. ``programs`` fills as architectures become known."""

    inventory: Inventory
    hosts: tuple[Host, ...]
    secrets: SecretStore
    artifacts: ArtifactStore
    clock: Clock
    programs: dict[ArtifactKey, Program] = field(default_factory=dict)
    regions: dict[RegionName, RegionTools] = field(default_factory=dict)
    emit: Emit | None = None
    """Where to record that a region is waited for, once there is such a place."""
    on_programs: Callable[[Mapping[ArtifactKey, Program]], None] = _ignore
    """Who is told of ``programs`` whenever they have changed."""

    async def open_regions(self, stack: AsyncExitStack) -> None:
        """Make the regions of the chosen hosts ready to be asked; raises for what is wrong with keys and CAs."""
        for name in _regions_of(self.hosts, self.inventory):
            settings = self.inventory.regions[name]
            check_client_pair(settings, self.secrets.reveal, self.clock.now())
            issuer = await asyncio.to_thread(
                open_issuer, settings, self.secrets.reveal, self.clock, self.secrets.vault
            )
            opened = NomadRegion.open(settings, self.secrets.reveal, on_wait=partial(self._waited, name))
            api = await stack.enter_async_context(opened)
            watcher = NodeWatcher(api, self.clock)
            self.regions[name] = RegionTools(settings, api, watcher, issuer, read_ca(settings))

    async def _waited(self, name: RegionName, wait: Wait) -> None:
        if self.emit is not None:
            await self.emit(waited(name, wait))

    async def check_region(self, name: RegionName) -> RegionStatus:
        """What a region says of itself, held against what the inventory asks of it; with ``maintenance`` its namespaces' fences too.

        Raises ``ConfigurationError`` where it cannot take hosts, and what its calls and ``check_fences`` raise.
        """
        opened = self.regions[name]
        status = await opened.api.status()
        pools = {host.node_pool for host in self.hosts if host.region == name}
        check_region(status, opened.settings, self.inventory.nomad.version, pools)
        if self.inventory.nomad.signers:
            check_fences(name, await opened.api.namespaces())
        return status

    async def ensure_programs(self, facts: Iterable[tuple[Host, Facts]] | None = None) -> None:
        """Have the releases that the hosts need; without facts those for amd64, so that a wrong digest shows early.

        Raises ``TrustError`` or ``ConfigurationError`` as ``ArtifactStore.ensure`` does.
        """
        if facts is None:
            needs = releases(self.inventory, self.hosts, ("amd64",))
        else:
            subjects = self.subjects
            needs = {key for host, seen in facts for key in subjects.needs(host, seen)}
        self.programs |= await self.artifacts.ensure(needs)
        self.on_programs(self.programs)

    async def is_packed(self, program: Program, form: Form) -> bool:
        """See ``Packer``."""
        return self.artifacts.is_packed(program, form)

    async def pack(self, program: Program, form: Form) -> Program:
        """See ``Packer``."""
        try:
            return await self.artifacts.pack(program, form)
        except IonetctlError as error:
            if self.emit is not None:
                await self.emit(Warned(code=error.code, message=error.message, hint=error.hint))
            return program

    @property
    def subjects(self) -> Subjects:
        """What the hosts are given."""
        ca_pems = {name: tools.ca_pem for name, tools in self.regions.items()}
        return Subjects(self.inventory.nomad, self.inventory.regions, ca_pems, self.programs)


def open_store(inventory: Inventory, settings: Settings, mirror: str | None) -> ArtifactStore:
    """The cache, with the inventory's lock file, and ``mirror`` or else the inventory's mirror."""
    lock_file = Path(inventory.directory) / LOCK_FILE
    nomad = inventory.nomad
    return ArtifactStore(
        settings.prepare_cache(),
        mirror or nomad.mirror,
        lock_file,
        publisher=_publisher(nomad),
        own_builds=nomad.own_builds,
    )


def _publisher(nomad: NomadSettings) -> Publisher | None:
    """Who has to sign releases: nobody for builds of the site's own, unless it says who."""
    if nomad.own_builds and nomad.signing_fingerprint is None:
        return None
    key_path = Path(nomad.signing_key) if nomad.signing_key else None
    return Publisher(nomad.signing_fingerprint or VENDOR_FINGERPRINT, key_path)


def releases(inventory: Inventory, hosts: Iterable[Host], architectures: Iterable[str]) -> set[ArtifactKey]:
    """The executables that hosts of these architectures need; the device plugin is released for amd64 alone."""
    wanted = set(architectures)
    needs = {
        ArtifactKey(NOMAD, inventory.nomad.version, known)
        for known in ARCHITECTURES.values()
        if known in wanted
    }
    if "amd64" in wanted and any(host.gpus.count != 0 for host in hosts):
        needs.add(ArtifactKey(host_paths.DEVICE_PLUGIN, inventory.nomad.device_plugin_version, "amd64"))
    return needs


@asynccontextmanager
async def open_site(
    inventory_source: str, limit: str | None, artifacts_mirror: str | None, settings: Settings, clock: Clock
) -> AsyncIterator[Site]:
    """The site of an inventory, closed at the end of the block.

    Raises ``ConfigurationError`` and ``UsageError`` for all that is wrong with inventory, secrets and keys.
    """
    inventory = load_inventory(inventory_source)
    hosts = inventory.hosts if limit is None else select_hosts(inventory, limit)
    secrets = SecretStore(settings.environ, inventory.secret_variables)
    # Now, so that a missing one shows before any host is touched.
    await asyncio.to_thread(secrets.resolve_all, inventory.secrets_of(_regions_of(hosts, inventory), hosts))
    store = open_store(inventory, settings, artifacts_mirror)
    site = Site(inventory, hosts, secrets, store, clock)
    async with AsyncExitStack() as stack:
        await site.open_regions(stack)
        yield site


def _regions_of(hosts: Iterable[Host], inventory: Inventory) -> tuple[RegionName, ...]:
    """The regions that any of the hosts may join."""
    wanted = {name for host in hosts for name in candidates(host, inventory.regions)}
    return tuple(name for name in inventory.regions if name in wanted)
