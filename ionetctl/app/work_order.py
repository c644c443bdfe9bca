"""What the work on hosts needs of a rollout, as plain data that another process can be given; no secret is in it.

``dependencies`` completes it with what each process has of its own: connections, and the way to records and regions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ionetctl.distribution.obtain_files import ObtainScripts
from ionetctl.host.dependencies import Deadlines, Dependencies, RegionTools, Scripts
from ionetctl.host.retry import RetryBudget, RetryPolicy
from ionetctl.remote import (
    apply_script,
    close_ssh_script,
    end_seed_script,
    obtain_script,
    prepare_script,
    probe_program,
    probe_script,
    read_script,
    receive_script,
    restore_miner_script,
    start_obtain_script,
    survey_and_probe_script,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from ionetctl.app.subjects import Subjects
    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Naming, NomadSettings, RegionSettings
    from ionetctl.core.model.names import RegionName, RolloutId
    from ionetctl.core.model.node import RegionStatus
    from ionetctl.core.ports import CertificateCheck, Clock, Connector, Emit, Packer
    from ionetctl.distribution.distributor import Distributor
    from ionetctl.ssh import TransportSettings


REGION_CALLS: Final[Mapping[str, frozenset[str]]] = {
    "api": frozenset({"introduce", "node", "set_eligibility", "annotate", "allocations", "metadata"}),
    "watcher": frozenset({"confirm"}),
    "issuer": frozenset({"issue"}),
}
"""What workers may ask of the parts of a region's ``RegionTools``."""


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One rollout, as the work on its hosts sees it; ``retries`` is how many the process may make in all."""

    rollout: RolloutId
    owner: str
    started_at: str
    lease: str
    naming: Naming
    takeover: bool
    lose_jobs: bool
    deadlines: Deadlines
    retries: int
    cache_dir: Path
    surveyed_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkersRegion:
    """A region, without what only the coordinator has: its API and the key of its CA."""

    settings: RegionSettings
    ca_pem: bytes
    check: CertificateCheck
    status: RegionStatus | None
    trouble: IonetctlError | None


@dataclass(frozen=True, slots=True)
class RevealedSecret:
    """A secret on its way to a worker: asyncio's debug mode logs what futures and tasks have as their results."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WorkersOrder:
    """The first thing that a worker is told; ``all_regions`` are those of the inventory."""

    work: WorkOrder
    transport: TransportSettings
    nomad: NomadSettings
    all_regions: Mapping[RegionName, RegionSettings]
    regions: Mapping[RegionName, WorkersRegion]
    is_distributed: bool = False
    """Whether the coordinator says where hosts get their programs."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process has of its own for the work on hosts."""

    connector: Connector
    regions: Mapping[RegionName, RegionTools]
    subjects: Subjects
    ensure_programs: Callable[[Iterable[tuple[Host, Facts]]], Awaitable[None]]
    packer: Packer
    distributor: Distributor
    emit: Emit
    clock: Clock
    pause: Callable[[float], Awaitable[None]]
    """Waits so many seconds between two attempts on a host, which is not under way meanwhile."""
    require_lease: Callable[[], Awaitable[None]]
    is_stopped: Callable[[], bool]


def dependencies(order: WorkOrder, own: Surroundings) -> Dependencies:
    """All that the steps on hosts depend on."""
    return Dependencies(
        rollout=order.rollout,
        owner=order.owner,
        started_at=order.started_at,
        lease=order.lease,
        connector=own.connector,
        regions=own.regions,
        ensure_programs=own.ensure_programs,
        packer=own.packer,
        distributor=own.distributor,
        subject_of=own.subjects.subject_of,
        surveyed_paths=order.surveyed_paths,
        servers_of=own.subjects.servers_of,
        scripts=Scripts(
            survey_and_probe_script(order.cache_dir, gpus="possible"),
            survey_and_probe_script(order.cache_dir, gpus="promised"),
            receive_script(),
            apply_script(),
            read_script(),
            probe_script(),
            probe_program(order.cache_dir),
            prepare_script(),
            restore_miner_script(),
            close_ssh_script(),
            ObtainScripts(start_obtain_script(), obtain_script(), end_seed_script()),
        ),
        emit=own.emit,
        clock=own.clock,
        retry=RetryPolicy(own.pause, RetryBudget(order.retries), is_stopped=own.is_stopped),
        deadlines=order.deadlines,
        require_lease=own.require_lease,
        naming=order.naming,
        takeover=order.takeover,
        lose_jobs=order.lose_jobs,
        releases=own.subjects.nomad,
    )


def workers_region(tools: RegionTools) -> WorkersRegion:
    """A region as workers are told of it."""
    return WorkersRegion(tools.settings, tools.ca_pem, tools.issuer.check, tools.status, tools.trouble)


def divided(order: WorkersOrder, workers: int) -> WorkersOrder:
    """The order of each of so many workers: limits that are those of the whole rollout are shared among them."""

    def share(limit: int) -> int:
        return max(1, -(-limit // workers))

    transport = replace(
        order.transport,
        environ=dict(order.transport.environ),
        handshakes=share(order.transport.handshakes),
        transfers=share(order.transport.transfers),
        bytes_per_s=order.transport.bytes_per_s and order.transport.bytes_per_s / workers,
        handshakes_per_jump=share(order.transport.handshakes_per_jump),
    )
    return replace(order, transport=transport, work=replace(order.work, retries=share(order.work.retries)))
