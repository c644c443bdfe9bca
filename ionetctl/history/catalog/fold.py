"""Folding events into rows. An event of a rollout is folded once, by its number, however often it is passed.

The rows depend on the events and their times alone, not on when or in which order rollouts are folded: so a rebuilt
catalog is the same. Only what lies on hosts counts in the order in which it is folded (``installations``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.events import (
    HostFinished,
    HostSurveyed,
    RegionChecked,
    RegionEntry,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
)
from ionetctl.core.model.outcome import Result
from ionetctl.history.catalog.closures import fold_closures
from ionetctl.history.catalog.installations import fold_installations
from ionetctl.history.catalog.nodes import NodeOutcome, makes_nodes, update_nodes
from ionetctl.history.catalog.queries import count_results
from ionetctl.history.catalog.schema import hosts, machines, outcomes, regions, rollouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.names import RolloutId

DECISIVE: Final = (RolloutStarted, RolloutResumed, RolloutStopped, RolloutFinished)
"""Events that are folded at once, for others to see; the rest is folded in larger batches."""

_CHANGING_RESULTS: Final = (HostFinished, RolloutResumed, RolloutFinished)

_ENTRY_COLUMNS: Final = (
    "address",
    "region",
    "datacenter",
    "rack",
    "node_pool",
    "gpu_model",
    "gpus_expected",
)

_NOT_SURVEYED: Final = {"machine_id": None, "gpu_model": None}

_SET_MACHINE: Final = (
    update(hosts)
    .where(hosts.c.rollout == bindparam("of_rollout"), hosts.c.name == bindparam("of_host"))
    .values(machine_id=bindparam("of_machine"))
)

_REMOVE_MACHINE: Final = delete(machines).where(
    machines.c.name == bindparam("of_name"), machines.c.machine_id == bindparam("of_machine")
)


def fold(connection: Connection, rollout: RolloutId, envelopes: Sequence[Envelope]) -> None:
    """Fold a batch of one rollout's events; those already folded are skipped.

    Raises ``ConfigurationError``: ``catalog_behind`` where events before the batch are missing,
    ``rollout_malformed`` where its first event is not its start, or a number is too large.
    """
    statement = select(rollouts.c.last_seq).where(rollouts.c.id == rollout)
    last_seq = connection.execute(statement).scalar() or 0
    fresh = [envelope for envelope in envelopes if envelope.seq > last_seq]
    if not fresh:
        return
    if fresh[0].seq != last_seq + 1:
        message = f"the catalog has rollout {rollout} up to event {last_seq}, and got event {fresh[0].seq}"
        raise ConfigurationError("catalog_behind", message, "open it with the journals, or rebuild it")
    if last_seq == 0:
        _check_first_event(rollout, fresh[0])
    try:
        _fold_events(connection, rollout, fresh)
    except OverflowError as error:
        raise _malformed(rollout, "has a number that is too large for a database") from error


def _fold_events(connection: Connection, rollout: RolloutId, fresh: Sequence[Envelope]) -> None:
    for envelope in fresh:
        _fold_rollout(connection, rollout, envelope)
    _fold_outcomes(connection, rollout, fresh)
    _fold_surveys(connection, rollout, fresh)
    fold_closures(connection, rollout, fresh)
    fold_installations(connection, fresh)
    _set_rollout(connection, rollout, last_seq=fresh[-1].seq)
    changing = [envelope.event for envelope in fresh if isinstance(envelope.event, _CHANGING_RESULTS)]
    if changing:
        _set_rollout(connection, rollout, results=None)
        if isinstance(changing[-1], RolloutFinished):
            store_results(connection, [rollout])


def store_results(connection: Connection, of_rollouts: Sequence[RolloutId]) -> None:
    """Count the hosts of rollouts that have ended by their results, so that no query need count them again."""
    counted = count_results(connection, *of_rollouts)
    for rollout in of_rollouts:
        counts = {result.value if result else "": hosts for result, hosts in counted[rollout].items()}
        _set_rollout(connection, rollout, results=msgspec.json.encode(counts).decode())


def _malformed(rollout: RolloutId, what: str) -> ConfigurationError:
    message = f"the record of rollout {rollout} {what}"
    return ConfigurationError("rollout_malformed", message, "it was renamed or changed")


def folded_until(connection: Connection) -> Mapping[str, int]:
    """Rollout → number of the last event folded."""
    return {row.id: row.last_seq for row in connection.execute(select(rollouts.c.id, rollouts.c.last_seq))}


def _check_first_event(rollout: RolloutId, envelope: Envelope) -> None:
    event = envelope.event
    if not isinstance(event, RolloutStarted) or event.rollout != rollout:
        raise _malformed(rollout, "does not begin with its start")


def _fold_rollout(connection: Connection, rollout: RolloutId, envelope: Envelope) -> None:
    match envelope.event:
        case RolloutStarted() as event:
            _start(connection, event, envelope)
        case RegionChecked(entry=RegionEntry() as entry):
            _fold_regions(connection, [entry], envelope.time)
        case RolloutResumed() as event:
            fresh = {"finished_at": None, "exit_code": None, "stop_code": None, "stop_message": None}
            _set_rollout(connection, rollout, owner=event.owner, **fresh)
        case RolloutStopped() as event:
            _set_rollout(connection, rollout, stop_code=event.code, stop_message=event.message)
        case RolloutFinished() as event:
            _set_rollout(connection, rollout, finished_at=envelope.time, exit_code=event.exit_code)
        case _:
            return


def _set_rollout(connection: Connection, rollout: RolloutId, **values: object) -> None:
    connection.execute(update(rollouts).where(rollouts.c.id == rollout).values(**values))


def _start(connection: Connection, event: RolloutStarted, envelope: Envelope) -> None:
    if len({host.name for host in event.hosts}) < len(event.hosts):
        raise _malformed(event.rollout, "lists a host twice")
    connection.execute(
        insert(rollouts).values(
            id=event.rollout,
            inventory=event.inventory,
            inventory_digest=event.inventory_digest,
            owner=event.owner,
            version=event.version,
            command=msgspec.json.encode(event.command).decode(),
            is_check=event.is_check,
            action=event.action,
            started_at=envelope.time,
            last_seq=envelope.seq,
        )
    )
    rows = [
        {
            "rollout": event.rollout,
            "name": host.name,
            "position": position,
            **{name: getattr(host, name) for name in _ENTRY_COLUMNS},
        }
        for position, host in enumerate(event.hosts)
    ]
    if rows:
        connection.execute(insert(hosts), rows)
    _fold_regions(connection, event.regions, envelope.time)


def _fold_regions(connection: Connection, entries: Iterable[RegionEntry], time: str) -> None:
    """Keep the entry of the latest rollout for each region, whichever is folded last."""
    known = {
        row.name: row.updated_at for row in connection.execute(select(regions.c.name, regions.c.updated_at))
    }
    for region in entries:
        if known.get(region.name, "") > time:
            continue
        connection.execute(delete(regions).where(regions.c.name == region.name))
        entry = msgspec.json.encode(region).decode()
        connection.execute(insert(regions).values(name=region.name, entry=entry, updated_at=time))


def _fold_surveys(connection: Connection, rollout: RolloutId, envelopes: Iterable[Envelope]) -> None:
    rows = [
        {"of_rollout": rollout, "of_host": envelope.event.host, "of_machine": envelope.event.machine_id}
        for envelope in envelopes
        if isinstance(envelope.event, HostSurveyed)
    ]
    if rows:
        connection.execute(_SET_MACHINE, rows)
    _fold_machines(connection, envelopes)


def _fold_machines(connection: Connection, envelopes: Iterable[Envelope]) -> None:
    """Keep the identity of each machine's latest survey, whichever is folded last."""
    seen = {
        (envelope.event.host, envelope.event.machine_id): (envelope.time, envelope.event.identity)
        for envelope in envelopes
        if isinstance(envelope.event, HostSurveyed) and envelope.event.machine_id and envelope.event.identity
    }
    if not seen:
        return
    columns = machines.c.name, machines.c.machine_id, machines.c.seen_at
    stored = connection.execute(select(*columns).where(machines.c.name.in_({name for name, _ in seen})))
    stored_at = {(name, machine_id): seen_at for name, machine_id, seen_at in stored}
    rows = [
        {
            "name": name,
            "machine_id": machine_id,
            "seen_at": time,
            "identity": msgspec.json.encode(identity).decode(),
        }
        for (name, machine_id), (time, identity) in seen.items()
        if stored_at.get((name, machine_id), "") <= time
    ]
    if rows:
        of = [{"of_name": row["name"], "of_machine": row["machine_id"]} for row in rows]
        connection.execute(_REMOVE_MACHINE, of)
        connection.execute(insert(machines), rows)


