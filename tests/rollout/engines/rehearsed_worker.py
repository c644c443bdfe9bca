"""A worker whose hosts do what their names say: ``python -P rehearsed_worker.py DIRECTORY DESCRIPTOR``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ionetctl.core.errors import HostFailedError
from ionetctl.core.events import HostConfirmed, KeyClosing, StepStarted, Warned
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host import outcomes
from ionetctl.rollout.engines.messages import Channel
from ionetctl.rollout.engines.serve import Coordinator, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.core.model.host import Host
    from ionetctl.host.access.close_key import BegunClosing
    from ionetctl.host.planned_host import PlannedHost
    from ionetctl.rollout.engines.jobs import HostSteps


@dataclass
class RehearsedPipeline:
    """``pipeline.survey`` by what the host's name begins with."""

    coordinator: Coordinator
    directory: Path
    shared: object = None

    async def survey(self, host: Host) -> Outcome:
        act = getattr(self, host.name.partition("-")[0])
        said = await act(host)
        if said is not None:
            return outcomes.failed(host, "survey", HostFailedError("said", str(said)))
        return Outcome(host.name, host.address, host.region, host.datacenter, Result.UNCHANGED)

    async def enroll(self, planned: PlannedHost, _: str, begun: BegunClosing | None) -> Outcome:
        host = planned.host
        if begun is None:
            confirmed = HostConfirmed(host=host.name, node_id=NodeId("n"), stamp="s", gpus_seen=8)
            await self.coordinator.emit(confirmed)
            files = ("/keys",)
            closing = KeyClosing(host=host.name, account="miner", key="ssh-ed25519 AAAA", files=files)
            await self.coordinator.emit(closing)
            await self.dies(host)
            raise AssertionError
        message = f"{begun.confirmed.node_id} {begun.closing.account} {begun.closing.key}"
        return outcomes.failed(host, "close", HostFailedError("said", message))

    async def tells(self, host: Host) -> None:
        await self.coordinator.emit(Warned(host=host.name, code="noted", message=str(os.getpid())))
        await self.coordinator.emit(StepStarted(host=host.name, step="apply", attempt=1))

    async def asks(self, host: Host) -> object:
        return await self.coordinator.call("eu", "api", "node", arguments=(host.name,), exact=True)

    async def knows(self, _: Host) -> object:
        return self.shared

    async def errs(self, _: Host) -> None:
        raise HostFailedError("refused", "the host refused", "look")

    async def crashes(self, _: Host) -> None:
        raise ValueError("a bug in a worker")

    async def dies(self, _: Host) -> None:
        with (self.directory / "deaths").open("a") as deaths:
            deaths.write("died\n")
        os.kill(os.getpid(), signal.SIGKILL)

    async def once(self, host: Host) -> None:
        if not (mark := self.directory / host.name).exists():
            mark.touch()
            await self.dies(host)

    async def waits(self, _: Host) -> None:
        try:
            await self.coordinator.call("waiting")
            await asyncio.Event().wait()
        finally:
            (self.directory / "tidied").touch()

    async def stops(self, _: Host) -> None:
        while not self.coordinator.is_stopping:
            await self.coordinator.call("waiting")

    async def babbles(self, _: Host) -> None:
        cast("Any", self.coordinator)._channel._writer.write(b"\0\0\0\3abc")
        await asyncio.Event().wait()


@dataclass
class RehearsedWorkplace:
    """Both the workplace and its steps."""

    pipeline: RehearsedPipeline

    @property
    def steps(self) -> HostSteps:
        return cast("HostSteps", self)

    def take(self, shared: object) -> None:
        self.pipeline.shared = shared


async def work(channel: Channel, directory: Path) -> None:
    @asynccontextmanager
    async def opened(_order: object, coordinator: Coordinator) -> AsyncIterator[RehearsedWorkplace]:
        yield RehearsedWorkplace(RehearsedPipeline(coordinator, directory))

    await serve(channel, opened)


async def main(directory: str, descriptor: str) -> None:
    stream = socket.socket(fileno=int(descriptor))
    await work(Channel(*await asyncio.open_connection(sock=stream)), Path(directory))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
