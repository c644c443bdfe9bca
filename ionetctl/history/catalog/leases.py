"""Leases on hosts: a second rollout that wants one of them is refused before it starts.

They are advisory; the lock on the host is what excludes another rollout. A lease is void when its process has ended. For a
process on another machine that cannot be determined: such a lease is void once it expires, so its holder renews it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, Self

from sqlalchemy import bindparam, delete, insert, select, update

from ionetctl.core.errors import ConfigurationError, LockedError
from ionetctl.history.catalog.process import ProcessIdentity
from ionetctl.history.catalog.schema import leases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from sqlalchemy import Connection, RowMapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import RolloutId
    from ionetctl.core.ports import Clock

LEASE_S: Final = 600
RENEW_S: Final = 60

_REMOVE: Final = delete(leases).where(
    leases.c.name == bindparam("of_name"), leases.c.address == bindparam("of_address")
)


def rfc3339(time: datetime) -> str:
    """``time`` as RFC 3339 text in UTC with milliseconds, as the catalog stores it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Claim:
    """The rollout that takes leases, its owner and its start, for the error message of others."""

    rollout: RolloutId
    owner: str
    started_at: str


def claim_hosts(connection: Connection, hosts: Sequence[Host], claim: Claim, now: datetime) -> None:
    """Lease all hosts or none; leases of this process for the same rollout are replaced.

    Raises ``LockedError`` (``hosts_locked``), which names the other rollout, its owner and its start.
    """
    wanted: set[tuple[str, str]] = {(host.name, host.address) for host in hosts}
    here = ProcessIdentity.current()
    present = [
        row
        for row in connection.execute(select(leases)).mappings()
        if (row["name"], row["address"]) in wanted
    ]
    foreign = [row for row in present if (row["rollout"], _holder(row)) != (claim.rollout, here)]
    # Asked once of each process: one that was killed may have left the leases of 10,000 hosts.
    are_alive = {holder: holder.is_alive() for holder in {_holder(row) for row in foreign}}
    held = [row for row in foreign if _is_held(row, are_alive[_holder(row)], now)]
    if held:
        raise _locked(held)
    _remove(connection, present)
    _insert(connection, wanted, {**asdict(claim), **_columns(here), "expires_at": _expiry(now)})


def renew_leases(connection: Connection, rollout: RolloutId, now: datetime) -> None:
    """Extend this process's leases for a rollout by ``LEASE_S``."""
    statement = update(leases).where(
        leases.c.rollout == rollout, leases.c.pid == ProcessIdentity.current().pid
    )
    connection.execute(statement.values(expires_at=_expiry(now)))


def release_leases(connection: Connection, rollout: RolloutId) -> None:
    """Remove this process's leases for a rollout."""
    here = ProcessIdentity.current()
    connection.execute(
        delete(leases).where(
            leases.c.rollout == rollout,
            leases.c.machine == here.machine,
            leases.c.pid == here.pid,
        )
    )


def _holder(row: RowMapping) -> ProcessIdentity:
    return ProcessIdentity(row["machine"], row["boot_id"], row["pid"], row["process_started"])


def _is_held(row: RowMapping, is_alive: bool | None, now: datetime) -> bool:  # noqa: FBT001  (of its process)
    return bool(row["expires_at"] > rfc3339(now)) if is_alive is None else is_alive


def _expiry(now: datetime) -> str:
    return rfc3339(now + timedelta(seconds=LEASE_S))


def _columns(process: ProcessIdentity) -> dict[str, object]:
    return {
        "machine": process.machine,
        "boot_id": process.boot_id,
        "pid": process.pid,
        "process_started": process.started,
    }


def _remove(connection: Connection, rows: Sequence[RowMapping]) -> None:
    if rows:
        keys = [{"of_name": row["name"], "of_address": row["address"]} for row in rows]
        connection.execute(_REMOVE, keys)


def _insert(connection: Connection, wanted: set[tuple[str, str]], common: dict[str, object]) -> None:
    if wanted:
        rows = [{"name": name, "address": address, **common} for name, address in sorted(wanted)]
        connection.execute(insert(leases), rows)


def _locked(held: Sequence[RowMapping]) -> LockedError:
    first = held[0]
    hosts = first["name"] if len(held) == 1 else f"{first['name']} and {len(held) - 1} more of these hosts"
    message = f"rollout {first['rollout']} of {first['owner']}, started {first['started_at']}, holds {hosts}"
    return LockedError(
        "hosts_locked", message, "wait until it has ended, or leave its hosts out with --limit"
    )


class _Leases(Protocol):
    """The methods of the catalog that a lease calls."""

    def claim(self, hosts: Sequence[Host], rollout: RolloutId, owner: str, started_at: str) -> None: ...

    def renew(self, rollout: RolloutId) -> None: ...

    def release(self, rollout: RolloutId) -> None: ...


class Lease:
    """Leases of a rollout on its hosts for the length of an ``async with`` block, renewed every ``RENEW_S``."""

    def __init__(
        self, catalog: _Leases, clock: Clock, hosts: Sequence[Host], rollout: RolloutId, owner: str
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._hosts = hosts
        self._rollout = rollout
        self._owner = owner
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        started_at = rfc3339(self._clock.now())
        await asyncio.to_thread(self._catalog.claim, self._hosts, self._rollout, self._owner, started_at)
        self._renewal = asyncio.create_task(self._keep_renewing(), name="lease")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})
        # A lease that cannot be removed is void when this process ends; the rollout's own result matters more.
        with suppress(ConfigurationError):
            await asyncio.to_thread(self._catalog.release, self._rollout)

    async def _keep_renewing(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            # A renewal may fail: a lease lasts for several.
            with suppress(ConfigurationError):
                await asyncio.to_thread(self._catalog.renew, self._rollout)
