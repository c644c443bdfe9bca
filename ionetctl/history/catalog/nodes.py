"""The nodes, computed from the outcomes of hosts: a node is what a region has confirmed, or what runs and waits for that.

A node is identified by region and name. Its node id stays with the machine: the same id found later under another name
or in another region is a node that was renamed or moved, and the earlier entry is removed. Everything is computed from the
outcomes and their times, so that the order in which they were folded has no influence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, insert, or_, select

from ionetctl.core.model.outcome import ENROLL, UPDATE, Result
from ionetctl.history.catalog.records import NodeRecord
from ionetctl.history.catalog.schema import nodes, outcomes, rollouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy import ColumnElement, Connection

    from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId

_COLUMNS: Final = tuple(field.name for field in fields(NodeRecord))
NODE_COLUMNS: Final = tuple(nodes.c[name] for name in _COLUMNS)
"""The columns of ``nodes`` that a ``NodeRecord`` has, in its order."""
_CONFIRMED: Final = (Result.ENROLLED, Result.UNCHANGED, Result.DONE)
_REMOVE: Final = delete(nodes).where(
    nodes.c.region == bindparam("of_region"), nodes.c.name == bindparam("of_name")
)


def makes_nodes(action: str, result: str) -> bool:
    """Whether a node follows from an outcome: of an enrolment, or of an update that the region has confirmed."""
    return action == ENROLL or (action == UPDATE and result == Result.DONE)


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


@dataclass(frozen=True, slots=True)
class ComputedNode:
    """A node as stored, and when the newest of the outcomes finished that it was computed from, by its region and name."""

    node: NodeRecord
    until: str

    def followed_by(self, outcome: NodeOutcome) -> ComputedNode | None:
        """The node after another outcome of its region and name; ``None`` where only all outcomes can tell.

        They can for an outcome that is older than others, or that shows the name on another machine.
        """
        node = self.node
        is_same = outcome.node_id == node.node_id
        if outcome.finished_at <= self.until or (outcome.is_running and not is_same):
            return None
        if outcome.is_running:
            seen_at = outcome.finished_at if outcome.is_confirmed else ""
            machine_id = outcome.machine_id or node.machine_id
            node = _record(
                outcome,
                outcome.stamp,
                node.enrolled_at or seen_at,
                max(node.last_seen_at, seen_at),
                machine_id,
            )
        elif is_same and outcome.result is Result.UNVERIFIED:
            node = replace(node, stamp=outcome.stamp)
        return ComputedNode(node, outcome.finished_at)


def update_nodes(connection: Connection, fresh: Sequence[NodeOutcome]) -> None:
    """Compute again every node that outcomes just inserted may have changed.

    A node is computed from what it was, so that the length of the past does not matter; from all its outcomes, and those
    of its machine, where that is not enough.
    """
    names, ids = {outcome.host for outcome in fresh}, {outcome.node_id for outcome in fresh}
    known = _known(connection, names, ids)
    followed, unclear = _followed(known, fresh)
    if unclear:
        unclear_ids = {outcome.node_id for outcome in fresh if outcome.host in unclear}
        touched = unclear | {key.name for key, each in known.items() if each.node.node_id in unclear_ids}
        by_name = _node_outcomes(connection, outcomes.c.host.in_(touched))
        by_id = _node_outcomes(connection, outcomes.c.node_id.in_({outcome.node_id for outcome in by_name}))
        kept = {key: each for key, each in followed.items() if key.name not in touched}
        current = current_nodes({*by_name, *by_id}, touched)
        followed = kept | {key: _with_last_seen(each, known.get(key)) for key, each in current.items()}
        known = {key: each for key, each in known.items() if key in kept or key.name in touched}
    else:
        known = {key: known[key] for key in followed}
    _replace(connection, known, followed)


def _followed(
    known: Mapping[NodeKey, ComputedNode], fresh: Iterable[NodeOutcome]
) -> tuple[dict[NodeKey, ComputedNode], set[HostName]]:
    """The nodes computed from what they were, and the names for which that is not enough."""
    followed: dict[NodeKey, ComputedNode] = {}
    unclear: set[HostName] = set()
    for outcome in sorted(fresh):
        before = followed.get(outcome.key) or known.get(outcome.key)
        after = before and before.followed_by(outcome)
        if after is None:
            unclear.add(outcome.host)
        else:
            followed[outcome.key] = after
    return followed, unclear


def current_nodes(
    all_outcomes: Iterable[NodeOutcome], names: Iterable[str]
) -> Mapping[NodeKey, ComputedNode]:
    """The nodes of these names, from all outcomes of these names and of their node ids, in any order."""
    history: dict[NodeKey, list[NodeOutcome]] = {}
    last_key: dict[NodeId, NodeKey] = {}
    for outcome in sorted(all_outcomes):
        history.setdefault(outcome.key, []).append(outcome)
        if outcome.is_running:
            last_key[outcome.node_id] = outcome.key
    wanted = set(names)
    found = (_node(own) for key, own in history.items() if key.name in wanted)
    running = {NodeKey(each.node.region, each.node.name): each for each in found if each is not None}
    return {key: each for key, each in running.items() if last_key[each.node.node_id] == key}


def _node(history: Sequence[NodeOutcome]) -> ComputedNode | None:
    """The node that follows from a name's outcomes, oldest first; ``None`` where none has run yet."""
    running = [outcome for outcome in history if outcome.is_running]
    if not running:
        return None
    last = running[-1]
    same = [outcome for outcome in history if outcome.node_id == last.node_id]
    confirmed = [outcome.finished_at for outcome in same if outcome.is_confirmed]
    # A later apply that was not confirmed has given the agent a new stamp, and only that stamp can confirm it now.
    stamped = [outcome for outcome in same if outcome.is_running or outcome.result is Result.UNVERIFIED]
    machine_id = next((outcome.machine_id for outcome in reversed(same) if outcome.machine_id), None)
    node = _record(
        last, stamped[-1].stamp, min(confirmed, default=""), max(confirmed, default=""), machine_id
    )
    return ComputedNode(node, history[-1].finished_at)


