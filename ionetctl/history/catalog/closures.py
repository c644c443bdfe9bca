"""Hosts whose SSH was closed to the key that bootstrapped them: rows from events, and what holds of each now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from ionetctl.core.events import KeyClosed, KeyClosing, SshOpened
from ionetctl.core.model.names import HostName
from ionetctl.history.catalog.records import Closure, ClosureState
from ionetctl.history.catalog.schema import closures, hosts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from ionetctl.core.events import Envelope
    from ionetctl.core.model.names import RolloutId


def fold_closures(connection: Connection, rollout: RolloutId, envelopes: Iterable[Envelope]) -> None:
    """Keep what the events say; none is kept twice, since no event is folded twice."""
    rows = [row for envelope in envelopes if (row := _row(rollout, envelope)) is not None]
    if rows:
        connection.execute(insert(closures), rows)


def _row(rollout: RolloutId, envelope: Envelope) -> dict[str, Any] | None:
    match envelope.event:
        case KeyClosing(account=account, key=key):
            state = ClosureState.CLOSING
        case KeyClosed(account=account, fingerprint=key):
            state = ClosureState.CLOSED
        case SshOpened():
            state, account, key = ClosureState.OPEN, "", ""
        case _:
            return None
    return {
        "rollout": rollout,
        "seq": envelope.seq,
        "host": envelope.event.host or "",
        "at": envelope.time,
        "state": state.value,
        "account": account,
        "key": key,
    }


def current_closures(connection: Connection) -> tuple[Closure, ...]:
    """The hosts that are closed, or were about to be, by name and address."""
    of_host = (hosts.c.rollout == closures.c.rollout) & (hosts.c.name == closures.c.host)
    columns = (closures.c.host, hosts.c.address, closures.c.state, closures.c.account, closures.c.key)
    statement = (
        select(*columns).join(hosts, of_host).order_by(closures.c.at, closures.c.rollout, closures.c.seq)
    )
    latest = {(row.host, row.address): row for row in connection.execute(statement)}
    return tuple(
        Closure(HostName(row.host), row.address, ClosureState(row.state), row.account, row.key)
        for row in latest.values()
        if row.state != ClosureState.OPEN
    )
