"""What the hosts of a site are given: which releases each needs, and what its bundle is made of. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.artifacts import ArtifactKey
from ionetctl.artifacts.release import NOMAD
from ionetctl.checks import ARCHITECTURES
from ionetctl.core import host_paths
from ionetctl.placement.region_choice import candidates
from ionetctl.plan.bundle import Door, Subject, wants_gpus, with_door
from ionetctl.remote import maintenance_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import NomadSettings, RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.plan import Program


@dataclass(frozen=True, slots=True)
class Subjects:
    """The hosts' regions with their CAs, and the releases; ``programs`` fills as architectures become known."""

    nomad: NomadSettings
    regions: Mapping[RegionName, RegionSettings]
    ca_pems: Mapping[RegionName, bytes]
    programs: dict[ArtifactKey, Program]

    def servers_of(self, host: Host) -> tuple[str, ...]:
        """The RPC addresses of every region that the host may join."""
        names = candidates(host, self.regions)
        return tuple(server for name in names for server in self.regions[name].servers)

    def needs(self, host: Host, facts: Facts) -> Iterator[ArtifactKey]:
        """The executables that a surveyed host needs."""
        yield self._nomad_key(facts)
        if key := self._plugin_key(host, facts):
            yield key

    def subject_of(self, host: Host, node_name: str, facts: Facts) -> Subject:
        """What the host's bundle is made of."""
        region, plugin = self.regions[host.region], self._plugin_key(host, facts)
        subject = Subject(
            host,
            node_name,
            facts,
            region,
            self.ca_pems[host.region],
            self.programs[self._nomad_key(facts)],
            self.programs[plugin] if plugin else None,
            self.nomad.drivers,
        )
        return with_door(subject, Door(self.nomad.signers, maintenance_script()))

    def _nomad_key(self, facts: Facts) -> ArtifactKey:
        return ArtifactKey(NOMAD, self.nomad.version, ARCHITECTURES[facts.architecture])

    def _plugin_key(self, host: Host, facts: Facts) -> ArtifactKey | None:
        """The device plugin's release for a host that offers GPUs; there is none for arm64."""
        if ARCHITECTURES[facts.architecture] != "amd64" or not wants_gpus(host, facts):
            return None
        return ArtifactKey(host_paths.DEVICE_PLUGIN, self.nomad.device_plugin_version, "amd64")
