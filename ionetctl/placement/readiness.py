"""Whether a region can take the hosts that an inventory means for it: what ``region check`` says. Pure.

Knows what a region said and how long certificates last; must not know how either was had, or how it is shown.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, ExitCode
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.placement import heartbeats
from ionetctl.verification.registrar import check_region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import RegionStatus

ALIVE: Final = "alive"
ENDING_DAYS: Final = 30
NEARLY_FULL: Final = 0.1
"""The share of a region's capacity below which it is time to think of another region."""
DEFAULT_CONNECTIONS: Final = 100
"""Nomad's limits.rpc_max_conns_per_client where nobody may look; 0 is none at all."""
EXIT: Final = int(ExitCode.UNVERIFIED)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a region's work depends on (``API``, ``CA``, ``issuer``, ``node``, ``client``), and its end."""

    what: str
    ends_at: datetime

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; negative once it has."""
        return (self.ends_at - now).days


@dataclass(frozen=True, slots=True)
class Guests:
    """The inventory's hosts that are meant for a region.

    ``named`` counts those that name it, ``joining`` those of them that it does not know yet, ``undecided`` those of
    ``region: auto`` that may come to it. ``behind_one`` is the largest number that seem to share one public address,
    ``site`` their datacenter.
    """

    named: int = 0
    joining: int = 0
    undecided: int = 0
    pools: frozenset[str] = frozenset()
    behind_one: int = 0
    site: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found of one region; ``nodes`` counts those that it knows by status, down ones too."""

    settings: RegionSettings
    status: RegionStatus
    nodes: Mapping[str, int]
    guests: Guests
    certificates: tuple[Certificate, ...]
    nomad_version: str
    at: datetime

    @property
    def known(self) -> int:
        """How many nodes take up its capacity: it keeps those that are down until they are purged."""
        return sum(self.nodes.values())

    @property
    def expected(self) -> int:
        """How many nodes it will have once all have joined for whom there is room."""
        return max(self.known, min(self.known + self.guests.joining, self.settings.capacity))

    @property
    def left(self) -> int:
        """How many more nodes it can take."""
        return self.settings.capacity - self.known


@dataclass(frozen=True, slots=True)
class Silence:
    """A region that could not be asked, and why."""

    name: RegionName
    code: str
    message: str
    hint: str
    exit_code: ExitCode


