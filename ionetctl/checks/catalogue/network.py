"""Codes about the way from the host to its region."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "servers_unreachable",
        Severity.BLOCK,
        "no server of the region can be reached on its RPC port",
        "A TCP connection from the host to each address in servers of its region (port 4647 unless it says otherwise).",
        "A node talks to its region over this port alone: without it the agent starts, says that it is well, and never "
        "shows up in the region.",
        "open outbound TCP 4647 from the host to the region's servers; correct servers of the region",
    ),
    Row(
        "servers_partly_unreachable",
        Severity.WARN,
        "some servers of the region cannot be reached",
        "The same connections: one at least succeeds, and one at least does not.",
        "The node registers, and is lost when the servers that it reaches are. After registering it uses the addresses "
        "that the servers advertise, all of which must be reachable.",
        "open outbound TCP 4647 to all of the region's servers",
    ),
    Row(
        "dns_failing",
        Severity.BLOCK,
        "names of the region's servers do not resolve",
        "Whether the host's resolver knows the names in servers: blocking where it knows none, otherwise a warning.",
        "Nomad resolves the names when it starts and only then; an agent that finds none stays up without a server.",
        "mend /etc/resolv.conf or the site's resolver, or give addresses in servers",
    ),
    Row(
        "region_far",
        Severity.WARN,
        "the way to the region is long",
        "The shortest handshake with a server of the region, against placement.max_rtt_ms or else 200 ms.",
        "Nomad itself bears it. Jobs that talk to their heads in the region feel every millisecond.",
        "choose a nearer region; ionetctl region check shows them",
    ),
    Row(
        "mtu_low",
        Severity.WARN,
        "the uplink carries smaller packets than containers will send",
        "The MTU of the interfaces that have a default route, against Docker's 1500.",
        "Tunnels and PPPoE carry less. Where somebody on the way drops the notices of that, large transfers hang: a TLS "
        "handshake, the pull of an image.",
        'raise the MTU, or set the uplink\'s value as "mtu" in /etc/docker/daemon.json',
    ),
    Row(
        "firewall_blocks_rpc",
        Severity.BLOCK,
        "the host's own firewall lets no RPC out",
        "ufw, firewalld, nftables and iptables: the policy for what leaves, and rules for TCP 4647. Quiet where a "
        "connection to a server succeeds all the same.",
        "The node could never reach its region. What is measured weighs more than what rules seem to say: where no "
        "connection was tried, this is a warning.",
        "allow outbound TCP 4647, or prepare: {firewall: true}",
        mended_by="firewall",
    ),
)