def _fold_outcomes(connection: Connection, rollout: RolloutId, envelopes: Sequence[Envelope]) -> None:
    names = {envelope.event.host for envelope in envelopes if isinstance(envelope.event, HostFinished)}
    if not names:
        return
    host_columns = _host_columns(connection, rollout, names)
    statement = select(rollouts.c.is_check, rollouts.c.action).where(rollouts.c.id == rollout)
    is_check, action = connection.execute(statement).one()
    rows: list[dict[str, Any]] = []
    for envelope in envelopes:
        match envelope.event:
            case HostSurveyed(host=host, machine_id=machine_id) if host in host_columns:
                host_columns[host]["machine_id"] = machine_id
            case HostFinished() as event:
                place = {"rollout": rollout, "seq": envelope.seq, "finished_at": envelope.time}
                rows.append(
                    place
                    | _outcome(event)
                    | host_columns.get(event.outcome.host, _NOT_SURVEYED)
                    | {"is_check": is_check}
                )
            case _:
                continue
    connection.execute(insert(outcomes), rows)
    # A check changes nothing and has no confirmation by the region, and what is done with a node makes none: nodes do not follow.
    if not is_check:
        made = [row for row in rows if row["node_id"] is not None and makes_nodes(action, row["result"])]
        update_nodes(connection, [_node_outcome(row) for row in made])


