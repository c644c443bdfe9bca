"""What a region of the rehearsal knows: nodes, pools, tokens, and what it thinks of a registration.

It holds state and rules, and nothing of connections or HTTP. It trusts nothing that an agent says beyond what a real
server trusts. Time is handed in, in seconds since the epoch.
"""

from __future__ import annotations

import random
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.lab.region.state.introduction import Enforcement, Presented, Signer, is_allowed, new_signer
from ionetctl.lab.region.state.node_records import event, fresh, pool, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.lab.documents import Document

BUILT_IN_POOLS: Final = {"all": "Node pool with all nodes in the cluster.", "default": "Default node pool."}
HEARTBEAT_GRACE_S: Final = 10.0
_MIN_HEARTBEAT_TTL_S: Final = 10.0
_MAX_HEARTBEATS_PER_S: Final = 50.0
_EVENTS_KEPT: Final = 10
METADATA_DELAY_S: Final = 5.0
"""How long an agent keeps a change of its metadata to itself, at least."""

Right = Literal["node:read", "node:write", "agent:read", "node_pool:read"]


class RegistrationError(Exception):
    """A registration or heartbeat was refused; the text is what a Nomad server answers the client."""


@dataclass(frozen=True, slots=True)
class AclToken:
    """A token of the region and what its policies grant."""

    name: str
    rights: frozenset[str]
    accessor_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=lambda: timestamp(datetime.now(UTC).timestamp()))


@dataclass(slots=True)
class Metadata:
    """A node's metadata as its agent keeps it; ``shows_at`` is when the servers are told of a change."""

    static: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, str | None] = field(default_factory=dict)
    shows_at: float | None = None

    @property
    def merged(self) -> dict[str, str]:
        """What the node goes by; a key that was taken away is not there, whatever its configuration says."""
        merged: dict[str, str | None] = {**self.static, **self.dynamic}
        return {key: value for key, value in merged.items() if value is not None}

    def change(self, meta: dict[str, str | None]) -> None:
        """Take over a change; what is taken away must be remembered where the configuration says it."""
        changed = {**self.dynamic, **meta}
        self.dynamic = {k: value for k, value in changed.items() if value is not None or k in self.static}


