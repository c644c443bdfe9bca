"""The catalog: opening, checking and rebuilding it, folding events into it, reading it, leasing hosts.

All calls block, and may be made from any thread; in a running event loop use a thread for them, as ``CatalogSink`` does.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar

from sqlalchemy import delete, func, insert, inspect, select, update

from ionetctl.core.errors import ConfigurationError, IonetctlError, LockedError, UsageError
from ionetctl.history.catalog import engine as database
from ionetctl.history.catalog import leases, queries
from ionetctl.history.catalog.closures import current_closures
from ionetctl.history.catalog.fold import DECISIVE, fold, folded_until, store_results
from ionetctl.history.catalog.installations import installed_stamps, read_installations
from ionetctl.history.catalog.schema import (
    CHANGES,
    FOLDED,
    PRESENT,
    SINCE,
    VERSION,
    WITH_RESULTS,
    metadata,
    nodes,
    rollouts,
    schema_version,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection, Engine

    from ionetctl.core.events import Envelope, RegionEntry
    from ionetctl.core.model.facts import MachineIdentity
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Digest, HostName, RegionName, RolloutId
    from ionetctl.core.ports import Clock
    from ionetctl.history.catalog.installations import Installations
    from ionetctl.history.catalog.records import Closure, HostRecord, NodeRecord, RolloutRecord

_BATCH: Final = 1024
_FLUSH_S: Final = 1.0
_T = TypeVar("_T")


class RecordedRollout(Protocol):
    """A rollout's journal, as the catalog reads it."""

    @property
    def rollout(self) -> RolloutId:
        """Its rollout."""
        ...

    def last_seq(self) -> int:
        """The number of its last event; 0 where it is empty. Raises ``ConfigurationError`` where it is damaged."""
        ...

    def envelopes(self) -> Iterable[Envelope]:
        """Its events, in order. Raises ``ConfigurationError`` where it is damaged."""
        ...


