"""``nodes exclude``, ``include``, ``drain`` and ``meta`` from options to exit code: opens fleet and record, and goes through the nodes.

Wires adapters to the core; what is done with the nodes stands in ``maintenance``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ionetctl.app.known_fleet import CATALOG, check_names, waited
from ionetctl.app.open_fleet import open_fleet
from ionetctl.app.open_rollout import Records, beginning, recorded
from ionetctl.core.clock import SystemClock
from ionetctl.core.errors import IonetctlError
from ionetctl.maintenance.node_rollout import NodeRollout
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from ionetctl.app.open_fleet import Fleet
    from ionetctl.app.open_rollout import Record
    from ionetctl.core.errors import ExitCode
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.ports import Emit, Sink
    from ionetctl.core.settings import Settings
    from ionetctl.maintenance.node_actions import NodeAction, NodePlan
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.nomad import OnWait, Wait
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.rollout.options import RolloutOptions

    OpenAction = Callable[[Fleet, Record], Awaitable["Opened"]]


@dataclass(frozen=True, slots=True)
class Opened:
    """What is done with the nodes of a fleet; ``whole_plan`` as ``NodeRollout`` has it."""

    action: NodeAction
    fleet: Fleet
    whole_plan: Callable[[NodeState], NodePlan] | None = None


async def change_nodes(
    action: NodeAction,
    options: RolloutOptions,
    settings: Settings,
    sinks: Sequence[Sink],
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]],
) -> ExitCode:
    """Do the same with the nodes of an inventory, or of the catalog where ``options`` name that; the exit code that the contract gives the outcome.

    ``confirm`` is asked before nodes change. Raises as ``roll_out`` does.
    """

    async def open_action(fleet: Fleet, _: Record) -> Opened:
        return Opened(action, fleet)

    return await roll_out(open_action, options, settings, sinks, confirm)


async def roll_out(
    open_action: OpenAction,
    options: RolloutOptions,
    settings: Settings,
    sinks: Sequence[Sink],
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]],
) -> ExitCode:
    """Open fleet and record, then the action, and go through the nodes; the exit code.

    Raises ``IonetctlError`` where the rollout could not begin, and
    ``UnwritableError`` where its journal broke later.
    """
    clock, stop = SystemClock(), Stop()
    source = None if options.inventory == CATALOG else options.inventory
    waits = _Waits()
    with StoppingSignals(stop) as signals:
        try:
            async with open_fleet(settings, source, options.limit, clock, on_wait=waits.of) as fleet:
                _check_open(fleet)
                records = Records(settings, clock, signals)
                async with records.open(options, fleet.inventory.hosts, sinks) as record:
                    waits.emit = record.emit
                    return await _Run(
                        open_action, options, settings, fleet, record, confirm, signals
                    ).recorded()
        except asyncio.CancelledError:
            if not signals.is_repeated:
                raise
            return stop.exit_code


@dataclass(slots=True)
class _Waits:
    """Records that regions are waited for, as soon as there is a record."""

    emit: Emit | None = None

    def of(self, region: RegionName) -> OnWait:
        """What is told of one region."""

        async def on_wait(wait: Wait) -> None:
            if self.emit is not None:
                await self.emit(waited(region, wait))

        return on_wait


def _check_open(fleet: Fleet) -> None:
    """Raise what is wrong with the settings or secrets of a region, or with names: then no node is touched."""
    check_names(fleet.inventory.hosts)
    fleet.check_settings()


@dataclass(frozen=True, slots=True)
class _Run:
    """One process's part in a rollout over nodes."""

    open_action: OpenAction
    options: RolloutOptions
    settings: Settings
    fleet: Fleet
    record: Record
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]]
    signals: StoppingSignals

    async def recorded(self) -> ExitCode:
        """The exit code, with beginning and end in the journal whatever happens between."""
        record, inventory = self.record, self.fleet.inventory
        hosts = record.past.remaining(inventory.hosts, self.options.retry_failed)
        first = beginning(
            self.options, self.settings, inventory, hosts, rollout=record.rollout, past=record.past
        )
        names = {host.name for host in hosts}
        return await recorded(record.emit, self.signals, first, lambda: self._work(names))

    async def _work(self, names: set[HostName]) -> ExitCode:
        stop, past, lease = self.signals.stop, self.record.past, self.record.lease
        opened = await self.open_action(self.fleet, self.record)
        found = await stop.unless_requested(opened.fleet.find()) or ()
        clock = SystemClock()

        async def check_lease() -> None:
            if lease is not None:
                await lease.check()

        rollout = NodeRollout(
            action=opened.action,
            whole_plan=opened.whole_plan,
            nodes=[node for node in found if node.host.name in names],
            regions={
                name: region
                for name, region in opened.fleet.regions.items()
                if not isinstance(region, IonetctlError)
            },
            options=self.options,
            slots=Slots(self.options.concurrency, clock),
            emit=self.record.emit,
            clock=clock,
            stop=stop,
            confirm=self.confirm,
            check_lease=check_lease,
            failed_before=past.failed,
            left_out=past.left_out(self.options.retry_failed),
        )
        return await rollout.run()