def guests(hosts: Iterable[Host], name: RegionName, undecided: int, known_names: frozenset[str]) -> Guests:
    """The hosts that name a region; ``known_names`` are those of its nodes."""
    own = [host for host in hosts if host.region == name]
    sites = Counter(host.datacenter for host in own if _is_behind_another(host))
    site, behind_one = max(sites.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    return Guests(
        named=len(own),
        joining=sum(host.name not in known_names for host in own),
        undecided=undecided,
        pools=frozenset(host.node_pool for host in own),
        behind_one=behind_one,
        site=site,
    )


def _is_behind_another(host: Host) -> bool:
    """Whether a host seems to leave its site by an address that it shares: it has a jump host, or a private address."""
    if host.ssh.jump:
        return True
    try:
        return ipaddress.ip_address(host.address).is_private
    except ValueError:
        return False


def judge(one: Inspection) -> tuple[Finding, ...]:
    """What speaks against a region, the worst first."""
    found = (*_unfit(one), *_servers(one), *_rights(one), *_room(one), *_certificates(one), *_beats(one))
    return tuple(sorted(found, key=lambda finding: _WORST_FIRST.index(finding.severity)))


_WORST_FIRST: Final = (Severity.BLOCK, Severity.WARN, Severity.INFO)


def _unfit(one: Inspection) -> Iterator[Finding]:
    """What would end every rollout into the region before it touches a host."""
    seen = set()
    for pool in sorted(one.guests.pools) or ["default"]:
        try:
            check_region(one.status, one.settings, one.nomad_version, [pool])
        except ConfigurationError as error:
            if error.message not in seen:
                seen.add(error.message)
                yield Finding(error.code, Severity.BLOCK, error.message, error.hint, EXIT)


def _servers(one: Inspection) -> Iterator[Finding]:
    servers = one.status.servers
    alive = [server for server in servers if server.status == ALIVE]
    if not any(server.is_leader for server in alive):
        message = "none of the servers that it lists is its leader"
        yield _warn("region_leader_unknown", message, "look at: nomad operator raft list-peers")
    for server in servers:
        if server.status == "failed":
            message = f"the server {server.name} ({server.address}) does not answer the others"
            yield _warn(
                "region_server_failed", message, "repair it, or take it out: nomad server force-leave"
            )
    versions = sorted({server.version for server in alive})
    if len(versions) > 1:
        message = f"its servers run {', '.join(versions)}"
        yield _warn(
            "region_versions_mixed", message, "finish the upgrade: clients may be as new as the oldest"
        )
    if len(alive) % 2 == 0:
        message = (
            f"{len(alive)} of its servers are alive: an even number bears no more failures than one fewer"
        )
        yield _warn("region_servers_even", message, "run three or five")


def _rights(one: Inspection) -> Iterator[Finding]:
    status = one.status
    if status.heartbeats is None:
        message = "our token or this address shows nothing of the servers' configuration"
        hint = "add agent { policy = \"read\" } to the token's policy, and let api name this region's own servers"
        yield _warn("region_configuration_hidden", message, hint)
    elif status.enforcement in {"none", "warn"}:
        message = f"a node without an introduction is let in (enforcement: {status.enforcement})"
        hint = 'set server { client_introduction { enforcement = "strict" } }'
        yield Finding("introduction_not_enforced", Severity.INFO, message, hint, EXIT)


def _room(one: Inspection) -> Iterator[Finding]:
    capacity, come = one.settings.capacity, one.guests
    if come.joining > one.left:
        message = (
            f"{come.joining:,} hosts are to join {one.settings.name}, which has {one.known:,} nodes "
            f"and carries {capacity:,}"
        )
        hint = "purge nodes that are gone, give hosts another region, or raise the region's capacity"
        yield Finding("region_overfull", Severity.BLOCK, message, hint, EXIT)
    elif one.left - come.joining < capacity * NEARLY_FULL:
        message = (
            f"room for {max(0, one.left - come.joining):,} of {capacity:,} nodes is left once all have joined"
        )
        yield _warn("region_nearly_full", message, "prepare another region, and purge nodes that are gone")
    limit = one.status.connections_per_client
    limit = DEFAULT_CONNECTIONS if limit is None else limit
    if 0 < limit < come.behind_one:
        message = f"{come.behind_one:,} hosts of {come.site} seem to share an address, of which the servers take {limit:,}"
        hint = f"raise limits.rpc_max_conns_per_client above {come.behind_one:,}, on all servers"
        yield _warn("region_connections_few", message, hint)


def _certificates(one: Inspection) -> Iterator[Finding]:
    for certificate in one.certificates:
        days = certificate.days_left(one.at)
        if days < ENDING_DAYS:
            when = "has ended" if days < 0 else f"ends in {days} days"
            message = f"the {certificate.what} certificate {when} ({certificate.ends_at:%Y-%m-%d})"
            yield _warn("certificate_ending", message, "renew it before nodes and rollouts are refused")


def _beats(one: Inspection) -> Iterator[Finding]:
    size = one.expected
    if one.status.heartbeats is None:
        return
    advice = heartbeats.advise(one.status.heartbeats, size)
    if advice.is_short:
        message = (
            f"with {size:,} nodes clients beat every {advice.ttl_s:.0f} to {2 * advice.ttl_s:.0f} s: "
            f"after a change of leader, nodes may count as down after {one.status.heartbeats.failover_ttl_s:.0f} s"
        )
        hint = f'set server {{ failover_heartbeat_ttl = "{advice.failover_ttl_s:.0f}s" }} on all servers'
        yield _warn("heartbeats_short", message, hint)


def _warn(code: str, message: str, hint: str) -> Finding:
    return Finding(code, Severity.WARN, message, hint, EXIT)