class Catalog:
    """Nodes, regions, rollouts and leases. Close it, or use it as a context manager.

    ``problems`` are the errors of journals that could not be read when it was opened or rebuilt.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.problems: tuple[IonetctlError, ...] = ()

    @classmethod
    def open(cls, location: str | Path, clock: Clock, journals: Sequence[RecordedRollout] = ()) -> Self:
        """The catalog at a path or SQLAlchemy URL, created where there is none; folds what it lacks of ``journals``.

        It lacks events after a process was killed between journal and catalog, and all of them after it was removed.

        Raises ``ConfigurationError``: ``catalog_corrupt``, ``catalog_newer``, ``catalog_unwritable``,
        ``catalog_invalid``.
        """
        catalog = cls(database.make_engine(database.parse_location(location)), clock)
        try:
            catalog._prepare()
            catalog.problems = catalog.catch_up(journals)
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def rebuild(cls, location: str | Path, clock: Clock, journals: Sequence[RecordedRollout]) -> Self:
        """The catalog, rebuilt from ``journals``. Leases are kept where they can be read.

        A damaged SQLite file is moved aside (``.corrupt``). Raises as ``open`` does, ``catalog_newer`` included:
        an older ionetctl does not know the tables of a newer one.
        """
        try:
            return cls._rebuilt(location, clock, journals)
        except ConfigurationError as error:
            if error.code != "catalog_corrupt" or not database.move_aside(database.parse_location(location)):
                raise
            return cls._rebuilt(location, clock, journals)

    @classmethod
    def _rebuilt(cls, location: str | Path, clock: Clock, journals: Sequence[RecordedRollout]) -> Self:
        catalog = cls.open(location, clock)
        try:
            catalog.refold(journals)
        except BaseException:
            catalog.close()
            raise
        return catalog

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Catalog({database.shown(self._engine.url)!r})"

    # --- writing ---

    def sink(self, rollout: RolloutId) -> CatalogSink:
        """The sink for the events of a rollout."""
        return CatalogSink(self, rollout, self._clock)

    def record(self, rollout: RolloutId, envelopes: Sequence[Envelope]) -> None:
        """Fold a batch of a rollout's events, all or nothing; those folded before are skipped.

        Raises ``ConfigurationError`` (``catalog_unwritable``, ``catalog_behind`` …).
        """
        with database.writing(self._engine) as connection:
            fold(connection, rollout, envelopes)

    def keep_digest(self, rollout: RolloutId, digest: Digest, last_seq: int) -> None:
        """Keep the last digest of a journal that ends with event ``last_seq``; not where later events are folded already."""
        statement = update(rollouts).where(rollouts.c.id == rollout, rollouts.c.last_seq <= last_seq)
        with database.writing(self._engine) as connection:
            connection.execute(statement.values(journal_digest=digest))

    def mark_seen(self, region: RegionName, names: Iterable[HostName], at: str) -> None:
        """Set when a region last listed these nodes as ready; of all columns of nodes, only this is in no journal."""
        statement = update(nodes).where(nodes.c.region == region, nodes.c.last_seen_at < at)
        with database.writing(self._engine) as connection:
            for batch in _batches(names):
                connection.execute(statement.where(nodes.c.name.in_(batch)).values(last_seen_at=at))

    # --- reading ---

    def nodes(self, words: Mapping[str, Sequence[str]] | None = None) -> tuple[NodeRecord, ...]:
        """Every confirmed node, by region, datacenter, rack and name; with ``words`` those that ``queries.nodes_of`` says."""
        with database.reading(self._engine) as connection:
            return queries.nodes_of(connection, words)

    def identities(self) -> Mapping[tuple[HostName, str], MachineIdentity]:
        """What tells each machine that was ever surveyed from others, by its host's name and its machine-id."""
        with database.reading(self._engine) as connection:
            return queries.all_identities(connection)

    def installations(self, of_hosts: Container[tuple[RegionName, HostName]]) -> Installations:
        """What lies on those of these hosts that have a maintenance door."""
        with database.reading(self._engine) as connection:
            return read_installations(connection, of_hosts)

    def installed(self) -> frozenset[tuple[RegionName, HostName, str]]:
        """The hosts and stamps that ``installations`` has."""
        with database.reading(self._engine) as connection:
            return installed_stamps(connection)

    def closures(self) -> tuple[Closure, ...]:
        """The hosts whose SSH is closed to the key that bootstrapped them, or was about to be."""
        with database.reading(self._engine) as connection:
            return current_closures(connection)

    def regions(self) -> tuple[RegionEntry, ...]:
        """Every region of any rollout, as the latest one described it, by name."""
        with database.reading(self._engine) as connection:
            return queries.all_regions(connection)

    def rollouts(self) -> tuple[RolloutRecord, ...]:
        """Every rollout, newest first."""
        with database.reading(self._engine) as connection:
            return queries.find_rollouts(connection)

    def rollout(self, rollout: str) -> RolloutRecord:
        """One rollout; raises ``UsageError`` (``rollout_unknown``)."""
        with database.reading(self._engine) as connection:
            for record in queries.find_rollouts(connection, rollout):
                return record
        message = f"the catalog has no rollout {rollout!r}"
        raise UsageError("rollout_unknown", message, "see `ionetctl rollouts list`")

    def hosts(self, rollout: str) -> tuple[HostRecord, ...]:
        """The hosts of a rollout in the inventory's order; empty for a rollout that the catalog does not have."""
        with database.reading(self._engine) as connection:
            return queries.hosts_of(connection, rollout)

    # --- leases ---

    def claim(self, hosts: Sequence[Host], rollout: RolloutId, owner: str, started_at: str) -> leases.Grant:
        """Lease all of these hosts or none, by name and address; leases of dead processes are void.

        Raises ``LockedError`` (``hosts_locked``) naming the other rollout, its owner and its start,
        ``ConfigurationError`` (``catalog_unwritable``).
        """
        try:
            with database.writing(self._engine) as connection:
                claim = leases.Claim(rollout, owner, started_at)
                return leases.claim_hosts(connection, hosts, claim, self._clock.now())
        except database.ConflictError as error:
            # On databases with concurrent writers, the primary key decides.
            raise LockedError("hosts_locked", "another rollout has just taken some of these hosts") from error

    def loss(self, hosts: Sequence[Host], grant: leases.Grant) -> LockedError | None:
        """Why these hosts are not held by that claim any more (``lease_lost``); ``None`` where they are."""
        with database.reading(self._engine) as connection:
            return leases.find_loss(connection, hosts, grant, self._clock.now())

    def renew(self, hosts: Sequence[Host], grant: leases.Grant) -> LockedError | None:
        """Extend that claim's leases on these hosts, unless they are lost: then as ``loss``."""
        with database.writing(self._engine) as connection:
            return leases.renew_leases(connection, hosts, grant, self._clock.now())

    def release(self, rollout: RolloutId) -> None:
        """Remove this process's leases for a rollout."""
        with database.writing(self._engine) as connection:
            leases.release_leases(connection, rollout)

    def lease(
        self,
        hosts: Sequence[Host],
        rollout: RolloutId,
        owner: str,
        on_lost: Callable[[LockedError], None],
    ) -> leases.Lease:
        """The claim on ``hosts`` as an asynchronous context manager that renews and releases it; ``on_lost`` is told once."""
        return leases.Lease(self, self._clock, hosts, leases.Claim(rollout, owner), on_lost)

    # --- opening ---

    def _prepare(self) -> None:
        database.check_integrity(self._engine, PRESENT)
        with database.reading(self._engine) as connection:
            version = self._version(connection)
        if version is None:
            with database.writing(self._engine) as connection:
                version = self._version(connection) or _create(connection)
        if version < VERSION:
            with database.writing(self._engine) as connection:
                version = _upgrade(connection, self._version(connection) or version)
        if version > VERSION:
            message = f"the catalog {database.shown(self._engine.url)} was written by a newer ionetctl"
            raise ConfigurationError(
                "catalog_newer", message, "upgrade ionetctl, or choose another --state-dir"
            )

    def refold(self, journals: Sequence[RecordedRollout]) -> None:
        """Rebuild all but the leases and the journals' last digests from ``journals``, in one transaction."""
        with database.writing(self._engine) as connection:
            kept = connection.execute(select(rollouts.c.id, rollouts.c.journal_digest)).all()
            for table in FOLDED:
                connection.execute(delete(table))
            self.problems = _replay_all(connection, journals)
            for rollout, digest in kept:
                connection.execute(
                    update(rollouts).where(rollouts.c.id == rollout).values(journal_digest=digest)
                )

    def _version(self, connection: Connection) -> int | None:
        """The schema's version; ``None`` for an empty database."""
        tables = inspect(connection).get_table_names()
        if not tables:
            return None
        found = connection.execute(select(func.max(schema_version.c.version))).scalar()
        due = {name for name in metadata.tables if SINCE.get(name, 0) <= (found or 0)}
        if found is None or not due.issubset(tables):
            raise database.corrupt(self._engine.url, "it lacks tables")
        return int(found)

    def catch_up(self, journals: Sequence[RecordedRollout]) -> tuple[IonetctlError, ...]:
        """Fold what the catalog lacks of ``journals``; the errors of those that cannot be read."""
        with database.reading(self._engine) as connection:
            folded = folded_until(connection)
        problems: list[IonetctlError] = []
        behind: list[RecordedRollout] = []
        for journal in journals:
            with _collected(problems):
                if journal.last_seq() > folded.get(journal.rollout, 0):
                    behind.append(journal)
        if not behind:
            return tuple(problems)
        with database.writing(self._engine) as connection:
            return (*problems, *_replay_all(connection, behind))


