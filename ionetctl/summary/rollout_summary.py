"""A rollout's summary: the records that ``enroll -o json``, reports and ``rollouts show`` are made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ionetctl.core.model.outcome import ENROLL, Finding, Outcome, Result, results_of
from ionetctl.summary.grouping import FindingGroup, group_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.errors import ExitCode
    from ionetctl.core.events import Warned
    from ionetctl.core.model.names import HostName, RegionName, RolloutId
    from ionetctl.core.model.plan import Change, FileDiff, PlannedJob
    from ionetctl.summary.grouping import Cause


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that ended a whole command, not just one host."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Hosts with the same changes for the same reasons; ``changes`` is empty where the hosts are converged.

    A reason has ``…`` where those of the hosts differ: in numbers, names and quoted text alone.

    ``diffs`` are the first host's, where they were asked for. ``allocations`` are those of all the hosts that run on while
    the agents are restarted.
    """

    changes: tuple[Change, ...]
    hosts: tuple[HostName, ...]
    diffs: tuple[FileDiff, ...] = ()
    allocations: tuple[str, ...] = ()
    jobs: tuple[PlannedJob, ...] = ()
    """All that runs on these hosts, with what becomes of each."""


@dataclass(frozen=True, slots=True)
class PlacementGroup:
    """Hosts with ``region: auto`` that were placed in the same region; ``reasons`` are the first host's."""

    region: RegionName
    hosts: tuple[HostName, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SurveySummary:
    """What survey and fleet checks found on a host; empty where it was not surveyed.

    ``gpus`` are standard names, one for each GPU; ``gpus_seen`` is ``None`` where they could not be counted.
    """

    rack: str | None
    findings: tuple[Finding, ...]
    os: str = ""
    architecture: str = ""
    gpus: tuple[str, ...] = ()
    driver_version: str | None = None
    gpus_seen: int | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of packed programs: those that the controller sent, and those that hosts fetched inside the site."""

    pushed_bytes: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class AcceptedKey:
    """A key that ``--accept-new`` took on first sight; ``known_as`` is the name under which known_hosts has it now."""

    host: HostName
    fingerprint: str
    known_as: str


@dataclass(frozen=True, slots=True)
class ClosedKey:
    """A key that a host refuses now, since it was taken out of ``account``'s ``authorized_keys``."""

    host: HostName
    account: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The state or the end of a rollout.

    ``outcomes`` has every host in the inventory's order; one without an outcome yet is ``skipped``. ``stopped``
    is set where the rollout ended before its hosts did, ``error`` where it could not be carried out at all.
    ``command`` is the command line of the process that worked on it last, without the program's name.
    ``warnings_dropped`` counts those beyond ``summary_fold.MAX_WARNINGS``. ``surveys`` has every host in the inventory's order.
    """

    exit_code: ExitCode
    rollout: RolloutId | None = None
    inventory: str = ""
    command: tuple[str, ...] = ()
    owner: str = ""
    action: str = ENROLL
    is_check: bool = False
    is_finished: bool = False
    started_at: str | None = None
    duration_s: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    placements: tuple[PlacementGroup, ...] = ()
    plans: tuple[PlanGroup, ...] = ()
    findings: tuple[FindingGroup, ...] = ()
    surveys: Mapping[HostName, SurveySummary] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    warnings_dropped: int = 0
    traffic: Traffic | None = None
    """``None`` where every host was pushed what it lacks."""
    accepted_keys: tuple[AcceptedKey, ...] = ()
    """Those of hosts and jump hosts, in the order of their acceptance."""
    closed_keys: tuple[ClosedKey, ...] = ()
    stopped: Failure | None = None
    error: Failure | None = None

    @property
    def counts(self) -> Mapping[Result, int]:
        """The number of hosts for every result that the action can have, 0 included."""
        seen = Counter(outcome.result for outcome in self.outcomes)
        return {result: seen[result] for result in results_of(self.action)}

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why hosts are not done: trust first, then the most frequent cause."""
        return group_problems(self.outcomes)
