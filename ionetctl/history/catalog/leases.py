"""Leases on hosts: a second rollout that wants one of them is refused before it starts.

A lease is void when its process has ended. For a process on another machine that cannot be determined: such a lease is void once it
expires, so its holder renews it, and begins nothing more when it finds that it slept through that, or that another has the hosts now.
Each claim has a higher number than all before it. Hosts keep it, and refuse whoever has a lower one of the same catalog.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, Self

from sqlalchemy import bindparam, delete, func, insert, select, update

from ionetctl.core.errors import ConfigurationError, LockedError
from ionetctl.history.catalog.process import ProcessIdentity
from ionetctl.history.catalog.schema import fencing, leases, rollouts, schema_version
from ionetctl.history.catalog.schema import hosts as begun_with

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from sqlalchemy import Connection, RowMapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import RolloutId
    from ionetctl.core.ports import Clock

LEASE_S: Final = 600
RENEW_S: Final = 60
LOOK_S: Final = 5
"""How old may be what is known of a lease when a host is begun."""
LOST_HINT: Final = "see what the other one did, then go on with --resume: it looks at every host anew"
NAME_BYTES: Final = 6

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
    started_at: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A claim that was granted, by its number, which is higher than all before it of the same catalog."""

    rollout: RolloutId
    started_at: str
    catalog: str
    number: int

    def __str__(self) -> str:
        return f"{self.catalog}.{self.number}"


def claim_hosts(connection: Connection, hosts: Sequence[Host], claim: Claim, now: datetime) -> Grant:
    """Lease all hosts or none; leases of this process for the same rollout are replaced.

    Raises ``LockedError`` (``hosts_locked``), which names the other rollout, its owner and its start.
    """
    # Where writers are concurrent, one claims at a time: each that read the last number before the other wrote would have the same.
    connection.execute(select(schema_version).with_for_update())
    here, present = ProcessIdentity.current(), _present(connection, hosts)
    foreign = [row for row in present if (row["rollout"], _holder(row)) != (claim.rollout, here)]
    # Asked once of each process: one that was killed may have left the leases of 10,000 hosts.
    are_alive = {holder: holder.is_alive() for holder in {_holder(row) for row in foreign}}
    held = [row for row in foreign if _is_held(row, are_alive[_holder(row)], now)]
    if held:
        message = f"{_named(held[0])}, holds {_hosts(held)}"
        hint = "wait until it has ended, or leave its hosts out with --limit"
        raise LockedError("hosts_locked", message, hint)
    _remove(connection, present)
    grant = Grant(claim.rollout, claim.started_at, *_next_number(connection, now))
    columns = {**asdict(claim), **_columns(here), "expires_at": _expiry(now), "number": grant.number}
    _insert(connection, _keys(hosts), columns)
    return grant


def find_loss(
    connection: Connection, hosts: Sequence[Host], grant: Grant, now: datetime
) -> LockedError | None:
    """Why these hosts are not held by that claim any more (``lease_lost``), with who has them now; ``None`` where they are."""
    valid = (leases.c.number == grant.number) & (leases.c.expires_at > rfc3339(now))
    if connection.execute(select(func.count()).select_from(leases).where(valid)).scalar() == len(
        _keys(hosts)
    ):
        return None
    taken = [row for row in _present(connection, hosts) if row["number"] != grant.number]
    if taken:
        return _lost(f"{_named(taken[0])}, has taken over {_hosts(taken)}, as the lease on them had run out")
    had = _had_since(connection, hosts, grant)
    if had:
        message = f"{_named(had[0])}, had {_hosts(had)} meanwhile, as the lease on them had run out"
        return _lost(f"{message}; nobody has them now")
    return _lost("the lease on these hosts ran out while this rollout slept; nobody has them now")


def renew_leases(
    connection: Connection, hosts: Sequence[Host], grant: Grant, now: datetime
) -> LockedError | None:
    """Extend that claim's leases by ``LEASE_S``, unless they are lost: then as ``find_loss``."""
    loss = find_loss(connection, hosts, grant, now)
    if loss is None:
        mine = update(leases).where(leases.c.number == grant.number)
        connection.execute(mine.values(expires_at=_expiry(now)))
    return loss


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


def _keys(hosts: Sequence[Host]) -> set[tuple[str, str]]:
    return {(host.name, host.address) for host in hosts}


def _present(connection: Connection, hosts: Sequence[Host]) -> list[RowMapping]:
    """The leases on these hosts, whosever they are."""
    wanted = _keys(hosts)
    rows = connection.execute(select(leases)).mappings()
    return [row for row in rows if (row["name"], row["address"]) in wanted]


