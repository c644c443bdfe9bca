"""A worker process, which ``start_worker`` starts, with the coordinator at the other end of a socket.

It opens connections to hosts itself. Records, regions and secrets stay with the coordinator, who is asked for each; what is
asked of a region there is listed in ``REGION_CALLS``. Nothing secret is in its arguments or in the environment it is started with.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ionetctl.app.subjects import Subjects
from ionetctl.app.work_order import RevealedSecret, Surroundings, WorkersOrder, dependencies
from ionetctl.core import event_loop
from ionetctl.core.clock import SystemClock
from ionetctl.core.events import HostKeyAccepted
from ionetctl.core.model.names import HostName
from ionetctl.core.settings import adopt_environment
from ionetctl.host.dependencies import RegionTools
from ionetctl.rollout.engines.jobs import HostSteps
from ionetctl.rollout.engines.messages import Channel
from ionetctl.rollout.engines.serve import Coordinator, serve
from ionetctl.ssh import SshConnector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from ionetctl.app.work_order import WorkersRegion
    from ionetctl.artifacts import ArtifactKey
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Digest, RegionName
    from ionetctl.core.model.node import NodeCertificate
    from ionetctl.core.model.plan import Form, Program
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.core.ports import CertificateCheck, Issuer, Region
    from ionetctl.distribution.exchange import Obtained, Request, Seed, Source
    from ionetctl.verification.node_watcher import NodeWatcher


@dataclass(frozen=True, slots=True)
class _Workplace:
    """``serve.Workplace``: what the coordinator shares are the releases that it has."""

    steps: HostSteps
    programs: dict[ArtifactKey, Program]

    def take(self, shared: object) -> None:
        """Take the releases."""
        self.programs.update(cast("Mapping[ArtifactKey, Program]", shared))


class _Remote:
    """Part of a region, whose methods are calls of the coordinator."""

    def __init__(self, coordinator: Coordinator, region: RegionName, part: str) -> None:
        self._coordinator = coordinator
        self._path = (region, part)

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401  (the method of whatever it stands for)
        async def call(*arguments: object, **keywords: object) -> object:
            return await self._coordinator.call(*self._path, method, arguments=arguments, **keywords)

        return call


@dataclass(frozen=True, slots=True)
class _RemoteIssuer:
    """``ports.Issuer`` whose key is the coordinator's."""

    check: CertificateCheck
    remote: _Remote

    async def issue(self, host: Host, request: bytes | None = None) -> NodeCertificate:
        """A certificate for the host's Nomad client."""
        return cast("NodeCertificate", await self.remote.issue(host, request))


@dataclass(frozen=True, slots=True)
class _RemotePacker:
    """``ports.Packer`` of the coordinator, asked once for each program and form."""

    coordinator: Coordinator
    packed: dict[tuple[Digest, Form], Program] = field(default_factory=dict)

    async def is_packed(self, program: Program, form: Form) -> bool:
        """Whether ``pack`` returns at once."""
        if (program.digest, form) in self.packed:
            return True
        return cast("bool", await self.coordinator.call("packer", "is_packed", arguments=(program, form)))

    async def pack(self, program: Program, form: Form) -> Program:
        """The same program in that form."""
        key = program.digest, form
        if key not in self.packed:
            asked = self.coordinator.call("packer", "pack", arguments=(program, form))
            self.packed[key] = cast("Program", await asked)
        return self.packed[key]


@dataclass(frozen=True, slots=True)
class _RemoteDistributor:
    """``distributor.Distributor`` of the coordinator, who alone knows all hosts."""

    coordinator: Coordinator
    is_needed: bool

    async def acquire(self, request: Request) -> Source:
        """Where the host gets its files."""
        return cast("Source", await self.coordinator.call("distributor", "acquire", arguments=(request,)))

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        """Take note of what came of it."""
        await self.coordinator.call("distributor", "settle", arguments=(host, obtained))

    async def seeds(self) -> tuple[Seed, ...]:
        """The coordinator ends them."""
        return ()


@asynccontextmanager
async def open_workplace(order: object, coordinator: Coordinator) -> AsyncIterator[_Workplace]:
    """Connections, and the dependencies of jobs, until the end of the block."""
    if not isinstance(order, WorkersOrder):
        raise TypeError(f"{type(order).__name__} is no order")
    adopt_environment(order.transport.environ)
    loop = asyncio.get_running_loop()

    def reveal(reference: SecretRef) -> str:
        """Runs in a thread, as the port has it."""
        asked = coordinator.call("reveal", arguments=(reference,))
        return cast("RevealedSecret", asyncio.run_coroutine_threadsafe(asked, loop).result()).text

    async def key_accepted(host: str, fingerprint: str, known_as: str) -> None:
        await coordinator.emit(
            HostKeyAccepted(host=HostName(host), fingerprint=fingerprint, known_as=known_as)
        )

    async def pause(seconds: float) -> None:
        # A plain number, not tenacity's kind of it, which the coordinator does not take.
        await coordinator.call("pause", arguments=(float(seconds),))

    async def require_lease() -> None:
        await coordinator.call("require_lease")

    async def no_programs(_: Iterable[tuple[Host, Facts]]) -> None:
        raise RuntimeError("the coordinator has the releases")

    ca_pems = {name: region.ca_pem for name, region in order.regions.items()}
    subjects = Subjects(order.nomad, order.all_regions, ca_pems, {})
    regions = {name: _tools(coordinator, name, region) for name, region in order.regions.items()}
    async with SshConnector(order.transport, reveal, key_accepted) as connector:
        own = Surroundings(
            connector=connector,
            regions=regions,
            subjects=subjects,
            ensure_programs=no_programs,
            packer=_RemotePacker(coordinator),
            distributor=_RemoteDistributor(coordinator, order.is_distributed),
            emit=coordinator.emit,
            clock=SystemClock(),
            pause=pause,
            require_lease=require_lease,
            is_stopped=lambda: coordinator.is_stopping,
        )
        steps = HostSteps(dependencies(order.work, own))
        gc.freeze()
        yield _Workplace(steps, subjects.programs)


def _tools(coordinator: Coordinator, name: RegionName, region: WorkersRegion) -> RegionTools:
    api, watcher, issuer = (_Remote(coordinator, name, part) for part in ("api", "watcher", "issuer"))
    return RegionTools(
        region.settings,
        cast("Region", api),
        cast("NodeWatcher", watcher),
        cast("Issuer", _RemoteIssuer(region.check, issuer)),
        region.ca_pem,
        region.status,
        region.trouble,
    )


def work(descriptor: int) -> None:
    """Do what the coordinator asks for, until it closes the socket that the descriptor is of."""
    event_loop.run(_work(descriptor))


async def _work(descriptor: int) -> None:
    stream = socket.socket(fileno=descriptor)
    channel = Channel(*await asyncio.open_connection(sock=stream))
    await serve(channel, open_workplace)
