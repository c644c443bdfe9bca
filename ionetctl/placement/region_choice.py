"""Which region a host joins that leaves the choice to the survey (``region: auto``). Pure.

A region may be chosen where the inventory allows it, its node pool exists, one of its servers can be reached from the
host, near enough, and there is room. Of those the nearest is taken; where several are about equally near, the one with
the most room. Hosts are placed one after the other, in the inventory's order, each counting against the room of the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.outcome import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import NodeId, RegionName

NEAR_MS: Final = 5.0
NEAR_SHARE: Final = 0.1
"""Round trips that differ by less than this are about equal: what a handshake takes varies by as much."""


@dataclass(slots=True)
class Room:
    """A region that hosts may join. ``known`` are the ids of its nodes, down ones too: they take its room until purged.

    ``joining`` counts the hosts that were placed there and that it does not know yet.
    """

    settings: RegionSettings
    known: frozenset[NodeId]
    pools: frozenset[str] | None = None
    """``None`` where nobody asked."""
    joining: int = 0

    @property
    def name(self) -> RegionName:
        """The region's name."""
        return self.settings.name

    @property
    def taken(self) -> int:
        """How many nodes it has, and is about to have."""
        return len(self.known) + self.joining

    @property
    def left(self) -> int:
        """How many more it can take."""
        return self.settings.capacity - self.taken

    def takes(self, node_id: NodeId | None) -> bool:
        """Whether there is room for a node; one that is there already needs none."""
        return node_id in self.known or self.left > 0

    def count(self, node_id: NodeId | None) -> None:
        """Take a node's joining into account."""
        if node_id not in self.known:
            self.joining += 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The region that a host joins, and why: for people, the decisive reason first."""

    region: RegionName
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Offer:
    """A region as one host sees it: how far it is, and what speaks against it."""

    room: Room
    rtt_ms: float | None
    refusal: str | None = None

    def __str__(self) -> str:
        if self.refusal or self.rtt_ms is None:
            return f"{self.room.name}: {self.refusal}"
        return (
            f"{self.room.name}: {self.rtt_ms:.0f} ms, "
            f"{self.room.taken:,} of {self.room.settings.capacity:,} nodes"
        )


def candidates(host: Host, regions: Iterable[RegionName]) -> tuple[RegionName, ...]:
    """The regions that a host may join: its own, or those that ``region: auto`` leaves open."""
    if host.region != AUTO_REGION:
        return (host.region,)
    return tuple(name for name in regions if not host.placement.regions or name in host.placement.regions)


def rtt_ms(settings: RegionSettings, facts: Facts) -> float | None:
    """The median of the round trips to those of a region's servers that answered, in milliseconds."""
    found = [
        reach.rtt_ms
        for reach in facts.machine.reaches
        if reach.rtt_ms is not None and _address(reach.host, reach.port) in settings.servers
    ]
    return median(found) if found else None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(slots=True)
class Places:
    """The rooms of a rollout's regions, filled as hosts are placed."""

    rooms: Mapping[RegionName, Room]

    def place(self, host: Host, facts: Facts) -> Choice | Finding:
        """The region that a host joins, or the finding that there is none; counts it against that region's room."""
        chosen = self._choose(host, facts)
        if isinstance(chosen, Choice):
            self.rooms[chosen.region].count(facts.nomad.node_id)
        return chosen

    def _choose(self, host: Host, facts: Facts) -> Choice | Finding:
        allowed = candidates(host, self.rooms)
        if host.region != AUTO_REGION:
            return Choice(host.region, ("the inventory says so",))
        if facts.nomad.is_ours and facts.machine.nomad_region:
            return _stay(facts.machine.nomad_region, allowed)
        offers = [_offer(self.rooms[name], host, facts) for name in allowed]
        open_ones = [offer for offer in offers if offer.refusal is None]
        if not open_ones:
            return _nowhere(offers)
        best = _best(open_ones)
        others = sorted((offer for offer in offers if offer is not best), key=_distance)
        return Choice(best.room.name, tuple(str(offer) for offer in (best, *others)))


def _stay(region: str, allowed: tuple[RegionName, ...]) -> Choice | Finding:
    """A host that is a region's already stays there: a move needs a plan of its own."""
    for name in allowed:
        if name == region:
            return Choice(name, ("the host is enrolled there already",))
    message = f"the host is enrolled in {region}, which is none of {', '.join(allowed) or 'the regions'}"
    hint = f"add {region} to placement.regions, or retire the node there before it joins another region"
    return Finding("region_left", Severity.BLOCK, message, hint)


def _offer(room: Room, host: Host, facts: Facts) -> _Offer:
    distance = rtt_ms(room.settings, facts)
    limit = host.placement.max_rtt_ms
    refusal = None
    if distance is None:
        refusal = "none of its servers can be reached"
    elif limit is not None and distance > limit:
        refusal = f"{distance:.0f} ms away, {limit:g} allowed"
    elif room.pools is not None and host.node_pool not in room.pools:
        refusal = f"it has no node pool {host.node_pool}"
    elif not room.takes(facts.nomad.node_id):
        refusal = f"full: {room.taken:,} of {room.settings.capacity:,} nodes"
    return _Offer(room, distance, refusal)


def _distance(offer: _Offer) -> tuple[float, str]:
    return (float("inf") if offer.rtt_ms is None else offer.rtt_ms, offer.room.name)


def _best(offers: list[_Offer]) -> _Offer:
    """Of those about as near as the nearest the one with the most room; of equals the first by name, not by noise."""
    nearest = min(_distance(offer)[0] for offer in offers)
    near = [o for o in offers if _distance(o)[0] <= max(nearest + NEAR_MS, nearest * (1 + NEAR_SHARE))]
    return min(near, key=lambda offer: (-offer.room.left / offer.room.settings.capacity, offer.room.name))


def _nowhere(offers: list[_Offer]) -> Finding:
    message = f"no region can take the host: {'; '.join(map(str, offers)) or 'none may be chosen'}"
    hint = "let TCP 4647 out to the regions' servers, widen placement, or name a region"
    return Finding("no_region", Severity.BLOCK, message, hint)
