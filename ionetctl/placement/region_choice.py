"""Which region a host with ``region: auto`` joins. Pure.

A region can be chosen where the inventory allows it, it has the host's node pool and free capacity, and the host reaches
one of its servers within ``max_rtt_ms``. Of those the nearest is taken; of several about equally near ones the one with
the most free capacity. Hosts are placed one after the other, in the inventory's order; each takes up capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
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
"""Round trips that differ by less than this count as equal: TCP handshakes vary by as much."""


@dataclass(slots=True)
class CandidateRegion:
    """A region that hosts may join. ``known`` are the ids of its nodes; down ones count until they are purged.

    ``joining`` counts the hosts placed there that it does not know yet.
    """

    settings: RegionSettings
    known: frozenset[NodeId]
    pools: frozenset[str] | None = None
    """``None`` where they are unknown: then every pool counts as there."""
    joining: int = 0

    @property
    def name(self) -> RegionName:
        """The region's name."""
        return self.settings.name

    @property
    def taken(self) -> int:
        """How many nodes it has, those of placed hosts included."""
        return len(self.known) + self.joining

    @property
    def left(self) -> int:
        """How many more it can take."""
        return self.settings.capacity - self.taken

    def takes(self, node_id: NodeId | None) -> bool:
        """Whether there is capacity for a node; one that is there already needs none."""
        return node_id in self.known or self.left > 0

    def count(self, node_id: NodeId | None) -> None:
        """Count a node that will join."""
        if node_id not in self.known:
            self.joining += 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The region that a host joins, and the reasons as text, the decisive one first."""

    region: RegionName
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Option:
    """A region for one host: its round-trip time in milliseconds, and why it cannot be chosen."""

    region: CandidateRegion
    rtt_ms: float | None
    refusal: str | None = None

    def __str__(self) -> str:
        if self.refusal or self.rtt_ms is None:
            return f"{self.region.name}: {self.refusal}"
        return (
            f"{self.region.name}: {self.rtt_ms:.0f} ms, "
            f"{self.region.taken:,} of {self.region.settings.capacity:,} nodes"
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


def other_region(host: Host, facts: Facts) -> Finding | None:
    """The finding on a host that is a node of another region than the inventory names.

    With another region's state its agent would be denied for ever, and it would be in neither: docs/reference/regions.md.
    Only the configuration tells the region, and that may have been edited by hand.
    """
    home, node_id = facts.machine.nomad_region, facts.nomad.node_id
    if node_id is None or home is None or host.region in (home, AUTO_REGION):
        return None
    message = f"its configuration makes it the node {node_id} of region {home}, and the inventory says {host.region}"
    hint = (
        f'leave region: {home}; or, if only its files were edited, put region = "{host.region}" back in '
        f"{host_paths.CONFIG_DIR}, systemctl restart nomad there, and run again; "
        f"or move it by hand: nomad node drain -enable -yes {node_id} in {home}, then on the host "
        f"systemctl stop nomad and rm -r {host_paths.STATE_DIR}, then run again and purge the node in {home}"
    )
    return Finding("node_of_other_region", Severity.BLOCK, message, hint)


@dataclass(slots=True)
class RegionChooser:
    """Chooses regions for a rollout's hosts; every placed host takes up capacity."""

    regions: Mapping[RegionName, CandidateRegion]

    def place(self, host: Host, facts: Facts) -> Choice | Finding:
        """The region that a host joins, or the finding that there is none; the region's capacity shrinks by it."""
        chosen = self._choose(host, facts)
        if isinstance(chosen, Choice):
            self.regions[chosen.region].count(facts.nomad.node_id)
        return chosen

    def _choose(self, host: Host, facts: Facts) -> Choice | Finding:
        allowed = candidates(host, self.regions)
        if host.region != AUTO_REGION:
            return Choice(host.region, ("the inventory says so",))
        if facts.nomad.is_ours and facts.machine.nomad_region:
            return _stay(facts.machine.nomad_region, allowed)
        options = [_option(self.regions[name], host, facts) for name in allowed]
        allowed_options = [option for option in options if option.refusal is None]
        if not allowed_options:
            return _no_region(options)
        best = _best(allowed_options)
        others = sorted((option for option in options if option is not best), key=_distance)
        return Choice(best.region.name, tuple(str(option) for option in (best, *others)))


def _stay(region: str, allowed: tuple[RegionName, ...]) -> Choice | Finding:
    """A host that is enrolled already stays in its region: moving it is another operation."""
    for name in allowed:
        if name == region:
            return Choice(name, ("the host is enrolled there already",))
    message = f"the host is enrolled in {region}, which is none of {', '.join(allowed) or 'the regions'}"
    hint = f"add {region} to placement.regions, or retire the node there before it joins another region"
    return Finding("region_left", Severity.BLOCK, message, hint)


def _option(region: CandidateRegion, host: Host, facts: Facts) -> _Option:
    distance = rtt_ms(region.settings, facts)
    limit = host.placement.max_rtt_ms
    refusal = None
    if distance is None:
        refusal = "none of its servers can be reached"
    elif limit is not None and distance > limit:
        refusal = f"{distance:.0f} ms away, {limit:g} allowed"
    elif region.pools is not None and host.node_pool not in region.pools:
        refusal = f"it has no node pool {host.node_pool}"
    elif not region.takes(facts.nomad.node_id):
        refusal = f"full: {region.taken:,} of {region.settings.capacity:,} nodes"
    return _Option(region, distance, refusal)


def _distance(option: _Option) -> tuple[float, str]:
    return (float("inf") if option.rtt_ms is None else option.rtt_ms, option.region.name)


def _best(options: list[_Option]) -> _Option:
    """Of the options about as near as the nearest the one with the most free capacity, the first by name among equals."""
    nearest = min(_distance(option)[0] for option in options)
    near = [o for o in options if _distance(o)[0] <= max(nearest + NEAR_MS, nearest * (1 + NEAR_SHARE))]
    return min(
        near, key=lambda option: (-option.region.left / option.region.settings.capacity, option.region.name)
    )


def _no_region(options: list[_Option]) -> Finding:
    message = f"no region can take the host: {'; '.join(map(str, options)) or 'none may be chosen'}"
    hint = "let TCP 4647 out to the regions' servers, widen placement, or name a region"
    return Finding("no_region", Severity.BLOCK, message, hint)
