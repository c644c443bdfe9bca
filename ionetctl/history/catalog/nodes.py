"""Which nodes there are, as it follows from how hosts ended: only what a region confirmed is a node.

A node is known by region and name. Its node id stays with the machine, so the same id confirmed later under another name
or in another region is a node that was renamed or moved, and it is no longer where it was. All of it is worked out from
the outcomes and their times, so that the order in which they were folded cannot show.
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
    """How a node is known."""

    region: RegionName
    name: HostName


class Ending(NamedTuple):
    """An outcome with a node id, as far as nodes follow from it."""

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
    machine_id: str | None
    stamp: str

    @property
    def key(self) -> NodeKey:
        """The node it is about."""
        return NodeKey(self.region, self.host)

    @property
    def is_confirmed(self) -> bool:
        """Whether a region showed the node."""
        return self.result in _CONFIRMED


def settle_nodes(connection: Connection, names: AbstractSet[str], node_ids: AbstractSet[str]) -> None:
    """Work out anew every node that outcomes of these hosts and node ids could have changed."""
    known = _known(connection, names, node_ids)
    touched = names | {key.name for key in known}
    endings = _endings(connection, outcomes.c.host.in_(touched))
    ids = {ending.node_id for ending in endings}
    elsewhere = _endings(connection, outcomes.c.node_id.in_(ids))
    settled = current_nodes({*endings, *elsewhere}, touched)
    _replace(connection, known, {key: _sighted(node, known.get(key)) for key, node in settled.items()})


def current_nodes(endings: Iterable[Ending], names: Iterable[str]) -> Mapping[NodeKey, NodeRecord]:
    """The nodes of these names, from all endings of theirs and of their node ids, in any order."""
    history: dict[NodeKey, list[Ending]] = {}
    whereabouts: dict[NodeId, NodeKey] = {}
    for ending in sorted(endings):
        history.setdefault(ending.key, []).append(ending)
        if ending.is_confirmed:
            whereabouts[ending.node_id] = ending.key
    wanted = set(names)
    found = (_node(events) for key, events in history.items() if key.name in wanted)
    there = (node for node in found if node is not None)
    return {
        NodeKey(node.region, node.name): node
        for node in there
        if whereabouts[node.node_id] == (node.region, node.name)
    }


def _node(history: Sequence[Ending]) -> NodeRecord | None:
    """The node that a name's history, oldest first, makes."""
    confirmed = [ending for ending in history if ending.is_confirmed]
    if not confirmed:
        return None
    last = confirmed[-1]
    same = [ending for ending in history if ending.node_id == last.node_id]
    first = next(ending for ending in same if ending.is_confirmed)
    # A later apply that was not confirmed has given the agent a new stamp, by which alone it can be confirmed now.
    stamped = [ending for ending in same if ending.is_confirmed or ending.result is Result.UNVERIFIED]
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
        machine_id=last.machine_id,
        stamp=stamped[-1].stamp,
        rollout=last.rollout,
        enrolled_at=first.finished_at,
        last_seen_at=last.finished_at,
    )


def _sighted(node: NodeRecord, known: NodeRecord | None) -> NodeRecord:
    """The node with its latest sighting, which need not have come from an outcome."""
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


def _endings(connection: Connection, which: ColumnElement[bool]) -> list[Ending]:
    columns = [outcomes.c[name] for name in Ending._fields]
    statement = select(*columns).where(which, outcomes.c.node_id.is_not(None), outcomes.c.is_check.is_(False))
    rows = connection.execute(statement).mappings()
    return [Ending(**{**row, "result": Result(row["result"])}) for row in rows]


def _replace(
    connection: Connection, known: Mapping[NodeKey, NodeRecord], settled: Mapping[NodeKey, NodeRecord]
) -> None:
    gone = [key for key, node in known.items() if settled.get(key) != node]
    fresh = [node for key, node in settled.items() if known.get(key) != node]
    if gone:
        connection.execute(_REMOVE, [{"of_region": key.region, "of_name": key.name} for key in gone])
    if fresh:
        connection.execute(
            insert(nodes), [{name: getattr(node, name) for name in _COLUMNS} for node in fresh]
        )
