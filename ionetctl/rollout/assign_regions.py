"""Where the hosts of a rollout go: regions chosen for those that leave it open, and no region overfilled.

A step over the whole fleet, between the survey and the plan. Sees model and ports; the choice itself is ``placement``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.events import HostPlaced
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.plural import counted
from ionetctl.placement.region_choice import CandidateRegion, RegionChooser

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Emit
    from ionetctl.host.dependencies import RegionTools
    from ionetctl.host.survey import Surveyed


@dataclass(frozen=True, slots=True)
class Placed:
    """The hosts with their regions, those that no region can take, and what would overfill each, if anything."""

    hosts: tuple[Surveyed, ...]
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
    chooser, placed, unplaced = RegionChooser(rooms), {}, []
    for each in sorted(surveyed, key=lambda found: found.host.region == AUTO_REGION):
        if each.host.region != AUTO_REGION and each.host.region not in rooms:
            placed[each.host.name] = each
            continue
        choice = _silent_region(each, regions, rooms) or chooser.place(each.host, each.facts)
        if isinstance(choice, Finding):
            unplaced.append((each, choice))
            continue
        placed[each.host.name] = replace(each, host=replace(each.host, region=choice.region))
        if each.host.region == AUTO_REGION:
            await emit(HostPlaced(host=each.host.name, region=choice.region, reasons=choice.reasons))
    hosts = tuple(placed[each.host.name] for each in surveyed if each.host.name in placed)
    return Placed(hosts, tuple(unplaced), _overfull(rooms.values()))


def _silent_region(
    each: Surveyed, regions: Mapping[RegionName, RegionTools], rooms: Mapping[RegionName, CandidateRegion]
) -> Finding | None:
    """Why a host cannot be placed whose own region does not answer: it must not be taken for each that left."""
    home = each.facts.machine.nomad_region
    if not each.facts.nomad.is_ours or home in rooms or home not in regions:
        return None
    message = f"the host is enrolled in {home}, which does not answer"
    hint = "repair the region and run again; until then its hosts are left as they are"
    return Finding("region_unreachable", Severity.BLOCK, message, hint)


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
