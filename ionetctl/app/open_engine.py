"""Which engine a rollout has, opened: this process, or worker processes with what they may ask of it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from ionetctl.app.work_order import REGION_CALLS, RevealedSecret, WorkersOrder, divided, workers_region
from ionetctl.core.model.names import RegionName
from ionetctl.core.settings import passed_on
from ionetctl.rollout.engines.inline import InlineEngine
from ionetctl.rollout.engines.jobs import HostSteps
from ionetctl.rollout.engines.worker_processes import Launch, ProcessEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ionetctl.app.open_inventory import Site
    from ionetctl.app.work_order import WorkOrder
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.core.ports import Emit
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.rollout.engines.jobs import Engine
    from ionetctl.rollout.engines.messages import Call
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.rollout.stop import Stop
    from ionetctl.ssh import TransportSettings

HOSTS_PER_WORKER: Final = 1000
"""Fewer are done by one process at less cost: a worker takes a second and 60 MB to start, and each of its hosts a third more CPU."""
COMMAND: Final = (sys.executable, "-P", "-m", "ionetctl.app.start_worker")


def worker_count(options: RolloutOptions, hosts: int, cores: int | None = None) -> int:
    """How many worker processes the rollout has, by default on this process's cores; 0 where it does the work itself."""
    cores = cores or len(os.sched_getaffinity(0))
    if options.engine == "inline":
        return 0
    if options.workers is not None or options.engine == "processes":
        return options.workers or cores
    fitting = min(cores, hosts // HOSTS_PER_WORKER)
    return fitting if fitting > 1 else 0


@asynccontextmanager
async def open_engine(rollout: EngineNeeds, options: RolloutOptions, hosts: int) -> AsyncIterator[Engine]:
    """The engine, until the end of the block."""
    workers = worker_count(options, hosts)
    if not workers:
        yield InlineEngine(HostSteps(rollout.dependencies))
        return
    order = divided(rollout.order(), workers)
    launch = Launch(COMMAND, passed_on(order.transport.environ), order)
    async with ProcessEngine(launch, rollout.answer, rollout.emit, workers) as engine:
        engine.share(rollout.site.programs)
        rollout.site.on_programs = engine.share
        stopping = asyncio.create_task(_tell_stop(rollout.stop, engine))
        try:
            yield engine
        finally:
            stopping.cancel()


@dataclass(frozen=True, slots=True)
class EngineNeeds:
    """What an engine needs of a rollout: its dependencies in this process, and what others are told."""

    site: Site
    work: WorkOrder
    transport: TransportSettings
    dependencies: Dependencies
    emit: Emit
    stop: Stop

    def order(self) -> WorkersOrder:
        """What all workers together are told."""
        inventory = self.site.inventory
        regions = {name: workers_region(tools) for name, tools in self.site.regions.items()}
        is_distributed = self.dependencies.distributor.is_needed
        return WorkersOrder(
            self.work, self.transport, inventory.nomad, dict(inventory.regions), regions, is_distributed
        )

    async def answer(self, call: Call) -> object:
        """What a worker's call returns. Raises what is called, and ``PermissionError`` for what no worker may ask."""
        return await self._callee(call.path)(*call.arguments, **call.keywords)

    def _callee(self, path: tuple[str, ...]) -> Callable[..., Awaitable[object]]:
        match path:
            case ("emit",):
                return self.emit
            case ("reveal",):
                return self._reveal
            case ("pause" | "require_lease" as function,):
                own = self.dependencies
                return own.retry.pause if function == "pause" else own.require_lease
            case ("packer", "is_packed" | "pack" as method):
                return cast("Callable[..., Awaitable[object]]", getattr(self.site, method))
            case ("distributor", "acquire" | "settle" as method):
                return cast(
                    "Callable[..., Awaitable[object]]", getattr(self.dependencies.distributor, method)
                )
            case (region, part, method) if method in REGION_CALLS.get(part, ()):
                target = getattr(self.site.regions[RegionName(region)], part)
                return cast("Callable[..., Awaitable[object]]", getattr(target, method))
        raise PermissionError(f"a worker asked for {'.'.join(path)}")

    async def _reveal(self, reference: SecretRef) -> RevealedSecret:
        """A secret of a host's connection; no worker gets those of regions."""
        if not any(reference in host.ssh.secrets for host in self.site.hosts):
            raise PermissionError(f"a worker asked for {reference}")
        return RevealedSecret(await asyncio.to_thread(self.site.secrets.reveal, reference))


async def _tell_stop(stop: Stop, engine: ProcessEngine) -> None:
    await stop.when_requested()
    engine.stop()