def _had_since(connection: Connection, hosts: Sequence[Host], grant: Grant) -> list[RowMapping]:
    """Those of the hosts that the latest rollout had that began since, if any did; not one that only looked."""
    is_later = (rollouts.c.id != grant.rollout) & (rollouts.c.started_at >= grant.started_at)
    columns = (begun_with.c.name, begun_with.c.address, rollouts.c.owner, rollouts.c.started_at)
    statement = (
        select(rollouts.c.id.label("rollout"), *columns)
        .join(begun_with, begun_with.c.rollout == rollouts.c.id)
        .where(is_later, rollouts.c.is_check.is_(False))
        .order_by(rollouts.c.started_at.desc(), begun_with.c.position)
    )
    wanted = _keys(hosts)
    rows = connection.execute(statement).mappings()
    had = [row for row in rows if (row["name"], row["address"]) in wanted]
    return [row for row in had if row["rollout"] == had[0]["rollout"]]


def _next_number(connection: Connection, now: datetime) -> tuple[str, int]:
    """The catalog's name, and a number above all before it, and above those that a catalog had that is older than a copy put back in its place."""
    last = connection.execute(select(fencing)).mappings().first()
    now_s = int(now.timestamp())
    if last is None:
        catalog, number = secrets.token_hex(NAME_BYTES), now_s
        connection.execute(insert(fencing).values(catalog=catalog, number=number))
    else:
        catalog, number = last["catalog"], max(last["number"] + 1, now_s)
        connection.execute(update(fencing).values(number=number))
    return catalog, number


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


def _named(row: RowMapping) -> str:
    return f"rollout {row['rollout']} of {row['owner']}, started {row['started_at']}"


def _hosts(rows: Sequence[RowMapping]) -> str:
    first = str(rows[0]["name"])
    return first if len(rows) == 1 else f"{first} and {len(rows) - 1} more of these hosts"


def _lost(message: str) -> LockedError:
    return LockedError("lease_lost", message, LOST_HINT)


class _Leases(Protocol):
    """The methods of the catalog that a lease calls."""

    def claim(self, hosts: Sequence[Host], rollout: RolloutId, owner: str, started_at: str) -> Grant: ...

    def loss(self, hosts: Sequence[Host], grant: Grant) -> LockedError | None: ...

    def renew(self, hosts: Sequence[Host], grant: Grant) -> LockedError | None: ...

    def release(self, rollout: RolloutId) -> None: ...


class Lease:
    """Leases of a rollout on its hosts for the length of an ``async with`` block, renewed every ``RENEW_S``.

    ``on_lost`` is told when they are found to be lost, once. Times are the wall clock's: other clocks stand while a machine sleeps.
    """

    def __init__(
        self,
        catalog: _Leases,
        clock: Clock,
        hosts: Sequence[Host],
        claim: Claim,
        on_lost: Callable[[LockedError], None],
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._hosts = hosts
        self._claim = claim
        self._on_lost = on_lost
        self._grant: Grant | None = None
        self._seen_at = self._renewed_at = clock.now()
        self._loss: LockedError | None = None
        self._looking = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    @property
    def number(self) -> str:
        """The claim's fencing number, as hosts keep it; empty before the block."""
        return "" if self._grant is None else str(self._grant)

    async def __aenter__(self) -> Self:
        rollout, owner, started_at = self._claim.rollout, self._claim.owner, rfc3339(self._clock.now())
        self._grant = await asyncio.to_thread(self._catalog.claim, self._hosts, rollout, owner, started_at)
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
            await asyncio.to_thread(self._catalog.release, self._claim.rollout)

    async def check(self) -> None:
        """Have ``on_lost`` told where the lease is lost; what is known may be ``LOOK_S`` old."""
        async with self._looking:
            if abs(self._clock.now() - self._seen_at) >= timedelta(seconds=LOOK_S):
                await self._ask(self._catalog.loss)

    async def require(self) -> None:
        """As ``check``; raises ``LockedError`` (``lease_lost``) where the lease is lost."""
        await self.check()
        if self._loss is not None:
            raise LockedError(self._loss.code, self._loss.message, self._loss.hint)

    async def _keep_renewing(self) -> None:
        while self._loss is None:
            await self._clock.sleep(RENEW_S)
            async with self._looking:
                if await self._ask(self._catalog.renew):
                    self._renewed_at = self._seen_at

    async def _ask(self, question: Callable[[Sequence[Host], Grant], LockedError | None]) -> bool:
        """Whether the catalog says that the lease holds. One that does not answer is believed as long as the lease lasts."""
        if self._grant is None or self._loss is not None:
            return False
        asked_at = self._seen_at = self._clock.now()
        try:
            loss = await asyncio.to_thread(question, self._hosts, self._grant)
        except ConfigurationError as error:
            if asked_at - self._renewed_at < timedelta(seconds=LEASE_S):
                return False
            loss = _lost(f"the lease on these hosts ran out, as it could not be renewed: {error.message}")
        if loss is not None:
            self._loss = loss
            self._on_lost(loss)
        return loss is None