@dataclass(slots=True)
class RegionState:
    """One region. ``is_authoritative`` regions create a missing node pool by themselves, others do not."""

    name: str
    version: str = "2.0.5"
    enforcement: Enforcement = "strict"
    is_authoritative: bool = False
    has_leader: bool = True
    index: int = 10
    tokens: dict[str, AclToken] = field(default_factory=dict, repr=False)
    nodes: dict[str, Document] = field(default_factory=dict)
    pools: dict[str, Document] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    """Why nodes were refused: a real server tells only its own log."""
    signer: Signer = field(init=False)
    _metadata: dict[str, Metadata] = field(default_factory=dict)
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)
    _deadlines: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = new_signer(self.name)
        for name, description in BUILT_IN_POOLS.items():
            self.pools[name] = pool(name, description, 1)

    def next_index(self) -> int:
        """The index of a new write."""
        self.index += 1
        return self.index

    def add_pool(self, name: str) -> None:
        """Create a node pool where it does not exist."""
        if name not in self.pools:
            self.pools[name] = pool(name, "", self.next_index())

    def add_token(self, name: str, rights: Iterable[Right], secret: str | None = None) -> str:
        """The secret of a new ACL token with these rights."""
        secret = secret or str(uuid.uuid4())
        granted = set(rights) | ({"node:read"} if "node:write" in rights else set())
        self.tokens[secret] = AclToken(name, frozenset(granted))
        return secret

    def register(self, node: Document, secret_id: str, credential: str, now: float) -> Document:
        """What a server answers ``Node.Register``; raises ``RegistrationError``.

        ``credential`` is the node identity or the introduction token that the agent presents, or nothing.
        """
        node_id = str(node.get("ID", ""))
        self._admit(node, node_id, secret_id, credential, now)
        node_pool = str(node.get("NodePool", "default"))
        if self.is_authoritative:
            self.add_pool(node_pool)
        known = self.nodes.get(node_id)
        metadata = self._metadata.setdefault(node_id, Metadata())
        metadata.static, metadata.shows_at = dict(node.get("Meta") or {}), None
        self.nodes[node_id] = self._stored({**node, "Meta": metadata.merged}, known, now)
        self._secrets[node_id] = secret_id
        self._deadlines.setdefault(node_id, now + self._ttl_s() + HEARTBEAT_GRACE_S)
        return {"identity": self.signer.identify(node_id, node_pool, now), "heartbeat_ttl_s": 0.0}

    def _admit(self, node: Document, node_id: str, secret_id: str, credential: str, now: float) -> None:
        if not node_id or not secret_id or not node.get("Name"):
            raise RegistrationError("missing node ID, secret ID or name for client registration")
        if node_id in self.nodes:
            if not secrets.compare_digest(self._secrets[node_id].encode(), secret_id.encode()):
                raise RegistrationError("node secret ID does not match. Not registering node.")
            return
        if credential and self.signer.is_identity_of(credential, node_id, now):
            return
        presented = self.signer.judge(
            credential, str(node["Name"]), str(node.get("NodePool", "default")), now
        )
        if not is_allowed(presented, self.enforcement):
            self._note(f"node {node['Name']}: registration denied: {presented}")
            raise RegistrationError("Permission denied")
        if presented is Presented.NOTHING and self.enforcement == "warn":
            self._note(f"node {node['Name']}: registered without introduction")

    def _note(self, line: str) -> None:
        self.refusals.append(line)
        del self.refusals[:-1000]

    def _stored(self, node: Document, known: Document | None, now: float) -> Document:
        index = self.next_index()
        stored = {
            **node,
            "SecretID": "",
            "ModifyIndex": index,
            "StatusUpdatedAt": int(now),
            "TLSEnabled": True,
        }
        if known is None:
            stored |= fresh(index, stored, self.signer.key_id)
            stored["Events"] = [event(0, "Node registered", "Cluster", now)]
            return stored
        kept = (
            "CreateIndex",
            "Drain",
            "DrainStrategy",
            "LastDrain",
            "SchedulingEligibility",
            "Events",
            "Status",
        )
        stored |= fresh(index, stored, self.signer.key_id) | {key: known[key] for key in kept}
        if known["Status"] == "down":
            stored["Status"] = "initializing"
            self._append_event(stored, "Node re-registered", "Cluster", now)
        return stored

    def heartbeat(self, node_id: str, secret_id: str, credential: str, now: float) -> Document:
        """What a server answers ``Node.UpdateStatus``: seconds until the next one is due; raises ``RegistrationError``."""
        node = self.nodes.get(node_id)
        if node is None:
            raise RegistrationError("node not found")
        if not secrets.compare_digest(self._secrets[node_id].encode(), secret_id.encode()):
            raise RegistrationError("Permission denied")
        ttl_s = self._ttl_s()
        self._deadlines[node_id] = now + ttl_s + HEARTBEAT_GRACE_S
        if node["Status"] != "ready" and node["NodePool"] in self.pools:
            if node["Status"] == "down":
                self._append_event(node, "Node reregistered by heartbeat", "Cluster", now)
            self._set_status(node, "ready", now)
        return {
            "heartbeat_ttl_s": ttl_s,
            "identity": credential,
            "eligibility": node["SchedulingEligibility"],
        }

    def _ttl_s(self) -> float:
        ttl_s = max(_MIN_HEARTBEAT_TTL_S, len(self.nodes) / _MAX_HEARTBEATS_PER_S)
        return ttl_s * (1 + random.random())  # noqa: S311 - jitter, as Nomad adds it

    def metadata(self, node_id: str) -> Metadata | None:
        """What an agent says of its metadata; ``None`` where there is no way to it."""
        return None if self.nodes[node_id]["Status"] == "down" else self._metadata[node_id]

    def annotate(self, node_id: str, meta: dict[str, str | None], now: float) -> None:
        """Change a node's dynamic metadata: its agent knows at once, the servers some seconds later."""
        metadata = self._metadata[node_id]
        metadata.change(meta)
        metadata.shows_at = metadata.shows_at or now + METADATA_DELAY_S

    def _show_metadata(self, now: float) -> None:
        for node_id, metadata in self._metadata.items():
            if node_id in self.nodes and metadata.shows_at is not None and now >= metadata.shows_at:
                metadata.shows_at = None
                node = self.nodes[node_id]
                node["Meta"], node["ModifyIndex"] = metadata.merged, self.next_index()

    def expire(self, now: float) -> None:
        """What comes with time: nodes are down whose heartbeats stayed away, changed metadata shows."""
        self._show_metadata(now)
        for node_id, deadline in list(self._deadlines.items()):
            if now > deadline:
                del self._deadlines[node_id]
                node = self.nodes[node_id]
                node["LastMissedHeartbeatIndex"] = self._set_status(node, "down", now)
                self._append_event(node, "Node heartbeat missed", "Cluster", now)

    def _set_status(self, node: Document, status: str, now: float) -> int:
        node["Status"] = status
        node["StatusUpdatedAt"] = int(now)
        node["ModifyIndex"] = self.next_index()
        return self.index

    def set_eligibility(self, node_id: str, eligibility: str, now: float) -> int:
        """The index of the write, 0 where nothing changed; the caller knows that the node exists."""
        node = self.nodes[node_id]
        if node["SchedulingEligibility"] == eligibility:
            return 0
        node["SchedulingEligibility"] = eligibility
        node["ModifyIndex"] = self.next_index()
        self._append_event(node, f"Node marked as {eligibility} for scheduling", "Cluster", now)
        return self.index

    def drain(self, node_id: str, spec: Document, now: float) -> int:
        """Begin a drain, or end it where there is no ``DrainSpec``; nothing runs here, so it completes at once."""
        node = self.nodes[node_id]
        node["ModifyIndex"] = self.next_index()
        if spec.get("DrainSpec") is None:
            node["SchedulingEligibility"] = (
                "eligible" if spec.get("MarkEligible") else node["SchedulingEligibility"]
            )
            return self.index
        written = self.index
        node["SchedulingEligibility"] = "ineligible"
        self._append_event(node, "Node drain strategy set", "Drain", now)
        node["LastDrain"] = {
            "AccessorID": f"token:{spec.get('accessor', '')}",
            "Meta": spec.get("Meta"),
            "StartedAt": timestamp(now, whole=True),
            "Status": "complete",
            "UpdatedAt": timestamp(now, whole=True),
        }
        node["ModifyIndex"] = self.next_index()
        self._append_event(node, "Node drain complete", "Drain", now)
        return written

    def purge(self, node_id: str) -> int:
        """Forget a node; it comes back by its identity if its agent still runs."""
        del self.nodes[node_id]
        del self._secrets[node_id]
        self._deadlines.pop(node_id, None)
        return self.next_index()

    def nodes_index(self) -> int:
        """The index of the last write to the table of nodes."""
        return max((int(node["ModifyIndex"]) for node in self.nodes.values()), default=1)

    def _append_event(self, node: Document, message: str, subsystem: str, now: float) -> None:
        node["Events"] = [*node["Events"], event(self.index, message, subsystem, now)][-_EVENTS_KEPT:]
