"""``enroll`` and ``preflight`` from options to exit code: opens what a rollout needs, records it, runs its phases.

Wires adapters to the core; what is done with the hosts stands in ``phases``.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from ionetctl.app.ask_regions import RegionsAsked
from ionetctl.app.closed_hosts import ClosedHosts
from ionetctl.app.open_distributor import open_distributor
from ionetctl.app.open_engine import EngineNeeds, open_engine, worker_count
from ionetctl.app.open_inventory import Site, open_site
from ionetctl.app.open_rollout import Records, beginning, recorded
from ionetctl.app.work_order import Surroundings, WorkOrder, dependencies
from ionetctl.checks import KnownMachine
from ionetctl.core.clock import SystemClock
from ionetctl.core.events import (
    HostKeyAccepted,
    Warned,
)
from ionetctl.core.model.names import HostName, RolloutId
from ionetctl.host.dependencies import NO_LEASE, Deadlines
from ionetctl.plan.bundle import managed_paths
from ionetctl.plan.packages import check_packages
from ionetctl.plan.prepare_steps import surveyed_paths
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.options import Goal
from ionetctl.rollout.phases import Phases
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from ionetctl.ssh import SshConnector, TransportSettings
from ionetctl.ssh.limits.open_files import most_hosts, raise_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Coroutine, Mapping, Sequence

    from ionetctl.app.resume import Past
    from ionetctl.core.errors import (
        ExitCode,
    )
    from ionetctl.core.model.facts import MachineIdentity
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.ports import Clock, Emit, Sink
    from ionetctl.core.settings import Settings
    from ionetctl.distribution.distributor import Distributor
    from ionetctl.history.catalog import Closure, Lease, NodeRecord
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.rollout.options import RolloutOptions

LEAST_RETRIES: Final = 20


async def enroll(
    options: RolloutOptions,
    settings: Settings,
    sinks: Sequence[Sink],
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]],
) -> ExitCode:
    """Go as far as the goal of ``options`` asks for; the exit code that the contract gives the outcome.

    ``confirm`` is asked before hosts change. Raises ``IonetctlError`` where the rollout could not begin, and
    ``UnwritableError`` where its journal broke later.
    """
    clock, stop = SystemClock(), Stop()
    settings.prepare_state()
    async with open_site(options.inventory, options.limit, options.artifacts, settings, clock) as site:
        with StoppingSignals(stop) as signals:
            records = Records(settings, clock, signals)
            try:
                async with records.open(options, site.hosts, sinks) as record:
                    emit = site.emit = record.emit
                    run = _Run(
                        options,
                        settings,
                        site,
                        record.rollout,
                        emit,
                        clock,
                        confirm,
                        stop,
                        signals,
                        record.nodes,
                        record.identities,
                        record.lease,
                        record.closures,
                        record.installed,
                    )
                    return await run.recorded(record.past)
            except asyncio.CancelledError:
                if not signals.is_repeated:
                    raise
                return stop.exit_code


@dataclass(frozen=True, slots=True)
class _Run:
    """One process's part in a rollout."""

    options: RolloutOptions
    settings: Settings
    site: Site
    rollout: RolloutId
    emit: Emit
    clock: Clock
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]]
    stop: Stop
    signals: StoppingSignals
    nodes: Sequence[NodeRecord] = ()
    """Those of the catalog."""
    identities: Mapping[tuple[HostName, str], MachineIdentity] = field(default_factory=dict)
    """What the catalog knows of machines, by host name and machine-id."""
    lease: Lease | None = None
    closures: Sequence[Closure] = ()
    installed: Container[tuple[RegionName, HostName, str]] = ()

    async def recorded(self, past: Past) -> ExitCode:
        """The exit code, with beginning and end in the journal whatever happens between."""
        hosts = past.remaining(self.site.hosts, self.options.retry_failed)
        first = beginning(
            self.options, self.settings, self.site.inventory, hosts, rollout=self.rollout, past=past
        )
        return await recorded(self.emit, self.signals, first, lambda: self._work(hosts, past))

    async def _work(self, hosts: Sequence[Host], past: Past) -> ExitCode:
        inventory, asked_for = self.site.inventory, self.options.distribution
        distributor = open_distributor(inventory, asked_for, self.clock, self.emit)
        closed = self._closed_hosts()
        all_hosts, hosts = hosts, closed.reached(hosts)
        await self.stop.unless_requested(self._prepare(hosts))
        is_any_needed = self._takes_hosts and bool(hosts) and not self.stop.is_requested
        if is_any_needed and not any(tools.status for tools in self.site.regions.values()):
            await self._regions.leave_all(hosts, {(node.region, node.name) for node in self.nodes})
        async with SshConnector(self._transport, self.site.secrets.reveal, self._key_accepted) as connector:
            await connector.check(hosts)
            settled = await self._settled(closed, all_hosts, connector)
            hosts = [host for host in hosts if host.name not in {outcome.host for outcome in settled}]
            slots = Slots(await self._hosts_at_once(len(hosts)), self.clock)
            # Everything loaded so far lives to the end: the collector need not look at it again.
            gc.freeze()
            work = self._work_order(len(hosts))
            own = dependencies(work, self._surroundings(connector, distributor, slots))
            needs = EngineNeeds(self.site, work, self._transport, own, self.emit, self.stop)
            opened = open_engine(needs, self.options, len(hosts))
            async with own.file_obtainer.seeds_ended(hosts), opened as engine:
                phases = Phases(
                    own,
                    hosts,
                    self.options,
                    slots,
                    engine,
                    self.stop,
                    self.confirm,
                    past.failed,
                    (*past.left_out(self.options.retry_failed), *settled),
                    [
                        KnownMachine(
                            node.name,
                            node.address,
                            node.node_id,
                            node.machine_id,
                            self.identities.get((node.name, node.machine_id or "")),
                        )
                        for node in self.nodes
                    ],
                    inventory.hosts,
                    self._check_lease,
                    closed.reopened(hosts),
                    self.installed,
                )
                return await phases.run()

    async def _settled(
        self, closed: ClosedHosts, hosts: Sequence[Host], connector: SshConnector
    ) -> tuple[Outcome, ...]:
        """The outcomes of closed hosts. What ends the rollout ends the looking, and leaves each an outcome all the same."""
        found = await self.stop.unless_requested(closed.look(hosts, connector))
        if found is None:
            return await closed.skip(hosts, self.stop.reason.message if self.stop.reason else "")
        return await closed.settle(found)

    async def _prepare(self, hosts: Sequence[Host]) -> None:
        """Whatever has to be known before the first host is touched."""
        if self._takes_hosts and hosts:
            check_packages(hosts)
            await self.site.ensure_programs()
        await self._regions.ask()

    def _closed_hosts(self) -> ClosedHosts:
        nodes = {(node.region, node.name): node for node in self.nodes}
        closures = {(closure.host, closure.address): closure for closure in self.closures}
        return ClosedHosts(self.site, self.emit, self.options, nodes, closures)

    @property
    def _takes_hosts(self) -> bool:
        return self.options.goal is not Goal.SURVEY

    @property
    def _regions(self) -> RegionsAsked:
        return RegionsAsked(self.site, self.emit, takes_hosts=self._takes_hosts)

    @property
    def _transport(self) -> TransportSettings:
        home = TransportSettings.for_home(
            self.settings.home,
            self.settings.environ,
            self.settings.ssh_auth_sock,
            accept_new=self.options.accept_new,
        )
        return replace(
            home,
            connect_timeout_s=min(home.connect_timeout_s, self.options.timeout_s),
            login_timeout_s=min(home.login_timeout_s, self.options.timeout_s),
            bytes_per_s=self.options.bytes_per_s,
        )

    async def _hosts_at_once(self, hosts: int) -> int:
        """What ``--concurrency`` asks for, or as many as there may be open files for; says so then.

        The limit is each process's: with workers, who have the connections, as many times as there are workers.
        """
        processes = worker_count(self.options, hosts) or 1
        wanted, allowed = min(self.options.concurrency, hosts), processes * most_hosts(raise_limit())
        if wanted <= allowed:
            return self.options.concurrency
        message = f"{allowed} hosts at once instead of {wanted}: file descriptors"
        hint = "raise the hard limit of open files (ulimit -Hn)"
        await self.emit(Warned(code="concurrency_limited", message=message, hint=hint))
        return allowed

    async def _key_accepted(self, host: str, fingerprint: str, known_as: str) -> None:
        await self.emit(HostKeyAccepted(host=HostName(host), fingerprint=fingerprint, known_as=known_as))

    def _work_order(self, hosts: int) -> WorkOrder:
        nomad = self.site.inventory.nomad
        return WorkOrder(
            rollout=self.rollout,
            owner=self.settings.owner,
            started_at=self.clock.now().isoformat(timespec="seconds"),
            lease=self.lease.number if self.lease is not None else NO_LEASE,
            naming=self.site.inventory.naming,
            takeover=self.options.takeover,
            lose_jobs=self.options.lose_jobs,
            deadlines=Deadlines(step_s=self.options.timeout_s),
            retries=max(LEAST_RETRIES, hosts // 5),
            cache_dir=self.settings.prepare_cache(),
            surveyed_paths=(
                *managed_paths(nomad.version, nomad.device_plugin_version),
                *surveyed_paths(),
            ),
        )

    async def _check_lease(self) -> None:
        """Request the stop where another rollout may have the hosts by now."""
        if self.lease is not None:
            await self.lease.check()

    async def _require_lease(self) -> None:
        """As ``_check_lease``; raises ``LockedError`` where it is so."""
        if self.lease is not None:
            await self.lease.require()

    def _surroundings(self, connector: SshConnector, distributor: Distributor, slots: Slots) -> Surroundings:
        async def pause(seconds: float) -> None:
            await slots.pause(seconds)
            await self._check_lease()

        return Surroundings(
            connector=connector,
            regions=self.site.regions,
            subjects=self.site.subjects,
            ensure_programs=self.site.ensure_programs,
            packer=self.site,
            emit=self.emit,
            clock=self.clock,
            pause=pause,
            require_lease=self._require_lease,
            is_stopped=lambda: self.stop.is_requested,
            distributor=distributor,
        )
