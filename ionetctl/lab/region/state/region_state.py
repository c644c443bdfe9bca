"""The state of a region, and the rules by which a Nomad server changes it: nodes, node pools, ACL tokens.

Knows nothing of connections or HTTP. An agent's registration is checked as a Nomad server checks it. Every ``now`` is in
seconds since the epoch.
"""

from __future__ import annotations

import random
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.lab.region.state.allocation_records import Work, allocation_document
from ionetctl.lab.region.state.introduction import Enforcement, Signer, TokenVerdict, is_allowed, new_signer
from ionetctl.lab.region.state.node_records import new_node_fields, node_event, node_pool_document, timestamp
from ionetctl.lab.region.state.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ionetctl.lab.json_object import JsonObject

BUILT_IN_POOLS: Final = {"all": "Node pool with all nodes in the cluster.", "default": "Default node pool."}
OPEN_NAMESPACES: Final[Mapping[str, Sequence[str] | None]] = {"default": None}
"""As a new region has them."""
HEARTBEAT_GRACE_S: Final = 10.0
_MIN_HEARTBEAT_TTL_S: Final = 10.0
_MAX_HEARTBEATS_PER_S: Final = 50.0
_EVENTS_KEPT: Final = 10
_NANOSECONDS: Final = 1_000_000_000
_NO_NODE: Final[JsonObject] = {"ID": "", "Name": ""}
_NEVER: Final = "0001-01-01T00:00:00Z"
METADATA_DELAY_S: Final = 5.0
"""How long it takes at least until the servers learn of a change of an agent's dynamic metadata."""

Right = Literal[
    "node:read",
    "node:write",
    "agent:read",
    "node_pool:read",
    "list-jobs",
    "read-job",
    "submit-job",
    "read-logs",
    "variables",
]


class RegistrationError(Exception):
    """A registration or heartbeat was refused; the text is what a Nomad server answers."""


@dataclass(frozen=True, slots=True)
class AclToken:
    """An ACL token and the rights that its policies grant."""

    name: str
    rights: frozenset[str]
    accessor_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=lambda: timestamp(datetime.now(UTC).timestamp()))


@dataclass(slots=True)
class Metadata:
    """A node's metadata as its agent has it; at ``visible_at`` the servers learn of a change (``None``: no change)."""

    static: dict[str, str] = field(default_factory=dict)
    dynamic: dict[str, str | None] = field(default_factory=dict)
    visible_at: float | None = None

    @property
    def merged(self) -> dict[str, str]:
        """The metadata in effect: dynamic values replace those of the configuration, and ``None`` removes a key."""
        merged: dict[str, str | None] = {**self.static, **self.dynamic}
        return {key: value for key, value in merged.items() if value is not None}

    def change(self, meta: dict[str, str | None]) -> None:
        """Apply a change; the removal of a key that the configuration has is kept as ``None``."""
        changed = {**self.dynamic, **meta}
        self.dynamic = {k: value for k, value in changed.items() if value is not None or k in self.static}


