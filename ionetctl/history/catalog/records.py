"""The records that the catalog returns. Times are RFC 3339 text in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ionetctl.core.model.outcome import ENROLL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.events import HostEntry
    from ionetctl.core.model.names import Digest, HostName, NodeId, RegionName, RolloutId
    from ionetctl.core.model.outcome import Outcome, Result


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node that a region has confirmed, or whose agent runs by a rollout's plan.

    ``enrolled_at`` is when this node id was first confirmed under this name, ``last_seen_at`` when it was last seen
    ready; both are empty where it never was. ``rollout`` is the last that found it running. ``gpus_seen`` are those that its
    region showed then, ``gpus_probed`` those that were found on the host.
    """

    region: RegionName
    name: HostName
    node_id: NodeId
    address: str
    datacenter: str
    rack: str | None
    node_pool: str
    gpu_model: str | None
    gpus_expected: int | None
    gpus_seen: int | None
    gpus_probed: int | None
    machine_id: str | None
    stamp: str
    rollout: RolloutId
    enrolled_at: str
    last_seen_at: str


class ClosureState(StrEnum):
    """What became of a host's SSH."""

    CLOSING = "closing"
    """The key was about to be taken out; no login has been tried since."""
    CLOSED = "closed"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Closure:
    """A host that is closed, or may be: ``key`` is its key while it is ``CLOSING``, then that key's fingerprint."""

    host: HostName
    address: str
    state: ClosureState
    account: str
    key: str


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A past or present rollout; ``results`` counts its hosts by outcome, ``None`` those without one so far.

    ``finished_at`` and ``exit_code`` are ``None`` while it runs, and after it was killed. ``stop_code`` is the reason for
    which it was stopped early. ``is_survey`` is true of a preflight. ``journal_digest`` is the last of its journal's chain when its
    process ended; ``None`` where there is no chain, and of a process that was killed.
    """

    id: RolloutId
    inventory: str
    inventory_digest: Digest
    owner: str
    version: str
    command: tuple[str, ...]
    is_check: bool
    started_at: str
    finished_at: str | None
    exit_code: int | None
    stop_code: str | None
    stop_message: str | None
    last_seq: int
    results: Mapping[Result | None, int]
    journal_digest: Digest | None
    is_survey: bool
    action: str = ENROLL
    """What was done with the hosts."""

    @property
    def host_count(self) -> int:
        """The number of its hosts."""
        return sum(self.results.values())


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host of a rollout; ``outcome`` and ``finished_at`` are ``None`` while it has none."""

    entry: HostEntry
    outcome: Outcome | None
    finished_at: str | None
    stamp: str | None
