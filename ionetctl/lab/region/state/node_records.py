"""Nodes and node pools as a Nomad server's documents show them: what is added to what an agent sent, and what is left out."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.lab.documents import Document

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


def stub(node: Document, *, with_resources: bool) -> Document:
    """A node as the list shows it."""
    shown = {key: node[key] for key in STUB_KEYS}
    shown["Address"] = str(node["HTTPAddr"]).rpartition(":")[0]
    shown["Version"] = node["Attributes"].get("nomad.version", "")
    if with_resources:
        shown["NodeResources"] = node["NodeResources"]
        shown["ReservedResources"] = node["ReservedResources"]
    return shown


def timestamp(now: float, *, whole: bool = False) -> str:
    """RFC 3339 in UTC, with nanoseconds unless ``whole``, as Go prints it."""
    moment = datetime.fromtimestamp(now, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if whole else "%Y-%m-%dT%H:%M:%S.%f000Z")


def event(index: int, message: str, subsystem: str, now: float) -> Document:
    """An entry of a node's history."""
    when = timestamp(now, whole=index == 0)
    return {
        "CreateIndex": index,
        "Details": None,
        "Message": message,
        "Subsystem": subsystem,
        "Timestamp": when,
    }


def pool(name: str, description: str, index: int) -> Document:
    """A node pool."""
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


_FRESH: Final[Document] = {
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


def fresh(index: int, node: Document, key_id: str) -> Document:
    """What a server adds to a node that registers for the first time."""
    return {
        **copy.deepcopy(_FRESH),
        "ComputedClass": f"v1:{random.Random(str(node.get('NodeClass'))).getrandbits(63)}",  # noqa: S311 - a label
        "CreateIndex": index,
        "IdentitySigningKeyID": key_id,
        "SchedulingEligibility": node.get("SchedulingEligibility") or "eligible",
    }
