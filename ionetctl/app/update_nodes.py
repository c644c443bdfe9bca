"""``update`` from options to exit code: opens records, releases and the way of words, and goes through the nodes.

Wires adapters to the core; what is done with a host stands in ``maintenance.update``.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ionetctl.app.change_nodes import Opened, roll_out
from ionetctl.app.open_inventory import open_store
from ionetctl.app.subjects import Subjects
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import ConfigurationError, RegionError, TrustError
from ionetctl.core.model.names import NodeId
from ionetctl.credentials.certificates import read_ca
from ionetctl.credentials.word_signing import sign
from ionetctl.history.catalog import Catalog
from ionetctl.maintenance.update import Courier, Update
from ionetctl.nomad import NomadRegion
from ionetctl.placement.fences import check_fences
from ionetctl.plan.installation import facts_of
from ionetctl.plan.word import NAMESPACE
from ionetctl.remote import apply_script

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from ionetctl.app.open_fleet import Fleet
    from ionetctl.app.open_rollout import Record
    from ionetctl.artifacts import ArtifactKey
    from ionetctl.core.errors import ExitCode, IonetctlError
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.ports import Region, Sink
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog.installations import Installations
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.rollout.options import RolloutOptions

_KEY_AT: Final = len(b"SSHSIG") + 4
"""Where a signature has its public key (OpenSSH's PROTOCOL.sshsig): after the magic text and the version."""


async def update_nodes(
    options: RolloutOptions,
    settings: Settings,
    sinks: Sequence[Sink],
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]],
    signer: str | None,
) -> ExitCode:
    """Bring the enrolled hosts of an inventory to what it says, by words that ``signer`` signs: a key file, or a public one for an agent's.

    Only a check needs none. Raises as ``roll_out`` does, and ``ConfigurationError`` (``maintenance_off``, ``signer_unknown``, ``signing_failed``).
    """
    opening = _Opening(options, settings, signer)
    return await roll_out(opening.action, options, settings, sinks, confirm)


@dataclass(frozen=True, slots=True)
class _Opening:
    options: RolloutOptions
    settings: Settings
    signer: str | None

    async def action(self, fleet: Fleet, record: Record) -> Opened:
        """The update of a fleet. Hosts of a region where a door would make tenants root have that as their problem."""
        inventory, settings = fleet.inventory, self.settings
        await self._check_signer(inventory)
        fleet = replace(
            fleet, regions={name: await _fenced(name, each) for name, each in fleet.regions.items()}
        )
        installations = await asyncio.to_thread(
            self._installations, {(host.region, host.name) for host in _placed(fleet)}
        )
        store = open_store(inventory, settings, self.options.artifacts)
        programs: dict[ArtifactKey, Any] = {}
        ca_pems = {name: read_ca(inventory.regions[name]) for name in fleet.regions}
        subjects = Subjects(inventory.nomad, inventory.regions, ca_pems, programs)
        programs |= await store.ensure(await asyncio.to_thread(_needs, subjects, fleet, installations))
        courier = Courier(
            rollout=record.rollout,
            apply_script=apply_script(),
            doors={name: each.door for name, each in fleet.regions.items() if isinstance(each, NomadRegion)},
            sign=partial(sign, key=self.signer or "", purpose=NAMESPACE, environ=settings.environ),
            pack=store.pack,
            source=_source(inventory),
        )
        action = Update(installations, subjects.subject_of, inventory.naming, courier, self.options.lose_jobs)
        return Opened(action, fleet, action.whole_plan)

    def _installations(self, of_hosts: set[tuple[RegionName, HostName]]) -> Installations:
        with Catalog.open(self.settings.catalog_path, SystemClock()) as catalog:
            return catalog.installations(of_hosts)

    async def _check_signer(self, inventory: Inventory) -> None:
        """Refuse before any host is touched what no host would heed."""
        signers = inventory.nomad.signers
        if not signers:
            message = "the inventory has no maintenance, so its hosts have no door for words"
            hint = "add maintenance: {signers: […]} and enrol the hosts once more (docs/explanation/maintenance.md)"
            raise ConfigurationError("maintenance_off", message, hint)
        if self.signer is None:
            return
        armoured = await sign(b"", self.signer, NAMESPACE, self.settings.environ)
        if _public_key(armoured) not in {signer.split()[1] for signer in signers}:
            message = f"the key {self.signer} is none of the inventory's maintenance: signers"
            raise ConfigurationError("signer_unknown", message, "hosts would refuse what it signs")


def _public_key(armoured: bytes) -> str:
    """The public key that a signature names, in base64."""
    blob = b64decode(b"".join(armoured.split(b"\n")[1:-2]))
    length = int.from_bytes(blob[_KEY_AT : _KEY_AT + 4], "big")
    return b64encode(blob[_KEY_AT + 4 : _KEY_AT + 4 + length]).decode()


async def _fenced(name: RegionName, region: Region | IonetctlError) -> Region | IonetctlError:
    """The region, or why nothing must be changed through it: jobs of tenants could do on its hosts what words do."""
    if not isinstance(region, NomadRegion):
        return region
    try:
        check_fences(name, await region.namespaces())
    except (RegionError, TrustError) as error:
        return error
    return region


def _needs(subjects: Subjects, fleet: Fleet, installations: Installations) -> set[ArtifactKey]:
    """The releases of all hosts of which it is known what lies there."""
    return {
        key
        for host in _placed(fleet)
        for installed in installations.all_of(host.region, host.name)
        for key in subjects.needs(host, facts_of(installed, NodeId(""), "", 0))
    }


def _placed(fleet: Fleet) -> Iterator[Host]:
    """The chosen hosts, each in every region where it may be."""
    for listed in fleet.inventory.hosts:
        yield from fleet.known.placed(listed, fleet.inventory.regions)


def _source(inventory: Inventory) -> str | None:
    """The URL below which hosts find programs by their digests."""
    url = inventory.mirror or inventory.nomad.mirror or ""
    return url.rstrip("/") if "://" in url else None
