"""The nodes, computed from the outcomes of hosts: a node is what a region has confirmed, or what runs and waits for that.

A node is identified by region and name. Its node id stays with the machine: the same id found later under another name
or in another region is a node that was renamed or moved, and the earlier entry is removed. Everything is computed from the
outcomes and their times, so that the order in which they were folded has no influence.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select

from ionetctl.core.model.outcome import Result
from ionetctl.history.catalog.records import NodeRecord
from ionetctl.history.catalog.schema import nodes, outcomes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy import ColumnElement, Connection

    from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId

_COLUMNS: Final = tuple(field.name for field in fields(NodeRecord))
_CONFIRMED: Final = (Result.ENROLLED, Result.UNCHANGED)
_REMOVE: Final = delete(nodes).where(
    nodes.c.region == bindparam("of_region"), nodes.c.name == bindparam("of_name")
)


class NodeKey(NamedTuple):
    """A node's identity in the catalog."""

    region: RegionName
    name: HostName


class NodeOutcome(NamedTuple):
    """An outcome with a node id: the columns that nodes are computed from, sorted by time."""

    finished_at: str
    rollout: RolloutId
    seq: int
    result: Result
    region: RegionName
    host: HostName
    node_id: NodeId
    address: str
    datacenter: str
    rack: str | None
    node_pool: str
    gpu_model: str | None
    gpus_expected: int | None
    gpus_seen: int | None
    gpus_probed: int | None
    machine_id: str | None
    stamp: str

    @property
    def key(self) -> NodeKey:
        """The identity of its node."""
        return NodeKey(self.region, self.host)

    @property
    def is_confirmed(self) -> bool:
        """Whether the region confirmed the node."""
        return self.result in _CONFIRMED

    @property
    def is_running(self) -> bool:
        """Whether the node's agent runs with a known stamp, confirmed or not."""
        return self.is_confirmed or bool(self.stamp)


def update_nodes(connection: Connection, names: AbstractSet[str], node_ids: AbstractSet[str]) -> None:
    """Compute again every node that outcomes of these hosts and node ids may have changed."""
    known = _known(connection, names, node_ids)
    touched = names | {key.name for key in known}
    by_name = _node_outcomes(connection, outcomes.c.host.in_(touched))
    ids = {outcome.node_id for outcome in by_name}
    by_id = _node_outcomes(connection, outcomes.c.node_id.in_(ids))
    current = current_nodes({*by_name, *by_id}, touched)
    _replace(connection, known, {key: _with_last_seen(node, known.get(key)) for key, node in current.items()})


def current_nodes(all_outcomes: Iterable[NodeOutcome], names: Iterable[str]) -> Mapping[NodeKey, NodeRecord]:
    """The nodes of these names, from all outcomes of these names and of their node ids, in any order."""
    history: dict[NodeKey, list[NodeOutcome]] = {}
    last_key: dict[NodeId, NodeKey] = {}
    for outcome in sorted(all_outcomes):
        history.setdefault(outcome.key, []).append(outcome)
        if outcome.is_running:
            last_key[outcome.node_id] = outcome.key
    wanted = set(names)
    found = (_node(own) for key, own in history.items() if key.name in wanted)
    running = (node for node in found if node is not None)
    return {
        NodeKey(node.region, node.name): node
        for node in running
        if last_key[node.node_id] == (node.region, node.name)
    }


def _node(history: Sequence[NodeOutcome]) -> NodeRecord | None:
    """The node that follows from a name's outcomes, oldest first; ``None`` where none has run yet."""
    running = [outcome for outcome in history if outcome.is_running]
    if not running:
        return None
    last = running[-1]
    same = [outcome for outcome in history if outcome.node_id == last.node_id]
    confirmed = [outcome.finished_at for outcome in same if outcome.is_confirmed]
    # A later apply that was not confirmed has given the agent a new stamp, and only that stamp can confirm it now.
    stamped = [outcome for outcome in same if outcome.is_running or outcome.result is Result.UNVERIFIED]
    return NodeRecord(
        region=last.region,
        name=last.host,
        node_id=last.node_id,
        address=last.address,
        datacenter=last.datacenter,
        rack=last.rack,
        node_pool=last.node_pool,
        gpu_model=last.gpu_model,
        gpus_expected=last.gpus_expected,
        gpus_seen=last.gpus_seen,
        gpus_probed=last.gpus_probed,
        machine_id=last.machine_id,
        stamp=stamped[-1].stamp,
        rollout=last.rollout,
        enrolled_at=min(confirmed, default=""),
        last_seen_at=max(confirmed, default=""),
    )


def _with_last_seen(node: NodeRecord, known: NodeRecord | None) -> NodeRecord:
    """The node with the later ``last_seen_at`` of both: ``mark_seen`` sets it too, without an outcome."""
    if known is None or known.node_id != node.node_id:
        return node
    return replace(node, last_seen_at=max(node.last_seen_at, known.last_seen_at))


def _known(
    connection: Connection, names: AbstractSet[str], node_ids: AbstractSet[str]
) -> Mapping[NodeKey, NodeRecord]:
    by_id = select(nodes.c.name).where(nodes.c.node_id.in_(node_ids))
    statement = select(nodes).where(or_(nodes.c.name.in_(names), nodes.c.name.in_(by_id)))
    found = [NodeRecord(**row) for row in connection.execute(statement).mappings()]
    return {NodeKey(node.region, node.name): node for node in found}


def _node_outcomes(connection: Connection, which: ColumnElement[bool]) -> list[NodeOutcome]:
    columns = [outcomes.c[name] for name in NodeOutcome._fields]
    statement = select(*columns).where(which, outcomes.c.node_id.is_not(None), outcomes.c.is_check.is_(False))
    rows = connection.execute(statement).mappings()
    return [NodeOutcome(**{**row, "result": Result(row["result"])}) for row in rows]


def _replace(
    connection: Connection, known: Mapping[NodeKey, NodeRecord], current: Mapping[NodeKey, NodeRecord]
) -> None:
    gone = [key for key, node in known.items() if current.get(key) != node]
    fresh = [node for key, node in current.items() if known.get(key) != node]
    if gone:
        connection.execute(_REMOVE, [{"of_region": key.region, "of_name": key.name} for key in gone])
    if fresh:
        connection.execute(
            insert(nodes), [{name: getattr(node, name) for name in _COLUMNS} for node in fresh]
        )
