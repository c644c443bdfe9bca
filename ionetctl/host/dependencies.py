"""What the steps on a host depend on: ports, scripts, deadlines. Held together here, used elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.distribution.distributor import EVERYTHING_PUSHED
from ionetctl.distribution.obtain_files import NO_SCRIPTS, FileObtainer, ObtainScripts
from ionetctl.placement.compatibility import uses_introduction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Naming, NomadSettings, RegionSettings
    from ionetctl.core.model.names import RegionName, RolloutId
    from ionetctl.core.model.node import RegionStatus
    from ionetctl.core.ports import Clock, Connector, Emit, Issuer, Packer, Region
    from ionetctl.distribution.distributor import Distributor
    from ionetctl.host.retry import RetryPolicy
    from ionetctl.plan.bundle import Subject
    from ionetctl.verification.node_watcher import NodeWatcher

NONCE_BYTES: Final = 6
NO_LEASE: Final = "-"
"""Stands for the number of a lease where there is none."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds. ``step_s`` bounds a survey and the wait for the region, ``idle_s`` a silence, ``apply_s`` an apply."""

    step_s: float = 120.0
    idle_s: float = 60.0
    apply_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Scripts:
    """The text of what runs on hosts."""

    survey: bytes
    """Surveys a host, and probes its GPUs where its bus has any."""
    survey_promised: bytes
    """The same for a host to which the inventory promises GPUs: it is probed in any case."""
    receive: str
    apply: bytes
    read: bytes = b""
    """Prints the text files that ``--diff`` compares."""
    probe: str = ""
    """Hands the program on its standard input to the host's python3, and knows what to do without one."""
    probe_program: bytes = b""
    prepare: bytes = b""
    """Carries out preparations; travels as what ``receive`` runs."""
    restore_miner: bytes = b""
    """Stays on a host whose miner was stopped, and puts it back."""
    close: bytes = b""
    """Takes a key out of an account's ``authorized_keys``."""
    obtain: ObtainScripts = NO_SCRIPTS
    """Have packed programs fetched, kept and served."""


@dataclass(frozen=True, slots=True)
class RegionTools:
    """All that is used of one region; ``ca_pem`` is what nodes and API are checked against."""

    settings: RegionSettings
    api: Region
    watcher: NodeWatcher
    issuer: Issuer
    ca_pem: bytes
    status: RegionStatus | None = None
    """``None`` where it was not asked, or did not answer."""
    trouble: IonetctlError | None = None
    """Why it cannot be worked with, where it was asked in vain."""

    @property
    def introduces(self) -> bool:
        """Whether new nodes of the region are given introduction tokens."""
        return self.status is not None and uses_introduction(self.status, self.settings)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What all hosts of one rollout share. ``surveyed_paths`` are those that any bundle of the rollout may hold.

    ``lease`` is the fencing number of the rollout's lease, which hosts keep.
    """

    rollout: RolloutId
    owner: str
    started_at: str
    connector: Connector
    regions: Mapping[RegionName, RegionTools]
    ensure_programs: Callable[[Iterable[tuple[Host, Facts]]], Awaitable[None]]
    """Makes the releases that surveyed hosts need available, for ``subject_of``."""
    packer: Packer
    subject_of: Callable[[Host, str, Facts], Subject]
    surveyed_paths: tuple[str, ...]
    servers_of: Callable[[Host], tuple[str, ...]]
    """RPC addresses (``host:port``) that the host must be able to reach, of every region that it may join."""
    scripts: Scripts
    emit: Emit
    clock: Clock
    retry: RetryPolicy
    deadlines: Deadlines
    require_lease: Callable[[], Awaitable[None]]
    """Raises ``LockedError`` (``lease_lost``) where the hosts may be another rollout's by now."""
    naming: Naming = "as-written"
    takeover: bool = False
    lose_jobs: bool = False
    """Whether hosts may be changed whose jobs are lost by it."""
    lease: str = NO_LEASE
    distributor: Distributor = EVERYTHING_PUSHED
    releases: NomadSettings | None = None
    """What the hosts are to get, where that is to be compared with what they have."""

    @property
    def file_obtainer(self) -> FileObtainer:
        """How hosts come by packed programs before their apply."""
        limits = self.deadlines
        return FileObtainer(
            self.distributor,
            self.scripts.obtain,
            self.connector,
            self.emit,
            limits.apply_s,
            limits.idle_s,
        )
