"""Checks of the way from the host to its region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import Firewall, Reach

FAR_MS: Final = 200.0
MTU: Final = 1500
"""What Docker gives its bridge (its option ``mtu``)."""


def _attempts(facts: Facts) -> tuple[Reach, ...]:
    """The connections that the host had a tool to try."""
    return tuple(reach for reach in facts.machine.reaches if reach.failure != "no_tool")


def _blocking_firewalls(facts: Facts) -> tuple[Firewall, ...]:
    """The host's own firewalls that let no RPC out, as far as their rules say."""
    firewalls = facts.machine.firewalls or ()
    return tuple(each for each in firewalls if each.blocks_outbound and each.allows_rpc is False)


def _failures(reaches: Iterable[Reach]) -> str:
    return ", ".join(f"{reach.host}:{reach.port} ({reach.failure})" for reach in reaches)


SERVERS_UNREACHABLE: Final = Code(
    "servers_unreachable",
    Severity.BLOCK,
    "no server of the region can be reached on its RPC port",
    looks_at="A TCP connection from the host to each address in servers of its region (port 4647 unless it says otherwise).",
    matters=(
        "A node talks to its region over this port alone: without it the agent starts, says that it is well, and never "
        "shows up in the region."
    ),
    remedy="open outbound TCP 4647 from the host to the region's servers; correct servers of the region",
)

SERVERS_PARTLY_UNREACHABLE: Final = Code(
    "servers_partly_unreachable",
    Severity.WARN,
    "some servers of the region cannot be reached",
    looks_at="The same connections: one at least succeeds, and one at least does not.",
    matters=(
        "The node registers, and is lost when the servers that it reaches are. After registering it uses the addresses "
        "that the servers advertise, all of which must be reachable."
    ),
    remedy="open outbound TCP 4647 to all of the region's servers",
)


def servers(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the region's servers let the host in, where neither name resolution nor its own firewall is the cause.

    A host that is yet to be placed need not reach every region that it might join.
    """
    tried = _attempts(facts)
    failed = [reach for reach in tried if reach.failure]
    refused = [reach for reach in failed if reach.failure != "unresolved"]
    if not refused:
        return
    if len(failed) < len(tried):
        if host.region != AUTO_REGION:
            message = (
                f"{len(refused)} of {counted(len(tried), 'server')} cannot be reached: {_failures(refused)}"
            )
            yield found(SERVERS_PARTLY_UNREACHABLE, message)
    elif not _blocking_firewalls(facts):
        message = f"no server of the region can be reached: {_failures(failed)}"
        yield found(SERVERS_UNREACHABLE, message)


DNS_FAILING: Final = Code(
    "dns_failing",
    Severity.BLOCK,
    "names of the region's servers do not resolve",
    looks_at="Whether the host's resolver knows the names in servers: blocking where it knows none, otherwise a warning.",
    matters="Nomad resolves the names when it starts and only then; an agent that finds none stays up without a server.",
    remedy="mend /etc/resolv.conf or the site's resolver, or give addresses in servers",
)


def dns(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host can look up the region's servers."""
    tried = _attempts(facts)
    unresolved = sorted({reach.host for reach in tried if reach.failure == "unresolved"})
    if unresolved:
        resolved = [reach for reach in tried if reach.failure != "unresolved"]
        severity = Severity.WARN if resolved else Severity.BLOCK
        message = f"its resolver does not know {listed(unresolved)}"
        yield found(DNS_FAILING, message, severity=severity)


REGION_FAR: Final = Code(
    "region_far",
    Severity.WARN,
    "the way to the region is long",
    looks_at="The shortest handshake with a server of the region, against placement.max_rtt_ms or else 200 ms.",
    matters="Nomad itself bears it. Jobs that talk to their heads in the region feel every millisecond.",
    remedy="choose a nearer region; ionetctl region check shows them",
)


def latency(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the nearest server is near enough."""
    limit_ms = host.placement.max_rtt_ms or FAR_MS
    nearest_ms = min((reach.rtt_ms for reach in facts.machine.reaches if reach.rtt_ms is not None), default=0)
    if nearest_ms > limit_ms:
        message = f"its nearest server answers after {nearest_ms:.0f} ms, more than {limit_ms:g} ms"
        yield found(REGION_FAR, message)


MTU_LOW: Final = Code(
    "mtu_low",
    Severity.WARN,
    "the uplink carries smaller packets than containers will send",
    looks_at="The MTU of the interfaces that have a default route, against Docker's 1500.",
    matters=(
        "Tunnels and PPPoE carry less. Where somebody on the way drops the notices of that, large transfers hang: a TLS "
        "handshake, the pull of an image."
    ),
    remedy='raise the MTU, or set the uplink\'s value as "mtu" in /etc/docker/daemon.json',
)


def mtu(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the uplink carries packets as large as containers send."""
    for interface in facts.machine.interfaces or ():
        if interface.has_default_route and interface.mtu is not None and interface.mtu < MTU:
            yield found(
                MTU_LOW, f"{interface.name} carries {interface.mtu} bytes, containers will send {MTU}"
            )


FIREWALL_BLOCKS_RPC: Final = Code(
    "firewall_blocks_rpc",
    Severity.BLOCK,
    "the host's own firewall lets no RPC out",
    looks_at=(
        "ufw, firewalld, nftables and iptables: the policy for what leaves, and rules for TCP 4647. Quiet where a "
        "connection to a server succeeds all the same."
    ),
    matters=(
        "The node could never reach its region. What is measured weighs more than what rules seem to say: where no "
        "connection was tried, this is a warning."
    ),
    remedy="allow outbound TCP 4647, or prepare: {firewall: true}",
    mended_by="firewall",
)


def firewall(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host's own firewall blocks RPC; a connection that succeeds weighs more than its rules."""
    tried, blocking = _attempts(facts), _blocking_firewalls(facts)
    if blocking and all(reach.failure for reach in tried):
        message = f"{listed(each.kind for each in blocking)} lets no TCP 4647 out"
        yield found(FIREWALL_BLOCKS_RPC, message, severity=Severity.BLOCK if tried else Severity.WARN)
