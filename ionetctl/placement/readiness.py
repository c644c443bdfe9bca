"""Whether a region can take the hosts that an inventory assigns to it: the findings of ``region check``. Pure.

Takes what the region reported and when certificates end; must not know how either was obtained or is shown.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, ExitCode
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.plural import counted
from ionetctl.placement import heartbeats
from ionetctl.placement.compatibility import check_region
from ionetctl.placement.fences import fence_findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import RegionStatus, SeenNamespaces

ALIVE: Final = "alive"
ENDING_DAYS: Final = 30
NEARLY_FULL: Final = 0.1
"""The share of free capacity below which another region should be planned."""
DEFAULT_CONNECTIONS: Final = 100
"""Nomad's default of limits.rpc_max_conns_per_client, used where the token may not read it; 0 means no limit."""
EXIT: Final = int(ExitCode.UNVERIFIED)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that a region needs, and its end. ``what`` is ``API``, ``CA``, ``issuer``, ``node`` or ``client``."""

    what: str
    ends_at: datetime

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; negative after its end."""
        return (self.ends_at - now).days


@dataclass(frozen=True, slots=True)
class RegionHosts:
    """The inventory's hosts that join a region, or may join it.

    ``named`` counts those that name it, ``joining`` those of them that it does not know yet, ``undecided`` those with
    ``region: auto`` that may be placed there. ``pools`` are the node pools that they need. ``sharing_address`` is the
    largest number of hosts that seem to share one public address, ``datacenter`` theirs.
    """

    named: int = 0
    joining: int = 0
    undecided: int = 0
    pools: frozenset[str] = frozenset()
    sharing_address: int = 0
    datacenter: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about one region; ``nodes`` counts its nodes by status, down ones too."""

    settings: RegionSettings
    status: RegionStatus
    nodes: Mapping[str, int]
    hosts: RegionHosts
    certificates: tuple[Certificate, ...]
    nomad_version: str
    at: datetime
    issuer_signs_servers: bool = False
    """Whether whoever has the issuer's key could make a server's certificate."""
    namespaces: SeenNamespaces | None = None
    """Those that our token sees; ``None`` where nobody asked, since the inventory has no maintenance door."""

    @property
    def known(self) -> int:
        """How many nodes take up its capacity; nodes that are down count until they are purged."""
        return sum(self.nodes.values())

    @property
    def expected(self) -> int:
        """How many nodes it will have after all hosts have joined that there is capacity for."""
        return max(self.known, min(self.known + self.hosts.joining, self.settings.capacity))

    @property
    def left(self) -> int:
        """How many more nodes it can take."""
        return self.settings.capacity - self.known


@dataclass(frozen=True, slots=True)
class UnansweredRegion:
    """A region that could not be queried, and why."""

    name: RegionName
    code: str
    message: str
    hint: str
    exit_code: ExitCode


def region_hosts(
    hosts: Iterable[Host], name: RegionName, undecided: int, known_names: frozenset[str]
) -> RegionHosts:
    """The hosts that name a region; ``known_names`` are the names of its nodes."""
    own = [host for host in hosts if host.region == name]
    datacenters = Counter(host.datacenter for host in own if _shares_address(host))
    datacenter, sharing_address = max(
        datacenters.items(), key=lambda item: (item[1], item[0]), default=("", 0)
    )
    return RegionHosts(
        named=len(own),
        joining=sum(host.name not in known_names for host in own),
        undecided=undecided,
        pools=frozenset(host.node_pool for host in own),
        sharing_address=sharing_address,
        datacenter=datacenter,
    )


def _shares_address(host: Host) -> bool:
    """Whether a host seems to be behind NAT: it has a jump host, or a private address."""
    if host.ssh.jump:
        return True
    try:
        return ipaddress.ip_address(host.address).is_private
    except ValueError:
        return False


def region_findings(inspection: Inspection) -> tuple[Finding, ...]:
    """What is wrong with a region, the most severe first."""
    found = (
        *_unfit(inspection),
        *_servers(inspection),
        *_rights(inspection),
        *_room(inspection),
        *_certificates(inspection),
        *_issuer(inspection),
        *_beats(inspection),
        *(fence_findings(inspection.settings.name, inspection.namespaces) if inspection.namespaces else ()),
    )
    return tuple(sorted(found, key=lambda finding: _WORST_FIRST.index(finding.severity)))


_WORST_FIRST: Final = (Severity.BLOCK, Severity.WARN, Severity.INFO)


def _unfit(inspection: Inspection) -> Iterator[Finding]:
    """What would end every rollout into the region before any host is changed."""
    seen = set()
    for pool in sorted(inspection.hosts.pools) or ["default"]:
        try:
            check_region(inspection.status, inspection.settings, inspection.nomad_version, [pool])
        except ConfigurationError as error:
            if error.message not in seen:
                seen.add(error.message)
                yield Finding(error.code, Severity.BLOCK, error.message, error.hint, EXIT)


def _servers(inspection: Inspection) -> Iterator[Finding]:
    servers = inspection.status.servers
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


def _rights(inspection: Inspection) -> Iterator[Finding]:
    status = inspection.status
    if status.heartbeats is None:
        message = "our token or this address shows nothing of the servers' configuration"
        hint = "add agent { policy = \"read\" } to the token's policy, and let api name this region's own servers"
        yield _warn("region_configuration_hidden", message, hint)
    elif status.enforcement in {"none", "warn"}:
        message = f"a node without an introduction is let in (enforcement: {status.enforcement})"
        hint = 'set server { client_introduction { enforcement = "strict" } }'
        yield Finding("introduction_not_enforced", Severity.INFO, message, hint, EXIT)


def _room(inspection: Inspection) -> Iterator[Finding]:
    capacity, hosts = inspection.settings.capacity, inspection.hosts
    if hosts.joining > inspection.left:
        message = (
            f"{counted(hosts.joining, 'host')} would join {inspection.settings.name}, which has {counted(inspection.known, 'node')} "
            f"and carries {capacity:,}"
        )
        hint = "purge nodes that are gone, give hosts another region, or raise the region's capacity"
        yield Finding("region_overfull", Severity.BLOCK, message, hint, EXIT)
    elif inspection.left - hosts.joining < capacity * NEARLY_FULL:
        message = f"room for {max(0, inspection.left - hosts.joining):,} of {capacity:,} nodes is left once all have joined"
        yield _warn("region_nearly_full", message, "prepare another region, and purge nodes that are gone")
    limit = inspection.status.connections_per_client
    limit = DEFAULT_CONNECTIONS if limit is None else limit
    if 0 < limit < hosts.sharing_address:
        message = f"{hosts.sharing_address:,} hosts of {hosts.datacenter} seem to share an address, of which the servers take {limit:,}"
        hint = f"raise limits.rpc_max_conns_per_client above {hosts.sharing_address:,}, on all servers"
        yield _warn("region_connections_few", message, hint)


def _certificates(inspection: Inspection) -> Iterator[Finding]:
    for certificate in inspection.certificates:
        days = certificate.days_left(inspection.at)
        if days < ENDING_DAYS:
            when = "has ended" if days < 0 else f"ends in {counted(days, 'day')}"
            message = f"the {certificate.what} certificate {when} ({certificate.ends_at:%Y-%m-%d})"
            yield _warn("certificate_ending", message, "renew it before nodes and rollouts are refused")


def _issuer(inspection: Inspection) -> Iterator[Finding]:
    if inspection.issuer_signs_servers:
        message = f"whoever has the issuer's key can make a server's certificate (server.{inspection.settings.name}.nomad)"
        hint = "give the site an intermediate that permits the names of clients alone (docs/how-to/constrain-an-issuer.md)"
        yield Finding("issuer_unconstrained", Severity.INFO, message, hint, EXIT)


def _beats(inspection: Inspection) -> Iterator[Finding]:
    size = inspection.expected
    if inspection.status.heartbeats is None:
        return
    advice = heartbeats.advise(inspection.status.heartbeats, size)
    if advice.is_short:
        message = (
            f"with {counted(size, 'node')} clients beat every {advice.ttl_s:.0f} to {2 * advice.ttl_s:.0f} s: "
            f"after a change of leader, nodes may count as down after {inspection.status.heartbeats.failover_ttl_s:.0f} s"
        )
        hint = f'set server {{ failover_heartbeat_ttl = "{advice.failover_ttl_s:.0f}s" }} on all servers'
        yield _warn("heartbeats_short", message, hint)


def _warn(code: str, message: str, hint: str) -> Finding:
    return Finding(code, Severity.WARN, message, hint, EXIT)