def _record(
    last: NodeOutcome, stamp: str, enrolled_at: str, last_seen_at: str, machine_id: str | None
) -> NodeRecord:
    """The node that ``last`` shows, its latest outcome in which its agent ran; not every rollout looks at the machine."""
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
        machine_id=machine_id,
        stamp=stamp,
        rollout=last.rollout,
        enrolled_at=enrolled_at,
        last_seen_at=last_seen_at,
    )


def _with_last_seen(each: ComputedNode, known: ComputedNode | None) -> ComputedNode:
    """The node with the later ``last_seen_at`` of both: ``mark_seen`` sets it too, without an outcome."""
    if known is None or known.node.node_id != each.node.node_id:
        return each
    seen_at = max(each.node.last_seen_at, known.node.last_seen_at)
    return replace(each, node=replace(each.node, last_seen_at=seen_at))


def _known(
    connection: Connection, names: AbstractSet[str], node_ids: AbstractSet[str]
) -> Mapping[NodeKey, ComputedNode]:
    by_id = select(nodes.c.name).where(nodes.c.node_id.in_(node_ids))
    statement = select(*NODE_COLUMNS, nodes.c.computed_until)
    rows = connection.execute(statement.where(or_(nodes.c.name.in_(names), nodes.c.name.in_(by_id))))
    found = [ComputedNode(NodeRecord(*row[:-1]), row[-1]) for row in rows]
    return {NodeKey(each.node.region, each.node.name): each for each in found}


def _node_outcomes(connection: Connection, which: ColumnElement[bool]) -> list[NodeOutcome]:
    columns = [outcomes.c[name] for name in NodeOutcome._fields]
    enrolments = select(rollouts.c.id).where(rollouts.c.action == ENROLL)
    updates = select(rollouts.c.id).where(rollouts.c.action == UPDATE)
    is_updated = (outcomes.c.result == Result.DONE.value) & outcomes.c.rollout.in_(updates)
    makes_node = outcomes.c.node_id.is_not(None) & outcomes.c.is_check.is_(False)
    statement = select(*columns).where(which, makes_node, outcomes.c.rollout.in_(enrolments) | is_updated)
    return [NodeOutcome(*row)._replace(result=Result(row.result)) for row in connection.execute(statement)]


def _replace(
    connection: Connection, known: Mapping[NodeKey, ComputedNode], current: Mapping[NodeKey, ComputedNode]
) -> None:
    gone = [key for key, each in known.items() if current.get(key) != each]
    fresh = [each for key, each in current.items() if known.get(key) != each]
    if gone:
        connection.execute(_REMOVE, [{"of_region": key.region, "of_name": key.name} for key in gone])
    if fresh:
        rows = [
            {name: getattr(each.node, name) for name in _COLUMNS} | {"computed_until": each.until}
            for each in fresh
        ]
        connection.execute(insert(nodes), rows)
