"""Builds a rollout's summary from its events, live or replayed from a journal.

Its memory grows with the number of hosts, never with the number of events.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import (
    Envelope,
    FilesObtained,
    HostEntry,
    HostFinished,
    HostJudged,
    HostKeyAccepted,
    HostPlaced,
    HostPlanned,
    HostSurveyed,
    KeyClosed,
    PlanConfirmed,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
    StepStarted,
    Warned,
)
from ionetctl.core.model.outcome import ENROLL, Finding, Outcome, Problem, Result
from ionetctl.core.model.shared_values import SharedValues
from ionetctl.summary.exit_code import decide_exit_code
from ionetctl.summary.grouping import group_findings, shape
from ionetctl.summary.rollout_summary import (
    AcceptedKey,
    ClosedKey,
    Failure,
    PlacementGroup,
    PlanGroup,
    Summary,
    SurveySummary,
    Traffic,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.model.plan import Change, FileDiff, PlannedJob

MAX_WARNINGS: Final = 100
"""The most distinct warnings that are kept; a host can cause any number of them."""

UNKNOWN: Final = (
    "it was begun, and no outcome is recorded: the rollout was cut off, or is still at work on it"
)
UNKNOWN_HINT: Final = (
    "run the same command with --resume: it looks at the host again, and completes what is missing"
)


def summarize(envelopes: Iterable[Envelope]) -> Summary:
    """The summary of all events of a rollout, such as those of a journal."""
    fold = SummaryFold()
    for envelope in envelopes:
        fold.take(envelope)
    return fold.summary()


class SummaryFold:
    """Takes events one by one; ``summary`` may be asked for at any time."""

    def __init__(self) -> None:
        self._started: RolloutStarted | None = None
        self._command: tuple[str, ...] = ()
        self._entries: dict[HostName, HostEntry] = {}
        self._outcomes: dict[HostName, Outcome] = {}
        self._begun: dict[HostName, str] = {}
        self._plans = _Plans()
        self._surveys = _Surveys()
        self._warnings: dict[tuple[str, str], Warned] = {}
        self._warnings_dropped = 0
        self._traffic: Traffic | None = None
        self._accepted: dict[tuple[str, str], AcceptedKey] = {}
        self._closed: dict[HostName, ClosedKey] = {}
        self._stop: RolloutStopped | None = None
        self._finished: RolloutFinished | None = None
        self._first_time: str | None = None
        self._last_time: str | None = None
        self._paused_s = 0.0

    def take(self, envelope: Envelope) -> None:  # noqa: C901, PLR0912  (one flat table of events reads best whole)
        """Take one event into account."""
        self._first_time = self._first_time or envelope.time
        before = self._last_time
        self._last_time = envelope.time
        match envelope.event:
            case RolloutStarted() as event:
                self._started = event
                self._command = event.command
                self._entries = {entry.name: entry for entry in event.hosts}
            case RolloutResumed() as event:
                self._command = event.command
                self._stop = self._finished = None
                self._plans = _Plans()
                self._paused_s += _seconds(before, envelope.time)
            case PlanConfirmed() as event:
                self._paused_s += event.waited_s
            case StepStarted(host=str() as host) as event:
                # The host is being worked on again: its outcome is from before the rollout was resumed.
                self._outcomes.pop(host, None)
                if event.step != "survey":
                    self._begun[host] = event.step
            case HostSurveyed(host=str() as host) as event:
                self._surveys.put(event)
                self._begun.pop(host, None)
            case HostJudged() as event:
                self._surveys.put(event)
            case (HostPlaced(host=str() as host) | HostPlanned(host=str() as host)) as event:
                self._plans.put(host, event)
            case HostFinished() as event:
                self._outcomes[event.outcome.host] = event.outcome
            case Warned() as event:
                self._warn(event)
            case FilesObtained() as event:
                self._add(event)
            case HostKeyAccepted(host=str() as host) as event:
                key = AcceptedKey(host, event.fingerprint, event.known_as)
                # Several workers may go through one jump host.
                self._accepted.setdefault((key.known_as, key.fingerprint), key)
            case KeyClosed(host=str() as host) as event:
                self._closed[host] = ClosedKey(host, event.account, event.fingerprint)
            case RolloutStopped() as event:
                self._stop = event
            case RolloutFinished() as event:
                self._finished = event
            case _:
                pass

    def summary(self, error: Failure | None = None, exit_code: ExitCode | None = None) -> Summary:
        """The summary so far; ``error`` and ``exit_code`` are those of a command that could not go on."""
        outcomes = self._all_outcomes()
        surveys = self._surveys.by_host(self._entries)
        started = self._started
        return Summary(
            exit_code=self._exit_code(outcomes, error, exit_code),
            rollout=started.rollout if started else None,
            inventory=started.inventory if started else "",
            command=self._command,
            owner=started.owner if started else "",
            action=started.action if started else ENROLL,
            is_check=bool(started and started.is_check),
            is_finished=self._finished is not None,
            started_at=self._first_time,
            duration_s=self._duration_s(),
            outcomes=outcomes,
            placements=self._plans.placements(),
            plans=self._plans.groups(),
            findings=group_findings({host: survey.findings for host, survey in surveys.items()}),
            surveys=surveys,
            warnings=tuple(self._warnings.values()),
            warnings_dropped=self._warnings_dropped,
            traffic=self._traffic,
            accepted_keys=tuple(self._accepted.values()),
            closed_keys=tuple(self._closed.values()),
            stopped=Failure(self._stop.code, self._stop.message) if self._stop else None,
            error=error,
        )

    def _add(self, event: FilesObtained) -> None:
        before = self._traffic or Traffic(0, 0)
        self._traffic = Traffic(
            before.pushed_bytes + event.pushed_bytes, before.fetched_bytes + event.fetched_bytes
        )

    def _warn(self, event: Warned) -> None:
        key = (event.code, event.message)
        if key in self._warnings or len(self._warnings) < MAX_WARNINGS:
            self._warnings[key] = event
        else:
            self._warnings_dropped += 1

    def _all_outcomes(self) -> tuple[Outcome, ...]:
        listed = tuple(self._outcomes.get(name) or self._open(entry) for name, entry in self._entries.items())
        return listed + tuple(found for name, found in self._outcomes.items() if name not in self._entries)

    def _open(self, entry: HostEntry) -> Outcome:
        """The outcome of a host that has none: unverified where it was begun, else skipped."""
        problem = None
        if step := self._begun.get(entry.name):
            problem = Problem("outcome_unknown", step, UNKNOWN, UNKNOWN_HINT, int(ExitCode.UNVERIFIED))
        return Outcome(
            host=entry.name,
            address=entry.address,
            region=entry.region,
            datacenter=entry.datacenter,
            result=Result.UNVERIFIED if problem else Result.SKIPPED,
            gpus_expected=entry.gpus_expected,
            problem=problem,
        )

    def _exit_code(
        self, outcomes: tuple[Outcome, ...], error: Failure | None, exit_code: ExitCode | None
    ) -> ExitCode:
        if error is not None and exit_code is ExitCode.UNWRITABLE:
            return decide_exit_code(outcomes, error.code, has_planned_changes=False)
        if exit_code is not None:
            return exit_code
        if self._finished is not None:
            return ExitCode(self._finished.exit_code)
        is_check = bool(self._started and self._started.is_check)
        return decide_exit_code(
            outcomes,
            self._stop.code if self._stop else None,
            has_planned_changes=is_check and self._plans.has_changes,
        )

    def _duration_s(self) -> float:
        """Without prompts, and without the time between an interruption and the resumption."""
        return max(0.0, _seconds(self._first_time, self._last_time) - self._paused_s)


class _Surveys:
    """What the latest survey and the fleet checks found on each host."""

    def __init__(self) -> None:
        self._surveyed: dict[HostName, SurveySummary] = {}
        self._judged: dict[HostName, tuple[Finding, ...]] = {}
        self._shared = SharedValues()

    def put(self, event: HostSurveyed | HostJudged) -> None:
        if event.host is None:
            return
        if isinstance(event, HostSurveyed):
            self._surveyed[event.host] = self._shared.of(
                SurveySummary(
                    event.rack,
                    event.findings,
                    event.os,
                    event.architecture,
                    event.gpus,
                    event.driver_version,
                    event.gpus_seen,
                )
            )
        else:
            self._judged[event.host] = event.findings

    def by_host(self, entries: Mapping[HostName, HostEntry]) -> dict[HostName, SurveySummary]:
        names = dict.fromkeys((*entries, *self._surveyed, *self._judged))
        return {name: self._survey(name, entries.get(name)) for name in names}

    def _survey(self, name: HostName, entry: HostEntry | None) -> SurveySummary:
        judged, seen = self._judged.get(name, ()), self._surveyed.get(name)
        if seen is None:
            return SurveySummary(entry.rack if entry else None, judged)
        return replace(seen, rack=entry.rack if entry else seen.rack, findings=(*seen.findings, *judged))


_PlanKey = tuple[tuple[str, str, str], ...]
"""Action, path and shape of the reason of each change."""


@lru_cache(maxsize=1024)
def _shape_of(reason: str, name: str) -> str:
    """Kept, since a rollout has many hosts and few different reasons."""
    return shape(reason, name)


class _Plans:
    """Each host's latest plan and placement; equal ones are grouped, whatever numbers and names their reasons have."""

    def __init__(self) -> None:
        self._placed: dict[HostName, HostPlaced] = {}
        self._keys: dict[HostName, _PlanKey] = {}
        self._known_keys: dict[_PlanKey, _PlanKey] = {}
        self._changes: dict[_PlanKey, tuple[Change, ...]] = {}
        self._diffs: dict[_PlanKey, tuple[FileDiff, ...]] = {}
        self._running: dict[HostName, tuple[tuple[str, ...], tuple[PlannedJob, ...]]] = {}

    @property
    def has_changes(self) -> bool:
        return any(self._keys.values())

    def put(self, host: HostName, plan: HostPlanned | HostPlaced) -> None:
        if isinstance(plan, HostPlaced):
            self._placed[host] = plan
            return
        changes = tuple(
            (change, _shape_of(change.reason, host if host in change.reason else ""))
            for change in plan.changes
        )
        key = tuple((change.action.value, change.path, reason) for change, reason in changes)
        key = self._keys[host] = self._known_keys.setdefault(key, key)
        self._running[host] = plan.allocations, plan.jobs
        self._diffs.setdefault(key, plan.diffs)
        known = self._changes.setdefault(key, plan.changes)
        if plan.changes != known:
            self._changes[key] = tuple(
                one if one.reason == other.reason else replace(one, reason=reason)
                for one, (other, reason) in zip(known, changes, strict=True)
            )

    def placements(self) -> tuple[PlacementGroup, ...]:
        hosts: dict[RegionName, list[HostName]] = {}
        for host, placed in self._placed.items():
            hosts.setdefault(placed.region, []).append(host)
        return tuple(
            PlacementGroup(region, tuple(names), self._placed[names[0]].reasons)
            for region, names in hosts.items()
        )

    def groups(self) -> tuple[PlanGroup, ...]:
        hosts: dict[_PlanKey, list[HostName]] = {}
        for host, key in self._keys.items():
            hosts.setdefault(key, []).append(host)
        return tuple(
            PlanGroup(
                self._changes[key],
                tuple(names),
                self._diffs[key],
                tuple(name for host in names for name in self._running[host][0]),
                tuple(job for host in names for job in self._running[host][1]),
            )
            for key, names in hosts.items()
        )


def _seconds(earlier: str | None, later: str | None) -> float:
    if earlier is None or later is None:
        return 0.0
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