class CatalogSink:
    """Folds the events of one rollout into the catalog; a sink.

    A transaction costs more than its events, so those of a second are folded in one. Other processes miss nothing
    meanwhile: opening the catalog folds the rest of the journals.
    """

    def __init__(self, catalog: Catalog, rollout: RolloutId, clock: Clock) -> None:
        self._catalog = catalog
        self._rollout = rollout
        self._clock = clock
        self._flushed_at = clock.monotonic()
        self._held: list[Envelope] = []

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Fold the events that are due, in a thread; raises ``ConfigurationError`` as ``Catalog.record`` does."""
        self._held.extend(envelopes)
        is_decisive = any(isinstance(envelope.event, DECISIVE) for envelope in envelopes)
        is_late = self._clock.monotonic() - self._flushed_at >= _FLUSH_S
        if is_decisive or is_late or len(self._held) >= _BATCH:
            await self._flush()

    async def close(self) -> None:
        """Fold the remaining events. The catalog itself stays open."""
        if self._held:
            await self._flush()

    async def _flush(self) -> None:
        held, self._held = self._held, []
        await asyncio.to_thread(self._catalog.record, self._rollout, held)
        self._flushed_at = self._clock.monotonic()


def _create(connection: Connection) -> int:
    metadata.create_all(connection)
    connection.execute(insert(schema_version).values(version=VERSION))
    return VERSION


def _upgrade(connection: Connection, version: int) -> int:
    for newer in range(version + 1, VERSION + 1):
        for statement in CHANGES[newer]:
            connection.exec_driver_sql(statement)
        if newer == WITH_RESULTS:
            ended = select(rollouts.c.id).where(rollouts.c.finished_at.is_not(None))
            store_results(connection, connection.execute(ended).scalars().all())
        connection.execute(insert(schema_version).values(version=newer))
    return max(version, VERSION)


@contextmanager
def _collected(problems: list[IonetctlError]) -> Iterator[None]:
    """Add a ``ConfigurationError`` to ``problems``: one damaged journal does not exclude the others."""
    try:
        yield
    except ConfigurationError as error:
        problems.append(error)


def _replay_all(connection: Connection, journals: Iterable[RecordedRollout]) -> tuple[IonetctlError, ...]:
    problems: list[IonetctlError] = []
    for journal in journals:
        with _collected(problems):
            for batch in _batches(journal.envelopes()):
                fold(connection, journal.rollout, batch)
    return tuple(problems)


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    batch: list[_T] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    except ConfigurationError:
        # Events before the damage are folded.
        yield batch
        raise
    yield batch
