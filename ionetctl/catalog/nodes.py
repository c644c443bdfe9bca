"""Which nodes there are, from how hosts ended: only what a region confirmed becomes a node.

A node is known by region and name. Its node id stays with the machine, so the same id under another name or in another
region is a node that was renamed or moved, and its old row goes.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select

from ionetctl.catalog.records import NodeRecord
from ionetctl.catalog.schema import nodes, outcomes
from ionetctl.model import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from ionetctl.events import HostFinished
    from ionetctl.model import HostName, NodeId, RegionName, RolloutId

    Finished = tuple[HostFinished, str]
    Nodes = Mapping["NodeKey", NodeRecord]


_COLUMNS: Final = tuple(field.name for field in fields(NodeRecord))

_REMOVE: Final = delete(nodes).where(
    nodes.c.region == bindparam("of_region"), nodes.c.name == bindparam("of_name")
)


class NodeKey(NamedTuple):
    """How a node is known."""

    region: RegionName
    name: HostName


class Surveyed(NamedTuple):
    """What the outcome of a host does not repeat."""

    machine_id: str | None
    gpu_model: str | None


def fold_nodes(connection: Connection, rollout: RolloutId, finished: Sequence[Finished]) -> None:
    """Fold how hosts ended, each with its time, into the nodes table."""
    before = _related(connection, finished)
    surveyed = _surveyed(connection, rollout, finished)
    after = before
    for event, time in finished:
        after = settle(after, event, time, rollout, surveyed.get(event.outcome.host, Surveyed(None, None)))
    _replace(connection, before, after)


def settle(known: Nodes, event: HostFinished, time: str, rollout: RolloutId, surveyed: Surveyed) -> Nodes:
    """The nodes after one host ended, from those before.

    What happened before what is known changes nothing, but for the time of a node's first confirmation.
    """
    outcome = event.outcome
    if outcome.node_id is None:
        return known
    if outcome.result in (Result.ENROLLED, Result.UNCHANGED):
        return _confirm(known, _seen(event, outcome.node_id, time, rollout, surveyed))
    key = NodeKey(outcome.region, outcome.host)
    node = known.get(key)
    if outcome.result is Result.UNVERIFIED and node is not None and _follows(node, outcome.node_id, time):
        # Its agent was given a new stamp, by which alone the region can confirm it later.
        return {**known, key: replace(node, stamp=event.stamp, updated_at=time)}
    return known


def _follows(node: NodeRecord, node_id: NodeId, time: str) -> bool:
    return node.node_id == node_id and node.updated_at <= time


def _confirm(known: Nodes, seen: NodeRecord) -> Nodes:
    key = NodeKey(seen.region, seen.name)
    elsewhere = {k: node for k, node in known.items() if node.node_id == seen.node_id and k != key}
    if any(node.updated_at > seen.updated_at for node in elsewhere.values()):
        return known
    rest = {k: node for k, node in known.items() if k not in elsewhere}
    return {**rest, key: _merged(known.get(key), seen)}


def _merged(node: NodeRecord | None, seen: NodeRecord) -> NodeRecord:
    if node is None:
        return seen
    newest = node if node.updated_at > seen.updated_at else seen
    if node.node_id != seen.node_id:
        return newest
    return replace(newest, enrolled_at=min(node.enrolled_at, seen.enrolled_at))


def _seen(
    event: HostFinished, node_id: NodeId, time: str, rollout: RolloutId, surveyed: Surveyed
) -> NodeRecord:
    outcome = event.outcome
    return NodeRecord(
        region=outcome.region,
        name=outcome.host,
        node_id=node_id,
        address=outcome.address,
        datacenter=outcome.datacenter,
        rack=event.rack,
        node_pool=event.node_pool,
        gpu_model=surveyed.gpu_model,
        gpus_expected=outcome.gpus_expected,
        gpus_seen=outcome.gpus_seen,
        machine_id=surveyed.machine_id,
        stamp=event.stamp,
        rollout=rollout,
        enrolled_at=time,
        last_seen_at=time,
        updated_at=time,
    )


def _related(connection: Connection, finished: Sequence[Finished]) -> Nodes:
    """Every known node that these outcomes could touch, by name or by node id."""
    names = {event.outcome.host for event, _ in finished}
    ids = {event.outcome.node_id for event, _ in finished} - {None}
    statement = select(nodes).where(or_(nodes.c.name.in_(names), nodes.c.node_id.in_(ids)))
    found = [NodeRecord(**row) for row in connection.execute(statement).mappings()]
    return {NodeKey(node.region, node.name): node for node in found}


def _surveyed(
    connection: Connection, rollout: RolloutId, finished: Sequence[Finished]
) -> Mapping[str, Surveyed]:
    names = {event.outcome.host for event, _ in finished}
    statement = select(outcomes.c.host, outcomes.c.machine_id, outcomes.c.gpu_model).where(
        outcomes.c.rollout == rollout, outcomes.c.host.in_(names)
    )
    return {row.host: Surveyed(row.machine_id, row.gpu_model) for row in connection.execute(statement)}


def _replace(connection: Connection, before: Nodes, after: Nodes) -> None:
    gone = [
        {"of_region": key.region, "of_name": key.name}
        for key, node in before.items()
        if after.get(key) != node
    ]
    fresh = [_row(node) for key, node in after.items() if before.get(key) != node]
    if gone:
        connection.execute(_REMOVE, gone)
    if fresh:
        connection.execute(insert(nodes), fresh)


def _row(node: NodeRecord) -> dict[str, object]:
    return {name: getattr(node, name) for name in _COLUMNS}
