"""The documents of Nomad's API for nodes, node events and node pools, with the keys and defaults of Nomad 2.0.5."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject

STUB_KEYS: Final = (
    "CreateIndex",
    "Datacenter",
    "Drain",
    "Drivers",
    "HostVolumes",
    "ID",
    "LastDrain",
    "ModifyIndex",
    "Name",
    "NodeClass",
    "NodePool",
    "SchedulingEligibility",
    "Status",
    "StatusDescription",
)
_NODE_IDENTITY_TTL_NS: Final = 86_400_000_000_000


def node_stub(node: JsonObject, *, with_resources: bool) -> JsonObject:
    """A node as ``/v1/nodes`` lists it."""
    shown = {key: node[key] for key in STUB_KEYS}
    shown["Address"] = str(node["HTTPAddr"]).rpartition(":")[0]
    shown["Version"] = node["Attributes"].get("nomad.version", "")
    if with_resources:
        shown["NodeResources"] = node["NodeResources"]
        shown["ReservedResources"] = node["ReservedResources"]
    return shown


def timestamp(now: float, *, whole: bool = False) -> str:
    """RFC 3339 in UTC as Go prints it: with nanoseconds, or with whole seconds."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if whole else "%Y-%m-%dT%H:%M:%S.%f000Z")


def node_event(index: int, message: str, subsystem: str, now: float) -> JsonObject:
    """An entry of a node's ``Events``."""
    when = timestamp(now, whole=index == 0)
    return {
        "CreateIndex": index,
        "Details": None,
        "Message": message,
        "Subsystem": subsystem,
        "Timestamp": when,
    }


def node_pool_document(name: str, description: str, index: int) -> JsonObject:
    """A node pool as the API shows it."""
    return {
        "CreateIndex": index,
        "Description": description,
        "Hash": None,
        "Meta": None,
        "ModifyIndex": index,
        "Name": name,
        "NodeIdentityTTL": _NODE_IDENTITY_TTL_NS,
        "SchedulerConfiguration": None,
    }


_NEW_NODE: Final[JsonObject] = {
    "CSIControllerPlugins": {},
    "CSINodePlugins": {},
    "Drain": False,
    "DrainStrategy": None,
    "GCVolumesOnNodeGC": False,
    "HostNetworks": None,
    "HostVolumes": {},
    "LastAllocUpdateIndex": 0,
    "LastDrain": None,
    "LastMissedHeartbeatIndex": 0,
    "Links": {},
    "NodeMaxAllocs": 0,
    "Status": "initializing",
    "StatusDescription": "",
}


def new_node_fields(index: int, node: JsonObject, key_id: str) -> JsonObject:
    """The fields that a server adds to a node when it registers for the first time."""
    return {
        **copy.deepcopy(_NEW_NODE),
        "ComputedClass": f"v1:{random.Random(str(node.get('NodeClass'))).getrandbits(63)}",  # noqa: S311 - a label
        "CreateIndex": index,
        "IdentitySigningKeyID": key_id,
        "SchedulingEligibility": node.get("SchedulingEligibility") or "eligible",
    }
