"""Why a node does not register, as read from its agent's log. Pure: lines in, a cause and its remedy out.

The patterns are log lines of real agents (Nomad 2.0.5), each misconfigured in one way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause, what it means here, and what to do about it."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Symptom:
    """A row of the table: what a line of the log looks like, and what it means."""

    pattern: re.Pattern[str]
    diagnosis: Diagnosis


def diagnose(log_lines: Sequence[str]) -> Diagnosis | None:
    """The first row of the table that any line shows, or ``None``. Causes stand before their consequences."""
    for symptom in SYMPTOMS:
        if any(symptom.pattern.search(line) for line in log_lines):
            return symptom.diagnosis
    return None


def _symptom(pattern: str, code: str, message: str, hint: str) -> Symptom:
    return Symptom(re.compile(pattern, re.IGNORECASE), Diagnosis(code, message, hint))


SYMPTOMS: Final[tuple[Symptom, ...]] = (
    _symptom(
        r"failed to load cert/key pair|private key does not match public key",
        "node_pair_mismatch",
        "the node's key and certificate do not belong together, so its agent does not start",
        "run again: both are issued anew",
    ),
    _symptom(
        r"failed to create nomad cgroup",
        "cgroups_unavailable",
        "the agent cannot make its cgroup, so it does not start: controllers are read-only or missing",
        "mount the cgroup controllers writable (a container or a custom kernel hides them)",
    ),
    _symptom(
        r"node secret ID does not match",
        "client_id_cloned",
        "another machine has registered with this client-id: the image was cloned with Nomad's state in it",
        "stop Nomad, delete the client's state directory (/opt/nomad/data/client), run again",
    ),
    _symptom(
        r"certificate is valid for .*, not server\.",
        "wrong_region_servers",
        "the servers that answer the node are another region's",
        "correct regions.….servers: they must be servers of this region",
    ),
    _symptom(
        r"x509: certificate signed by unknown authority",
        "wrong_ca_on_node",
        "the node does not trust the servers: its CA file is another region's",
        "correct tls.ca of the region",
    ),
    _symptom(
        r"x509: certificate has expired or is not yet valid",
        "server_certificate_expired",
        "by the node's clock the servers' certificate is not valid",
        "look at the host's clock (timedatectl), then at the servers' certificates",
    ),
    _symptom(
        r"remote error: tls: (unknown certificate authority|unknown certificate)",
        "node_certificate_untrusted",
        "the servers do not trust the node's certificate: it is signed by a foreign CA",
        "correct tls.issuer of the region: its CA must be one that the servers trust",
    ),
    _symptom(
        r"remote error: tls: (bad certificate|certificate required|expired certificate)",
        "node_certificate_refused",
        "the servers refuse the node's certificate: it does not bear client.<region>.nomad, or is out of its time",
        "the region's name in the inventory must be Nomad's own; look at the host's clock",
    ),
    _symptom(
        r"(registering|rpc)\b.*Permission denied",
        "introduction_denied",
        "the region refuses the node: its introduction token is missing, expired or another's, "
        "or its state is another region's",
        "run again for a new token; if the host came from another region, delete state.db in /opt/nomad/data/client",
    ),
    _symptom(
        r"dial tcp .*(no route to host|network is unreachable|i/o timeout|connection refused)"
        r"|connect: (no route to host|connection refused)|dial tcp .*deadline exceeded",
        "servers_unreachable",
        "the node cannot reach its servers",
        "open outbound TCP 4647 to the region's servers, at the site's firewall and on the host",
    ),
    _symptom(
        r"none of the configured servers are valid|no such host|no servers available|no servers",
        "servers_unresolved",
        "the node knows no server: their names do not resolve on the host",
        "look at the host's DNS (resolvectl query), or give regions.….servers as IP addresses, then run again",
    ),
)
