"""The longer texts and documents that a Nomad server answers with, apart from the handlers that choose them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from ionetctl.lab.region.state.introduction import DEFAULT_TTL_S, MAX_TTL_S

if TYPE_CHECKING:
    from ionetctl.lab.documents import Document
    from ionetctl.lab.region.state.region import AclToken, RegionState

TOO_MANY: Final = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_PLAIN: Final = "text/plain; charset=utf-8"
MODES: Final[dict[str, tuple[int, str, str]]] = {
    "forbidden": (403, _PLAIN, "Permission denied"),
    "too-many": (429, "text/plain", TOO_MANY),
    "internal": (500, _PLAIN, "rpc error: EOF"),
    "no-leader": (500, _PLAIN, "No cluster leader"),
    "html": (
        200,
        "text/html",
        "<!doctype html><title>Sign in</title><p>This network wants you to sign in.</p>",
    ),
}
"""Ways in which the API can be told to fail every call: status, content type, text."""
_NS: Final = 1_000_000_000
_LITERALS: Final = {"n": "null", "t": "true", "f": "false"}


def server_name(region: str) -> str:
    """What the region's one server is called."""
    return f"srv-{region}"


def member(region: RegionState, address: str) -> Document:
    """The region's server as gossip lists it."""
    host, _, port = address.rpartition(":")
    return {
        "Addr": host,
        "DelegateCur": 4,
        "DelegateMax": 5,
        "DelegateMin": 2,
        "Name": f"{server_name(region.name)}.{region.name}",
        "Port": 4648,
        "ProtocolCur": 2,
        "ProtocolMax": 5,
        "ProtocolMin": 1,
        "Status": "alive",
        "Tags": {
            "bootstrap": "1",
            "build": region.version,
            "dc": f"{region.name}-ctl",
            "expect": "1",
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, region.name)),
            "port": port,
            "raft_vsn": "3",
            "region": region.name,
            "revision": "",
            "role": "nomad",
            "rpc_addr": host,
            "vsn": "1",
        },
    }


def agent_self(region: RegionState, address: str, known_regions: int) -> Document:
    """What the server says of its own configuration, as far as anybody here asks."""
    config = {
        "Region": region.name,
        "Datacenter": f"{region.name}-ctl",
        "Version": {
            "BuildDate": None,
            "Revision": "",
            "Version": region.version,
            "VersionMetadata": "",
            "VersionPrerelease": "",
        },
        "Server": {
            "ClientIntroduction": {
                "DefaultIdentityTTL": DEFAULT_TTL_S * _NS,
                "Enforcement": region.enforcement,
                "MaxIdentityTTL": MAX_TTL_S * _NS,
            },
            "HeartbeatGrace": 10 * _NS,
            "MinHeartbeatTTL": 0,
            "MaxHeartbeatsPerSecond": 0.0,
            "FailoverHeartbeatTTL": 0,
            "NodeGCThreshold": "",
        },
        "Limits": {
            "HTTPMaxConnsPerClient": 100,
            "HTTPSHandshakeTimeout": "5s",
            "RPCHandshakeTimeout": "5s",
            "RPCMaxConnsPerClient": 100_000,
        },
        "TLSConfig": {
            "EnableHTTP": True,
            "EnableRPC": True,
            "VerifyHTTPSClient": True,
            "VerifyServerHostname": True,
        },
        "ACL": {"Enabled": True},
    }
    stats = {"leader_addr": address, "bootstrap": "true", "known_regions": str(known_regions)}
    return {
        "config": config,
        "member": member(region, address),
        "stats": {**stats, "server": "true", "leader": "true"},
    }


def acl_token(token: AclToken, secret: str) -> Document:
    """A token as it sees itself."""
    return {
        "AccessorID": token.accessor_id,
        "CreateIndex": 10,
        "CreateTime": token.created_at,
        "ExpirationTTL": "",
        "ExpirationTime": None,
        "Global": True,
        "Hash": "",
        "ModifyIndex": 10,
        "Name": token.name,
        "Policies": [token.name],
        "Roles": None,
        "SecretID": secret,
        "Type": "client",
    }


def json_complaint(text: str) -> str:
    """Go's words for a body that is not JSON, as far as they are worth imitating."""
    stripped = text.lstrip()
    if not stripped:
        return "EOF"
    literal = _LITERALS.get(stripped[0])
    if literal is None:
        return f"invalid character '{stripped[0]}' looking for beginning of value"
    for found, wanted in zip(stripped[1:], literal[1:], strict=False):
        if found != wanted:
            return f"invalid character '{found}' in literal {literal} (expecting '{wanted}')"
    return "unexpected EOF"
