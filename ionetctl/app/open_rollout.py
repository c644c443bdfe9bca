"""The record of a rollout while it is written: which rollout, its lease, its journal, and who is told what is written."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl import __version__
from ionetctl.app.resume import find_rollout, open_journal
from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    IonetctlError,
    UnwritableError,
    UsageError,
    most_serious,
)
from ionetctl.core.events import HostEntry, RolloutFinished, RolloutResumed, RolloutStarted
from ionetctl.history.catalog import Catalog
from ionetctl.history.journal import NOTHING_KEPT, JournalFile, Kept, list_journals
from ionetctl.rollout.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from ionetctl.app.resume import Past
    from ionetctl.core.errors import LockedError
    from ionetctl.core.model.facts import MachineIdentity
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory
    from ionetctl.core.model.names import HostName, RegionName, RolloutId
    from ionetctl.core.ports import Clock, Emit, Sink
    from ionetctl.core.settings import Settings
    from ionetctl.history.catalog import Closure, Lease, NodeRecord
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.rollout.signals import StoppingSignals


@dataclass(frozen=True, slots=True)
class Record:
    """An open record, and what the rollout did before it was resumed; ``nodes``, ``identities``, ``closures`` and ``installed`` are the catalog's.

    ``lease`` is ``None`` where no host may be changed.
    """

    rollout: RolloutId
    emit: Emit
    past: Past
    nodes: tuple[NodeRecord, ...]
    identities: Mapping[tuple[HostName, str], MachineIdentity]
    lease: Lease | None
    closures: tuple[Closure, ...]
    installed: frozenset[tuple[RegionName, HostName, str]]


@dataclass(frozen=True, slots=True)
class Records:
    """Where records are kept, by whom and until which signal."""

    settings: Settings
    clock: Clock
    signals: StoppingSignals

    @asynccontextmanager
    async def open(
        self, options: RolloutOptions, hosts: Sequence[Host], sinks: Sequence[Sink]
    ) -> AsyncIterator[Record]:
        """The record of the rollout that ``options`` mean, with a lease on ``hosts`` if they may be changed: losing it requests the stop.

        At its end lease and journal are released before ``sinks`` that are slow are waited for. Raises ``IonetctlError``
        where there is no such rollout, it is at work already, or cannot be recorded, or its journal is not the one that the
        catalog knows: the digest of the one that it knows stays there.
        """
        settings, clock, recorder, journal, lease = self.settings, self.clock, None, None, None
        rollout = find_rollout(options, settings, clock, hosts)
        with Catalog.open(settings.catalog_path, clock, list_journals(settings.rollouts_dir)) as catalog:
            try:
                async with AsyncExitStack() as held:
                    if options.changes_hosts:
                        lease = catalog.lease(hosts, rollout, settings.owner, self._stop)
                        await held.enter_async_context(lease)
                    kept = _kept(catalog, rollout) if options.resume else NOTHING_KEPT
                    journal, past = open_journal(
                        settings,
                        rollout,
                        is_resumed=options.resume,
                        kept=kept,
                        action=options.action,
                        details=options.details,
                    )
                    catalog.catch_up([JournalFile(rollout, journal.path)])
                    for sink in sinks:
                        await sink.take(past.envelopes)
                    recorder = Recorder(journal, clock, (catalog.sink(rollout), *sinks), past.first_seq)
                    await held.enter_async_context(recorder)
                    known = (
                        catalog.nodes(),
                        catalog.identities(),
                        lease,
                        catalog.closures(),
                        catalog.installed(),
                    )
                    yield Record(rollout, recorder, past, *known)
            finally:
                if recorder is not None:
                    await recorder.listeners.close(0.0 if self.signals.is_repeated else None)
                if journal is not None and journal.digest:
                    # Where the catalog has failed, a warning in the journal says so.
                    with suppress(ConfigurationError):
                        catalog.keep_digest(rollout, journal.digest, journal.last_seq)

    def _stop(self, error: LockedError) -> None:
        self.signals.stop.request(error.code, error.message, error.exit_code)


def _kept(catalog: Catalog, rollout: RolloutId) -> Kept:
    """What the catalog knows of the rollout's journal: nothing where it was removed, and the journal cannot be read."""
    try:
        record = catalog.rollout(rollout)
    except UsageError:
        return NOTHING_KEPT
    return Kept(record.journal_digest, record.last_seq)


def beginning(
    options: RolloutOptions,
    settings: Settings,
    inventory: Inventory,
    hosts: Sequence[Host],
    *,
    rollout: RolloutId,
    past: Past,
) -> RolloutStarted | RolloutResumed:
    """The first event of a process that works on a rollout."""
    if past.envelopes:
        return RolloutResumed(
            owner=settings.owner,
            done=len(past.done),
            command=options.command,
            version=__version__,
            inventory_digest=inventory.digest,
        )
    return RolloutStarted(
        rollout=rollout,
        inventory=inventory.source,
        inventory_digest=inventory.digest,
        owner=settings.owner,
        version=__version__,
        hosts=tuple(_host_entry(host) for host in hosts),
        is_check=not options.changes_hosts,
        canary=options.strategy.canary,
        batch_size=str(options.strategy.batch_size),
        max_failures=str(options.strategy.max_failures),
        concurrency=options.concurrency,
        command=options.command,
        action=options.action,
        details=options.details,
    )


def _host_entry(host: Host) -> HostEntry:
    return HostEntry(
        host.name,
        host.address,
        host.region,
        host.datacenter,
        host.rack,
        host.node_pool,
        host.gpus.count,
        host.gpus.model,
    )


async def recorded(
    emit: Emit,
    signals: StoppingSignals,
    first: RolloutStarted | RolloutResumed,
    work: Callable[[], Awaitable[ExitCode]],
) -> ExitCode:
    """The exit code of ``work``, with beginning and end in the journal whatever happens between.

    Where not even the beginning can be written, no host was touched: ``ConfigurationError``.
    """
    try:
        try:
            await emit(first)
        except UnwritableError as error:
            raise ConfigurationError(error.code, error.message, error.hint) from error
        exit_code = await _until_stopped(emit, signals, work)
    except BaseException as error:
        # Where the journal is what failed, it cannot have its end.
        with suppress(UnwritableError):
            await emit(RolloutFinished(exit_code=int(_exit_code_of(error))))
        raise
    await emit(RolloutFinished(exit_code=int(exit_code)))
    return exit_code


async def _until_stopped(
    emit: Emit, signals: StoppingSignals, work: Callable[[], Awaitable[ExitCode]]
) -> ExitCode:
    # So that whoever pressed Ctrl-C sees at once that it was received.
    recording = asyncio.create_task(signals.stop.record_when_requested(emit), name="stop")
    try:
        return await work()
    except asyncio.CancelledError:
        if not signals.is_repeated:
            raise
        return signals.stop.exit_code
    finally:
        signals.nothing_left()
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)


def _exit_code_of(error: BaseException) -> ExitCode:
    cause = most_serious(error)
    if isinstance(cause, (asyncio.CancelledError, KeyboardInterrupt)):
        return ExitCode.INTERRUPTED
    return cause.exit_code if isinstance(cause, IonetctlError) else ExitCode.BUG
