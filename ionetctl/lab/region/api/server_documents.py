"""The documents by which a Nomad server describes itself: its gossip member and its agent configuration."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from ionetctl.lab.region.state.introduction import DEFAULT_TTL_S, MAX_TTL_S

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.region.state.region_state import RegionState

_NS: Final = 1_000_000_000


def server_name(region: str) -> str:
    """The name of the region's only server."""
    return f"srv-{region}"


def member(region: RegionState, address: str) -> JsonObject:
    """The region's server as ``/v1/agent/members`` lists it; ``address`` is ``HOST:PORT`` of its RPC."""
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


def agent_self(region: RegionState, address: str, known_regions: int) -> JsonObject:
    """The server's configuration and statistics as ``/v1/agent/self`` shows them, for the keys that ionetctl reads."""
    stats = {"leader_addr": address, "bootstrap": "true", "known_regions": str(known_regions)}
    return {
        "config": _config(region),
        "member": member(region, address),
        "stats": {**stats, "server": "true", "leader": "true"},
    }


def _config(region: RegionState) -> JsonObject:
    return {
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
