"""Checks of the way from the host to its region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found, listed
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import Firewall, Reach

FAR_MS: Final = 200.0
MTU: Final = 1500
"""What Docker gives its bridge (its option ``mtu``)."""


def _tried(facts: Facts) -> tuple[Reach, ...]:
    """The attempts that somebody could make."""
    return tuple(reach for reach in facts.machine.reaches if reach.failure != "no_tool")


def _walls(facts: Facts) -> tuple[Firewall, ...]:
    """The host's own firewalls that let no RPC out, as far as their rules say."""
    firewalls = facts.machine.firewalls or ()
    return tuple(wall for wall in firewalls if wall.blocks_outbound and wall.allows_rpc is False)


def _failures(reaches: Iterable[Reach]) -> str:
    return ", ".join(f"{reach.host}:{reach.port} ({reach.failure})" for reach in reaches)


def names(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host can look up the region's servers."""
    tried = _tried(facts)
    unresolved = sorted({reach.host for reach in tried if reach.failure == "unresolved"})
    if unresolved:
        resolved = [reach for reach in tried if reach.failure != "unresolved"]
        severity = Severity.WARN if resolved else Severity.BLOCK
        message = f"its resolver does not know {listed(unresolved)}"
        yield found("dns_failing", message, severity=severity)


def servers(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the region's servers let the host in, as far as neither names nor a firewall of its own are to blame.

    A host that is yet to be placed need not reach every region that it might join.
    """
    tried = _tried(facts)
    failed = [reach for reach in tried if reach.failure]
    refused = [reach for reach in failed if reach.failure != "unresolved"]
    if not refused:
        return
    if len(failed) < len(tried):
        if host.region != AUTO_REGION:
            message = f"{len(refused)} of {len(tried)} servers cannot be reached: {_failures(refused)}"
            yield found("servers_partly_unreachable", message)
    elif not _walls(facts):
        message = f"no server of the region can be reached: {_failures(failed)}"
        yield found("servers_unreachable", message)


def firewall(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host's own firewall is in the way; a connection that succeeds is the better witness."""
    tried, walls = _tried(facts), _walls(facts)
    if walls and all(reach.failure for reach in tried):
        message = f"{listed(wall.kind for wall in walls)} lets no TCP 4647 out"
        yield found("firewall_blocks_rpc", message, severity=Severity.BLOCK if tried else Severity.WARN)


def distance(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the nearest server is near enough."""
    limit_ms = host.placement.max_rtt_ms or FAR_MS
    nearest_ms = min((reach.rtt_ms for reach in facts.machine.reaches if reach.rtt_ms is not None), default=0)
    if nearest_ms > limit_ms:
        message = f"its nearest server answers after {nearest_ms:.0f} ms, more than {limit_ms:g} ms"
        yield found("region_far", message)


def packets(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the uplink carries what containers send."""
    for one in facts.machine.interfaces or ():
        if one.has_default_route and one.mtu is not None and one.mtu < MTU:
            yield found("mtu_low", f"{one.name} carries {one.mtu} bytes, containers will send {MTU}")
