"""Events into rows. Every batch of a rollout is folded once, however often it comes, by its numbers.

What the rows become depends on the events and their times alone, not on when or in which order rollouts are folded:
that is what makes a catalog built again the same catalog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from ionetctl.catalog.nodes import fold_nodes
from ionetctl.catalog.schema import outcomes, regions, rollouts
from ionetctl.errors import ConfigurationError
from ionetctl.events import (
    HostFinished,
    HostSurveyed,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import BindParameter, Connection

    from ionetctl.events import Envelope
    from ionetctl.model import RolloutId

DECISIVE: Final = (RolloutStarted, RolloutResumed, RolloutStopped, RolloutFinished)
"""The events that others should see at once; the rest may come in larger helpings."""

_ENTRY_COLUMNS: Final = (
    "address",
    "region",
    "datacenter",
    "rack",
    "node_pool",
    "gpu_model",
    "gpus_expected",
)

_UPDATE_OUTCOME: Final = update(outcomes).where(
    outcomes.c.rollout == bindparam("of_rollout"), outcomes.c.host == bindparam("of_host")
)


def fold(connection: Connection, rollout: RolloutId, envelopes: Sequence[Envelope]) -> None:
    """Fold a batch of one rollout's events; those already folded are passed over.

    Raises ``ConfigurationError``: ``catalog_behind`` where events before the batch are missing,
    ``rollout_malformed`` where a rollout does not begin with its start.
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
        _check_beginning(rollout, fresh[0])
    for envelope in fresh:
        _fold_rollout(connection, rollout, envelope)
    _fold_surveys(connection, rollout, fresh)
    _fold_outcomes(connection, rollout, fresh)
    _fold_nodes(connection, rollout, fresh)
    _set_rollout(connection, rollout, last_seq=fresh[-1].seq)


def folded_until(connection: Connection) -> Mapping[str, int]:
    """Rollout → number of the last event folded."""
    return {row.id: row.last_seq for row in connection.execute(select(rollouts.c.id, rollouts.c.last_seq))}


def _check_beginning(rollout: RolloutId, envelope: Envelope) -> None:
    event = envelope.event
    if not isinstance(event, RolloutStarted) or event.rollout != rollout:
        message = f"the record of rollout {rollout} does not begin with its start"
        raise ConfigurationError("rollout_malformed", message, "it was renamed or changed")


def _fold_rollout(connection: Connection, rollout: RolloutId, envelope: Envelope) -> None:
    match envelope.event:
        case RolloutStarted() as event:
            _start(connection, event, envelope)
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
    connection.execute(
        insert(rollouts).values(
            id=event.rollout,
            inventory=event.inventory,
            inventory_digest=event.inventory_digest,
            owner=event.owner,
            version=event.version,
            command=msgspec.json.encode(event.command).decode(),
            is_check=event.is_check,
            started_at=envelope.time,
            last_seq=envelope.seq,
        )
    )
    rows = [
        {
            "rollout": event.rollout,
            "host": host.name,
            "position": position,
            **{name: getattr(host, name) for name in _ENTRY_COLUMNS},
        }
        for position, host in enumerate(event.hosts)
    ]
    if rows:
        connection.execute(insert(outcomes), rows)
    _fold_regions(connection, event, envelope.time)


def _fold_regions(connection: Connection, event: RolloutStarted, time: str) -> None:
    """The latest word on a region stands, whichever rollout is folded last."""
    known = {
        row.name: row.updated_at for row in connection.execute(select(regions.c.name, regions.c.updated_at))
    }
    for region in event.regions:
        if known.get(region.name, "") > time:
            continue
        connection.execute(delete(regions).where(regions.c.name == region.name))
        entry = msgspec.json.encode(region).decode()
        connection.execute(insert(regions).values(name=region.name, entry=entry, updated_at=time))


def _fold_surveys(connection: Connection, rollout: RolloutId, envelopes: Iterable[Envelope]) -> None:
    rows = [
        {"of_rollout": rollout, "of_host": envelope.event.host, "machine_id": envelope.event.machine_id}
        for envelope in envelopes
        if isinstance(envelope.event, HostSurveyed)
    ]
    if rows:
        connection.execute(_UPDATE_OUTCOME.values(machine_id=bindparam("machine_id")), rows)


def _fold_outcomes(connection: Connection, rollout: RolloutId, envelopes: Iterable[Envelope]) -> None:
    rows = [
        _outcome_row(rollout, envelope.event, envelope.time)
        for envelope in envelopes
        if isinstance(envelope.event, HostFinished)
    ]
    if rows:
        columns: dict[str, BindParameter[Any]] = {
            name: bindparam(name) for name in rows[0] if not name.startswith("of_")
        }
        connection.execute(_UPDATE_OUTCOME.values(**columns), rows)


def _outcome_row(rollout: RolloutId, event: HostFinished, time: str) -> dict[str, Any]:
    outcome = event.outcome
    problem = outcome.problem
    return {
        "of_rollout": rollout,
        "of_host": outcome.host,
        "finished_at": time,
        "result": outcome.result.value,
        "node_id": outcome.node_id,
        "node_pool": event.node_pool,
        "rack": event.rack,
        "gpus_expected": outcome.gpus_expected,
        "gpus_seen": outcome.gpus_seen,
        "duration_s": outcome.duration_s,
        "attempts": outcome.attempts,
        "stamp": event.stamp,
        "problem_code": problem and problem.code,
        "problem_step": problem and problem.step,
        "problem_message": problem and problem.message,
        "problem_hint": problem and problem.hint,
        "problem_exit_code": problem and problem.exit_code,
    }


def _fold_nodes(connection: Connection, rollout: RolloutId, envelopes: Iterable[Envelope]) -> None:
    finished = [(e.event, e.time) for e in envelopes if isinstance(e.event, HostFinished)]
    is_check = connection.execute(select(rollouts.c.is_check).where(rollouts.c.id == rollout)).scalar_one()
    # A check changes nothing and asks for no confirmation, so it says nothing about nodes.
    if finished and not is_check:
        fold_nodes(connection, rollout, finished)
