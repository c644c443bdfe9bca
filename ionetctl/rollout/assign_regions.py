"""Where the hosts of a rollout go: regions chosen for those that leave it open, and no region overfilled.

A step over the whole fleet, between the survey and the plan. Sees model and ports; the choice itself is ``placement``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.events import HostPlaced
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.names import RegionName
from ionetctl.core.model.outcome import Finding
from ionetctl.core.plural import counted
from ionetctl.placement.region_choice import CandidateRegion, RegionChooser, candidates, other_region

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Emit
    from ionetctl.host.dependencies import RegionTools
    from ionetctl.host.survey import Surveyed


@dataclass(frozen=True, slots=True)
class Placed:
    """The hosts with their regions, those that no region can take, and what would overfill each, if anything.

    ``hosts`` has those too that must wait for a region that does not answer: ``waiting`` names it, by host.
    """

    hosts: tuple[Surveyed, ...]
    waiting: Mapping[HostName, RegionName]
    unplaced: tuple[tuple[Surveyed, Finding], ...]
    overfull: ConfigurationError | None


async def place(
    surveyed: Sequence[Surveyed],
    regions: Mapping[RegionName, RegionTools],
    nodes: Mapping[RegionName, Sequence[NodeView]],
    emit: Emit,
) -> Placed:
    """Give every surveyed host its region. ``nodes`` are those that each region knows; others are left out.

    Hosts whose region the inventory names count first, so that the others find what room there is.
    """
    rooms = {name: _room(regions[name], nodes[name]) for name in regions if name in nodes}
    chooser, unplaced = RegionChooser(rooms), []
    placed: dict[HostName, Surveyed] = {}
    waiting: dict[HostName, RegionName] = {}
    for each in sorted(surveyed, key=lambda found: found.host.region == AUTO_REGION):
        if finding := other_region(each.host, each.facts):
            unplaced.append((each, finding))
            continue
        if silent := _silent_region(each, regions, rooms):
            region = silent if each.facts.nomad.is_ours else each.host.region
            placed[each.host.name] = replace(each, host=replace(each.host, region=region))
            waiting[each.host.name] = silent
            continue
        choice = chooser.place(each.host, each.facts)
        if isinstance(choice, Finding):
            unplaced.append((each, choice))
            continue
        placed[each.host.name] = replace(each, host=replace(each.host, region=choice.region))
        if each.host.region == AUTO_REGION:
            await emit(HostPlaced(host=each.host.name, region=choice.region, reasons=choice.reasons))
    hosts = tuple(placed[each.host.name] for each in surveyed if each.host.name in placed)
    return Placed(hosts, waiting, tuple(unplaced), _overfull(rooms.values()))


def _silent_region(
    each: Surveyed, regions: Mapping[RegionName, RegionTools], rooms: Mapping[RegionName, CandidateRegion]
) -> RegionName | None:
    """The region that a host must wait for: its own, the one that it is enrolled in, or the first of those it may join."""
    home = RegionName(each.facts.machine.nomad_region or "")
    if each.host.region == AUTO_REGION and each.facts.nomad.is_ours and home in regions:
        return None if home in rooms else home
    allowed = candidates(each.host, regions)
    return None if not allowed or any(name in rooms for name in allowed) else allowed[0]


def _room(tools: RegionTools, nodes: Sequence[NodeView]) -> CandidateRegion:
    pools = tools.status.pools if tools.status else None
    return CandidateRegion(tools.settings, frozenset(view.id for view in nodes), pools)


def _overfull(rooms: Iterable[CandidateRegion]) -> ConfigurationError | None:
    """The error of a region that would have more nodes than it carries; each that is too full already is none."""
    full = [room for room in rooms if room.joining and room.left < 0]
    if not full:
        return None
    told = "; ".join(
        f"{counted(room.joining, 'host')} would join {room.name}, which has {counted(len(room.known), 'node')} "
        f"and carries {room.settings.capacity:,}"
        for room in full
    )
    hint = "purge nodes that are gone, give hosts another region (or region: auto), or raise the region's capacity"
    return ConfigurationError("region_overfull", told, hint)