def _node_outcome(row: Mapping[str, Any]) -> NodeOutcome:
    return NodeOutcome(*(row[name] for name in NodeOutcome._fields))._replace(result=Result(row["result"]))


def _host_columns(
    connection: Connection, rollout: RolloutId, names: Iterable[str | None]
) -> dict[str | None, dict[str, Any]]:
    """Host → columns of its survey and inventory entry, as folded before this batch."""
    statement = select(hosts.c.name, hosts.c.machine_id, hosts.c.gpu_model)
    rows = connection.execute(statement.where(hosts.c.rollout == rollout, hosts.c.name.in_(names)))
    return {row.name: {"machine_id": row.machine_id, "gpu_model": row.gpu_model} for row in rows}


def _outcome(event: HostFinished) -> dict[str, Any]:
    outcome = event.outcome
    problem = outcome.problem
    return {
        "host": outcome.host,
        "result": outcome.result.value,
        "address": outcome.address,
        "region": outcome.region,
        "datacenter": outcome.datacenter,
        "rack": event.rack,
        "node_pool": event.node_pool,
        "node_id": outcome.node_id,
        "gpus_expected": outcome.gpus_expected,
        "gpus_seen": outcome.gpus_seen,
        "gpus_probed": outcome.gpus_probed,
        "duration_s": outcome.duration_s,
        "attempts": outcome.attempts,
        "stamp": event.stamp,
        "problem_code": problem and problem.code,
        "problem_step": problem and problem.step,
        "problem_message": problem and problem.message,
        "problem_hint": problem and problem.hint,
        "problem_exit_code": problem and problem.exit_code,
    }
