"""A rollout's events folded into its summary: what ``enroll -o json`` says, what reports and ``rollouts show`` show.

Knows events and outcomes, live or replayed from a journal; prints nothing. What it keeps grows with the number of
hosts, never with the number of events.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode, worst
from ionetctl.core.events import (
    Envelope,
    HostEntry,
    HostFinished,
    HostJudged,
    HostPlaced,
    HostPlanned,
    HostSurveyed,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
    StepStarted,
    Warned,
)
from ionetctl.core.model.outcome import Finding, Outcome, Result
from ionetctl.summary.grouping import FindingGroup, group_findings, group_problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.names import HostName, RegionName, RolloutId
    from ionetctl.core.model.plan import Change, FileDiff
    from ionetctl.summary.grouping import Cause

MAX_WARNINGS: Final = 100
"""Distinct warnings kept; a host can make us warn as often as it likes."""

STOP_CODES: Final[dict[str, ExitCode]] = {
    "interrupted": ExitCode.INTERRUPTED,
    "terminated": ExitCode.TERMINATED,
    "hangup": ExitCode.HANGUP,
    "declined": ExitCode.USAGE,
    "canary_unverified": ExitCode.UNVERIFIED,
    "too_many_unverified": ExitCode.UNVERIFIED,
}
"""What a ``RolloutStopped.code`` earns; any other stop ``ExitCode.STOPPED``."""

_OUTRANKING: Final = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP, ExitCode.USAGE})
"""Stops that say more than how hosts ended before them."""

_RESULT_CODES: Final[dict[Result, ExitCode]] = {
    Result.FAILED: ExitCode.FAILED,
    Result.UNREACHABLE: ExitCode.UNREACHABLE,
    Result.UNVERIFIED: ExitCode.UNVERIFIED,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a command as a whole, as opposed to one host."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PlanGroup:
    """Hosts to which the same is to be done; ``changes`` with the first host's reasons, empty where converged.

    ``diffs`` are the first host's, where they were asked for.
    """

    changes: tuple[Change, ...]
    hosts: tuple[HostName, ...]
    diffs: tuple[FileDiff, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacementGroup:
    """Hosts that left their region open and were given the same one; ``reasons`` are the first host's."""

    region: RegionName
    hosts: tuple[HostName, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a host: empty where nobody got to look.

    ``gpus`` are standard names, one for each card; ``gpus_seen`` is ``None`` where nobody could count.
    """

    rack: str | None
    findings: tuple[Finding, ...]
    os: str = ""
    architecture: str = ""
    gpus: tuple[str, ...] = ()
    driver_version: str | None = None
    gpus_seen: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How a rollout stands or ended.

    ``outcomes`` has every host in the inventory's order; one that nothing was heard of is ``skipped``. ``stopped``
    is set where the rollout ended before its hosts did, ``error`` where it could not be carried out at all.
    ``warnings_dropped`` counts those beyond ``MAX_WARNINGS``. ``sights`` has every host in the inventory's order.
    """

    exit_code: ExitCode
    rollout: RolloutId | None = None
    inventory: str = ""
    owner: str = ""
    is_check: bool = False
    is_finished: bool = False
    started_at: str | None = None
    duration_s: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    placements: tuple[PlacementGroup, ...] = ()
    plans: tuple[PlanGroup, ...] = ()
    findings: tuple[FindingGroup, ...] = ()
    sights: Mapping[HostName, Sight] = field(default_factory=dict)
    warnings: tuple[Warned, ...] = ()
    warnings_dropped: int = 0
    stopped: Failure | None = None
    error: Failure | None = None

    @property
    def counts(self) -> Mapping[Result, int]:
        """Hosts per result, every result named."""
        seen = Counter(outcome.result for outcome in self.outcomes)
        return {result: seen[result] for result in Result}

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What kept hosts from being enrolled, most hosts first."""
        return group_problems(self.outcomes)


def decide_exit_code(
    outcomes: Iterable[Outcome], stop_code: str | None, *, has_planned_changes: bool
) -> ExitCode:
    """The whole rollout's exit code: a signal's, else the worst of hosts and stop, else 9 for a check with changes."""
    codes = {_earned(outcome) for outcome in outcomes}
    if stop_code is not None:
        stopped = STOP_CODES.get(stop_code, ExitCode.STOPPED)
        if stopped in _OUTRANKING:
            return stopped
        codes.add(stopped)
    code = worst(codes)
    if code is ExitCode.OK and has_planned_changes:
        return ExitCode.CHANGES
    return code


def _earned(outcome: Outcome) -> ExitCode:
    if outcome.problem is not None:
        return ExitCode(outcome.problem.exit_code)
    return _RESULT_CODES.get(outcome.result, ExitCode.OK)


def summarize(envelopes: Iterable[Envelope]) -> Summary:
    """The summary of a whole stream of events, such as a journal."""
    fold = SummaryFold()
    for envelope in envelopes:
        fold.take(envelope)
    return fold.summary()


class SummaryFold:
    """Takes events one by one; ``summary`` may be asked for at any time."""

    def __init__(self) -> None:
        self._started: RolloutStarted | None = None
        self._entries: dict[HostName, HostEntry] = {}
        self._outcomes: dict[HostName, Outcome] = {}
        self._plans = _Plans()
        self._sights = _Sights()
        self._warnings: dict[tuple[str, str], Warned] = {}
        self._warnings_dropped = 0
        self._stop: RolloutStopped | None = None
        self._finished: RolloutFinished | None = None
        self._first_time: str | None = None
        self._last_time: str | None = None

    def take(self, envelope: Envelope) -> None:
        """Fold one event in."""
        self._first_time = self._first_time or envelope.time
        self._last_time = envelope.time
        match envelope.event:
            case RolloutStarted() as event:
                self._started = event
                self._entries = {entry.name: entry for entry in event.hosts}
            case RolloutResumed():
                self._stop = self._finished = None
            case StepStarted(host=str() as host):
                # A host that is at work again has not ended: its earlier outcome belongs to the part resumed from.
                self._outcomes.pop(host, None)
            case HostSurveyed() | HostJudged() as event:
                self._sights.put(event)
            case (HostPlaced(host=str() as host) | HostPlanned(host=str() as host)) as event:
                self._plans.put(host, event)
            case HostFinished() as event:
                self._outcomes[event.outcome.host] = event.outcome
            case Warned() as event:
                self._warn(event)
            case RolloutStopped() as event:
                self._stop = event
            case RolloutFinished() as event:
                self._finished = event
            case _:
                pass

    def summary(self, error: Failure | None = None, exit_code: ExitCode | None = None) -> Summary:
        """The summary so far; ``error`` and ``exit_code`` are those of a command that could not go on."""
        outcomes = self._all_outcomes()
        sights = self._sights.all_of(self._entries)
        started = self._started
        return Summary(
            exit_code=self._exit_code(outcomes) if exit_code is None else exit_code,
            rollout=started.rollout if started else None,
            inventory=started.inventory if started else "",
            owner=started.owner if started else "",
            is_check=bool(started and started.is_check),
            is_finished=self._finished is not None,
            started_at=self._first_time,
            duration_s=self._duration_s(),
            outcomes=outcomes,
            placements=self._plans.placements(),
            plans=self._plans.groups(),
            findings=group_findings({host: seen.findings for host, seen in sights.items()}),
            sights=sights,
            warnings=tuple(self._warnings.values()),
            warnings_dropped=self._warnings_dropped,
            stopped=Failure(self._stop.code, self._stop.message) if self._stop else None,
            error=error,
        )

    def _warn(self, event: Warned) -> None:
        key = (event.code, event.message)
        if key in self._warnings or len(self._warnings) < MAX_WARNINGS:
            self._warnings[key] = event
        else:
            self._warnings_dropped += 1

    def _all_outcomes(self) -> tuple[Outcome, ...]:
        listed = tuple(self._outcomes.get(name) or _unheard(entry) for name, entry in self._entries.items())
        return listed + tuple(found for name, found in self._outcomes.items() if name not in self._entries)

    def _exit_code(self, outcomes: tuple[Outcome, ...]) -> ExitCode:
        if self._finished is not None:
            return ExitCode(self._finished.exit_code)
        is_check = bool(self._started and self._started.is_check)
        return decide_exit_code(
            outcomes,
            self._stop.code if self._stop else None,
            has_planned_changes=is_check and self._plans.has_changes,
        )

    def _duration_s(self) -> float:
        if self._first_time is None or self._last_time is None:
            return 0.0
        length = datetime.fromisoformat(self._last_time) - datetime.fromisoformat(self._first_time)
        return max(0.0, length.total_seconds())


class _Sights:
    """What the latest look and the fleet's checks said of each host."""

    def __init__(self) -> None:
        self._surveyed: dict[HostName, HostSurveyed] = {}
        self._judged: dict[HostName, tuple[Finding, ...]] = {}

    def put(self, event: HostSurveyed | HostJudged) -> None:
        if event.host is None:
            return
        if isinstance(event, HostSurveyed):
            self._surveyed[event.host] = event
        else:
            self._judged[event.host] = event.findings

    def all_of(self, entries: Mapping[HostName, HostEntry]) -> dict[HostName, Sight]:
        names = dict.fromkeys((*entries, *self._surveyed, *self._judged))
        return {name: self._sight(name, entries.get(name)) for name in names}

    def _sight(self, name: HostName, entry: HostEntry | None) -> Sight:
        judged, seen = self._judged.get(name, ()), self._surveyed.get(name)
        if seen is None:
            return Sight(entry.rack if entry else None, judged)
        return Sight(
            entry.rack if entry else seen.rack,
            (*seen.findings, *judged),
            seen.os,
            seen.architecture,
            seen.gpus,
            seen.driver_version,
            seen.gpus_seen,
        )


class _Plans:
    """Each host's latest plan and placement, hosts with alike ones together."""

    def __init__(self) -> None:
        self._placed: dict[HostName, HostPlaced] = {}
        self._keys: dict[HostName, tuple[tuple[str, str], ...]] = {}
        self._first: dict[tuple[tuple[str, str], ...], HostPlanned] = {}

    @property
    def has_changes(self) -> bool:
        return any(self._keys.values())

    def put(self, host: HostName, plan: HostPlanned | HostPlaced) -> None:
        if isinstance(plan, HostPlaced):
            self._placed[host] = plan
            return
        key = tuple((change.action.value, change.path) for change in plan.changes)
        self._keys[host] = key
        self._first.setdefault(key, plan)

    def placements(self) -> tuple[PlacementGroup, ...]:
        hosts: dict[RegionName, list[HostName]] = {}
        for host, placed in self._placed.items():
            hosts.setdefault(placed.region, []).append(host)
        return tuple(
            PlacementGroup(region, tuple(names), self._placed[names[0]].reasons)
            for region, names in hosts.items()
        )

    def groups(self) -> tuple[PlanGroup, ...]:
        hosts: dict[tuple[tuple[str, str], ...], list[HostName]] = {}
        for host, key in self._keys.items():
            hosts.setdefault(key, []).append(host)
        firsts = ((self._first[key], tuple(names)) for key, names in hosts.items())
        return tuple(PlanGroup(first.changes, names, first.diffs) for first, names in firsts)


def _unheard(entry: HostEntry) -> Outcome:
    return Outcome(
        host=entry.name,
        address=entry.address,
        region=entry.region,
        datacenter=entry.datacenter,
        result=Result.SKIPPED,
        gpus_expected=entry.gpus_expected,
    )