@dataclass(slots=True)
class RegionState:
    """One region. A registration creates a missing node pool in an authoritative region only."""

    name: str
    version: str = "2.0.5"
    enforcement: Enforcement = "strict"
    is_authoritative: bool = False
    has_leader: bool = True
    has_old_log: bool = False
    """Stale reads are answered as by a server that has just restarted: from a log of before the first node."""
    index: int = 10
    tokens: dict[str, AclToken] = field(default_factory=dict, repr=False)
    nodes: dict[str, JsonObject] = field(default_factory=dict)
    pools: dict[str, JsonObject] = field(default_factory=dict)
    allocations: dict[str, JsonObject] = field(default_factory=dict)
    """What runs on the nodes, by id."""
    task_drivers: Mapping[str, Sequence[str] | None] = field(default_factory=lambda: dict(OPEN_NAMESPACES))
    """The namespaces, each with the only task drivers that its jobs may use; ``None`` is no limit."""
    variables: dict[str, JsonObject] = field(default_factory=dict, repr=False)
    """By path."""
    door_logs: dict[str, str] = field(default_factory=dict, repr=False)
    """By node id what the task of the maintenance door has in its log."""
    server_log: list[str] = field(default_factory=list)
    """Why nodes were refused: Nomad writes that to the servers' log and does not tell the client."""
    signer: Signer = field(init=False)
    workload: Workload = field(init=False)
    _metadata: dict[str, Metadata] = field(default_factory=dict)
    _secrets: dict[str, str] = field(default_factory=dict, repr=False)
    _deadlines: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = new_signer(self.name)
        self.workload = Workload(self.nodes, self.next_index)
        for name, description in BUILT_IN_POOLS.items():
            self.pools[name] = node_pool_document(name, description, 1)

    def next_index(self) -> int:
        """The Raft index of a new write."""
        self.index += 1
        return self.index

    def add_pool(self, name: str) -> None:
        """Create the node pool, unless it exists."""
        if name not in self.pools:
            self.pools[name] = node_pool_document(name, "", self.next_index())

    def add_token(self, name: str, rights: Iterable[Right], secret: str | None = None) -> str:
        """Create an ACL token with these rights; returns its secret."""
        secret = secret or str(uuid.uuid4())
        granted = set(rights) | ({"node:read"} if "node:write" in rights else set())
        self.tokens[secret] = AclToken(name, frozenset(granted))
        return secret

    def register(self, node: JsonObject, secret_id: str, credential: str, now: float) -> JsonObject:
        """The answer to ``Node.Register``; raises ``RegistrationError``.

        ``credential`` is the node identity or the introduction token that the agent presents; it may be empty.
        """
        node_id = str(node.get("ID", ""))
        self._check_registration(node, node_id, secret_id, credential, now)
        node_pool = str(node.get("NodePool", "default"))
        if self.is_authoritative:
            self.add_pool(node_pool)
        known = self.nodes.get(node_id)
        metadata = self._metadata.setdefault(node_id, Metadata())
        metadata.static, metadata.visible_at = dict(node.get("Meta") or {}), None
        self.nodes[node_id] = self._stored_node({**node, "Meta": metadata.merged}, known, now)
        self._secrets[node_id] = secret_id
        self._deadlines.setdefault(node_id, now + self._ttl_s() + HEARTBEAT_GRACE_S)
        return {"identity": self.signer.mint_identity(node_id, node_pool, now), "heartbeat_ttl_s": 0.0}

    def _check_registration(
        self, node: JsonObject, node_id: str, secret_id: str, credential: str, now: float
    ) -> None:
        if not node_id or not secret_id or not node.get("Name"):
            raise RegistrationError("missing node ID, secret ID or name for client registration")
        if node_id in self.nodes:
            if not secrets.compare_digest(self._secrets[node_id].encode(), secret_id.encode()):
                raise RegistrationError("node secret ID does not match. Not registering node.")
            return
        if credential and self.signer.is_identity_of(credential, node_id, now):
            return
        verdict = self.signer.check_introduction(
            credential, str(node["Name"]), str(node.get("NodePool", "default")), now
        )
        if not is_allowed(verdict, self.enforcement):
            self._log(f"node {node['Name']}: registration denied: {verdict}")
            raise RegistrationError("Permission denied")
        if verdict is TokenVerdict.NOTHING and self.enforcement == "warn":
            self._log(f"node {node['Name']}: registered without introduction")

    def _log(self, line: str) -> None:
        self.server_log.append(line)
        del self.server_log[:-1000]

    def _stored_node(self, node: JsonObject, known: JsonObject | None, now: float) -> JsonObject:
        index = self.next_index()
        stored = {
            **node,
            "SecretID": "",
            "ModifyIndex": index,
            "StatusUpdatedAt": int(now),
            "TLSEnabled": True,
        }
        if known is None:
            stored |= new_node_fields(index, stored, self.signer.key_id)
            stored["Events"] = [node_event(0, "Node registered", "Cluster", now)]
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
        stored |= new_node_fields(index, stored, self.signer.key_id) | {key: known[key] for key in kept}
        if known["Status"] == "down":
            stored["Status"] = "initializing"
            self._append_event(stored, "Node re-registered", "Cluster", now)
        return stored

    def heartbeat(self, node_id: str, secret_id: str, credential: str, now: float) -> JsonObject:
        """The answer to ``Node.UpdateStatus``, with the seconds until the next one; raises ``RegistrationError``."""
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
            self.workload.place()
        return {
            "heartbeat_ttl_s": ttl_s,
            "identity": credential,
            "eligibility": node["SchedulingEligibility"],
        }

    def _ttl_s(self) -> float:
        ttl_s = max(_MIN_HEARTBEAT_TTL_S, len(self.nodes) / _MAX_HEARTBEATS_PER_S)
        return ttl_s * (1 + random.random())  # noqa: S311 - Nomad adds such jitter

    def carry_word(self, node_id: str, log: str) -> JsonObject:
        """What the door's task gets of a node's variable, and has in its ``log`` then; nothing where none runs there."""
        tasks = [each for each in self.allocations_now(node_id) if each["JobID"] == "ionet-door"]
        if not any(each["ClientStatus"] == "running" for each in tasks):
            return {"word": ""}
        self.door_logs[node_id] = log
        variable = self.variables.get(f"ionet/maintenance/{node_id}", {"Items": {}})
        return {"word": variable["Items"].get("word", "")}

    def metadata(self, node_id: str) -> Metadata | None:
        """The metadata as the node's agent answers it; ``None`` when the node is down and cannot be asked."""
        return None if self.nodes[node_id]["Status"] == "down" else self._metadata[node_id]

    def change_metadata(self, node_id: str, meta: dict[str, str | None], now: float) -> None:
        """Change a node's dynamic metadata: in effect at its agent at once, visible in node documents later."""
        metadata = self._metadata[node_id]
        metadata.change(meta)
        metadata.visible_at = metadata.visible_at or now + METADATA_DELAY_S

    def _update_metadata(self, now: float) -> None:
        for node_id, metadata in self._metadata.items():
            if node_id in self.nodes and metadata.visible_at is not None and now >= metadata.visible_at:
                metadata.visible_at = None
                node = self.nodes[node_id]
                node["Meta"], node["ModifyIndex"] = metadata.merged, self.next_index()

    def update(self, now: float) -> None:
        """Apply what is due: nodes without a heartbeat are marked as down, changed metadata becomes visible."""
        self._update_metadata(now)
        self.workload.update(now)
        for node in [node for node in self.nodes.values() if node["Drain"]]:
            self._drain_on(node, now)
        for node_id, deadline in list(self._deadlines.items()):
            if now > deadline:
                del self._deadlines[node_id]
                node = self.nodes[node_id]
                node["LastMissedHeartbeatIndex"] = self._set_status(node, "down", now)
                self._append_event(node, "Node heartbeat missed", "Cluster", now)
                self.workload.lose(node_id)

    def _set_status(self, node: JsonObject, status: str, now: float) -> int:
        node["Status"] = status
        node["StatusUpdatedAt"] = int(now)
        node["ModifyIndex"] = self.next_index()
        return self.index

    def set_eligibility(self, node_id: str, eligibility: str, now: float) -> tuple[list[str], int]:
        """Set a node's eligibility; returns what was evaluated and the index of the write, 0 when nothing changed. Raises ``KeyError``."""
        node = self.nodes[node_id]
        if node["SchedulingEligibility"] == eligibility:
            return [], 0
        node["SchedulingEligibility"] = eligibility
        node["ModifyIndex"] = self.next_index()
        self._append_event(node, f"Node marked as {eligibility} for scheduling", "Cluster", now)
        index = self.index
        if eligibility != "eligible":
            return [], index
        return self.workload.place(system_jobs=not self.workload.forgets_system_jobs), index

    def drain(self, node_id: str, spec: JsonObject, now: float) -> int:
        """Start a drain, or cancel it where there is no ``DrainSpec``; returns the index of the write."""
        node = self.nodes[node_id]
        wanted = spec.get("DrainSpec")
        node["ModifyIndex"] = written = self.next_index()
        if wanted is None:
            if node["Drain"]:
                node["LastDrain"] = {
                    **node["LastDrain"],
                    "Status": "canceled",
                    "UpdatedAt": timestamp(now, whole=True),
                }
            node["Drain"], node["DrainStrategy"] = False, None
            self._append_event(node, "Node drain disabled", "Drain", now)
            if spec.get("MarkEligible"):
                node["SchedulingEligibility"] = "eligible"
                self.workload.place()
            return written
        deadline_s = int(wanted.get("Deadline") or 0) / _NANOSECONDS
        node["SchedulingEligibility"], node["Drain"] = "ineligible", True
        node["DrainStrategy"] = {
            "Deadline": int(wanted.get("Deadline") or 0),
            "ForceDeadline": timestamp(now + deadline_s) if deadline_s > 0 else _NEVER,
            "IgnoreSystemJobs": bool(wanted.get("IgnoreSystemJobs")),
            "StartedAt": timestamp(now),
        }
        self._append_event(node, "Node drain strategy set", "Drain", now)
        node["LastDrain"] = {
            "AccessorID": f"token:{spec.get('accessor', '')}",
            "Meta": spec.get("Meta"),
            "StartedAt": timestamp(now, whole=True),
            "Status": "draining",
            "UpdatedAt": timestamp(now, whole=True),
        }
        self._drain_on(node, now)
        return written

    def _drain_on(self, node: JsonObject, now: float) -> None:
        """Go on with a node's drain, and end it where nothing is left to be moved, or its deadline has passed."""
        strategy = node["DrainStrategy"]
        deadline = strategy["Deadline"]
        is_due = deadline < 0 or (deadline > 0 and timestamp(now) >= strategy["ForceDeadline"])
        ignores = bool(strategy["IgnoreSystemJobs"])
        if not self.workload.drain_step(str(node["ID"]), ignores_system_jobs=ignores, is_due=is_due, now=now):
            return
        node["Drain"], node["DrainStrategy"] = False, None
        node["LastDrain"] = {
            **node["LastDrain"],
            "Status": "complete",
            "UpdatedAt": timestamp(now, whole=True),
        }
        node["ModifyIndex"] = self.next_index()
        self._append_event(node, "Node drain complete", "Drain", now)
        if is_due:
            node["Events"][-1]["Details"] = {"deadline_reached": "true"}

    def allocate(self, node_id: str, work: Work, now: float) -> str:
        """Have a node run some work; returns the allocation's id. Raises ``KeyError``."""
        document = allocation_document(self.nodes[node_id], work, self.next_index(), now)
        self.allocations[document["ID"]] = document
        return str(document["ID"])

    def allocations_now(self, node_id: str | None = None) -> list[JsonObject]:
        """The allocations of jobs, and those that were made one by one, each with its job; of one node, or of all."""
        of_jobs = [
            allocation_document(self.nodes.get(str(one["NodeID"]), _NO_NODE), Work(str(one["JobID"])), 0, 0.0)
            | {"JobType": one["Job"]["Type"]}
            | one
            for one in self.workload.documents(node_id)
        ]
        made = [one for one in self.allocations.values() if node_id in (None, one["NodeID"])]
        return [*made, *of_jobs]

    def purge(self, node_id: str) -> int:
        """Remove a node; returns the index of the write. A running agent registers it again, by its identity."""
        del self.nodes[node_id]
        del self._secrets[node_id]
        self._deadlines.pop(node_id, None)
        return self.next_index()

    def nodes_index(self) -> int:
        """The index of the last change of a node."""
        return max((int(node["ModifyIndex"]) for node in self.nodes.values()), default=1)

    def _append_event(self, node: JsonObject, message: str, subsystem: str, now: float) -> None:
        node["Events"] = [*node["Events"], node_event(self.index, message, subsystem, now)][-_EVENTS_KEPT:]
