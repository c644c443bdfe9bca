"""The progress of a running rollout, from its events: hosts by stage, waves, rate, hosts that are retried or slow.

Its memory grows with the number of hosts, never with the number of events.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ionetctl.core.events import (
    Envelope,
    HostFinished,
    HostPlanned,
    HostSurveyed,
    NodeProgressed,
    PlanConfirmed,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
    StepFinished,
    StepRetried,
    StepStarted,
    WaveFinished,
    WaveStarted,
)
from ionetctl.core.model.outcome import ENROLL, Result, results_of
from ionetctl.summary.rate import STALLED_AFTER_S, RecentRate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.model.names import HostName, RolloutId

SLOW_AFTER_S: Final = 60.0
"""A host that stays in one step for longer is shown."""


class Stage(StrEnum):
    """The stage of a host that has no outcome yet."""

    WAITING = "waiting"
    SURVEY = "survey"
    PLANNED = "planned"
    APPLY = "apply"
    CONFIRM = "confirm"


class Phase(StrEnum):
    """The phase of the whole rollout; rate and remaining time are those of the phase."""

    SURVEY = "survey"
    ROLLOUT = "rollout"


_STAGES: Final[dict[str, Stage]] = {
    "survey": Stage.SURVEY,
    "plan": Stage.SURVEY,
    "apply": Stage.APPLY,
    "confirm": Stage.CONFIRM,
    "finish": Stage.CONFIRM,
    "close": Stage.CONFIRM,
}
"""The stage by step, or by the part of an apply that the host reports: ``finish`` follows the confirmation by the region."""
_DONE: Final = frozenset({Result.ENROLLED, Result.DONE, Result.UNCHANGED})
"""The results with which a host is not worked on again when a rollout is resumed."""
_FAILURES: Final = frozenset({Result.FAILED, Result.UNREACHABLE, Result.UNVERIFIED})
_STAGES_AFTER: Final[dict[str, Stage]] = {"survey": Stage.PLANNED, "plan": Stage.PLANNED}


@dataclass(frozen=True, slots=True)
class Wave:
    """One wave: ``failed`` hosts are among the ``finished`` ones."""

    index: int
    of: int
    hosts: int
    finished: int = 0
    failed: int = 0
    is_canary: bool = False
    is_through: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """A host that is being tried again."""

    host: HostName
    step: str
    attempt: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Slow:
    """A host that has been in one step for ``seconds``."""

    host: HostName
    step: str
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a rollout at one moment.

    ``done`` of ``total`` hosts are through the present phase, ``per_minute`` of them in the last two minutes; ``remaining_s`` is
    an estimate for that phase, ``None`` where the rate says nothing of it: before any host is through, once none is
    waiting for its turn, and while nothing moves. Then ``stalled`` are the hosts that are waited for. ``stalled`` and
    ``slow`` are sorted, longest first. ``elapsed_s`` leaves out prompts, and what was before the rollout was resumed.
    """

    rollout: RolloutId | None
    action: str
    phase: Phase
    total: int
    done: int
    finished: int
    stages: Mapping[Stage, int]
    results: Mapping[Result, int]
    waves: tuple[Wave, ...]
    elapsed_s: float
    per_minute: float | None
    remaining_s: float | None
    retries: tuple[Retry, ...]
    slow: tuple[Slow, ...]
    stalled: tuple[Slow, ...]
    is_over: bool


@dataclass(frozen=True, slots=True)
class _Activity:
    step: str
    detail: str
    since: datetime


class ProgressFold:
    """Takes events one by one; ``snapshot`` may be asked for at any time."""

    def __init__(self) -> None:
        self._rollout: RolloutId | None = None
        self._action = ENROLL
        self._began: datetime | None = None
        self._now: datetime | None = None
        self._phase = Phase.SURVEY
        self._stages: dict[HostName, Stage] = {}
        self._stage_counts: Counter[Stage] = Counter()
        self._results: dict[HostName, Result] = {}
        self._result_counts: Counter[Result] = Counter()
        self._surveyed: set[HostName] = set()
        self._waves: list[Wave] = []
        self._wave_of: dict[HostName, int] = {}
        self._retries: dict[HostName, Retry] = {}
        self._active: dict[HostName, _Activity] = {}
        self._rate = RecentRate()
        self._is_over = False

    def take(self, envelope: Envelope) -> None:  # noqa: C901, PLR0912  (one flat table of events reads best whole)
        """Take one event into account."""
        self._now = now = datetime.fromisoformat(envelope.time)
        match envelope.event:
            case RolloutStarted() as event:
                self._begin(event, now)
            case RolloutResumed():
                self._resume(now)
            case StepStarted(host=str() as host) as event:
                self._enter(host, event, now)
            case StepFinished(host=str() as host) as event:
                self._leave(host, event.step)
            case StepRetried(host=str() as host) as event:
                self._retries[host] = Retry(host, event.step, event.attempt, event.code, event.message)
                self._active.pop(host, None)
            case HostSurveyed(host=str() as host):
                self._survey(host, now)
            case HostPlanned(host=str() as host):
                # A node's state is looked at and not recorded.
                self._survey(host, now)
                self._move(host, Stage.PLANNED)
            case NodeProgressed(host=str() as host) as event if host in self._active:
                self._active[host] = replace(self._active[host], detail=event.waits_for)
            case HostFinished() as event:
                self._finish(event.outcome.host, event.outcome.result, now)
            case PlanConfirmed() as event:
                self._pause(event.waited_s)
            case WaveStarted() as event:
                self._start_wave(event, now)
            case WaveFinished() as event:
                self._end_wave(event.index)
            case RolloutStopped() | RolloutFinished():
                self._is_over = True
            case _:
                pass

    def snapshot(self, now: datetime | None = None) -> Progress:
        """The state at ``now`` (aware); by default at the latest event, as a replay wants it."""
        moment = now or self._now
        total = len(self._stages) + len(self._results)
        done = len(self._surveyed) if self._phase is Phase.SURVEY else len(self._results)
        rate = self._rate.per_second(moment) if moment else None
        is_stalled = moment is not None and self._rate.is_stalled(moment)
        has_queue = total - done > len(self._active)
        return Progress(
            rollout=self._rollout,
            action=self._action,
            phase=self._phase,
            total=total,
            done=done,
            finished=len(self._results),
            stages={stage: self._stage_counts[stage] for stage in Stage},
            results={result: self._result_counts[result] for result in results_of(self._action)},
            waves=tuple(self._waves),
            elapsed_s=(moment - self._began).total_seconds() if moment and self._began else 0.0,
            per_minute=None if rate is None else rate * 60,
            remaining_s=(total - done) / rate if rate and has_queue and not is_stalled else None,
            retries=tuple(self._retries.values()),
            slow=self._in_step_for(SLOW_AFTER_S, moment) if moment else (),
            stalled=self._in_step_for(STALLED_AFTER_S, moment) if moment and is_stalled else (),
            is_over=self._is_over,
        )

    def _begin(self, event: RolloutStarted, now: datetime) -> None:
        self._rollout = event.rollout
        self._action = event.action
        self._began = now
        self._rate.begin(now)
        for entry in event.hosts:
            self._move(entry.name, Stage.WAITING)

    def _resume(self, now: datetime) -> None:
        self._began = now
        self._phase = Phase.SURVEY
        self._rate.begin(now)
        self._waves.clear()
        self._wave_of.clear()
        self._retries.clear()
        self._active.clear()
        for host in [host for host, result in self._results.items() if result not in _DONE]:
            self._reopen(host)
        self._surveyed = set(self._results)
        self._is_over = False
        for host in self._stages:
            self._move(host, Stage.WAITING)

    def _pause(self, seconds: float) -> None:
        if self._began is not None:
            self._began += timedelta(seconds=seconds)

    def _enter(self, host: HostName, event: StepStarted, now: datetime) -> None:
        self._reopen(host)
        by_step = _STAGES.get(event.step, self._stages.get(host, Stage.WAITING))
        self._move(host, _STAGES.get(event.detail, by_step))
        self._active[host] = _Activity(event.step, event.detail, now)

    def _leave(self, host: HostName, step: str) -> None:
        self._retries.pop(host, None)
        self._active.pop(host, None)
        if step in _STAGES_AFTER:
            self._move(host, _STAGES_AFTER[step])

    def _survey(self, host: HostName, now: datetime) -> None:
        if host in self._surveyed:
            return
        self._surveyed.add(host)
        if self._phase is Phase.SURVEY:
            self._rate.count(now)

    def _finish(self, host: HostName, result: Result, now: datetime) -> None:
        self._reopen(host)
        self._survey(host, now)
        stage = self._stages.pop(host, None)
        if stage is not None:
            self._stage_counts[stage] -= 1
        self._results[host] = result
        self._result_counts[result] += 1
        self._retries.pop(host, None)
        self._active.pop(host, None)
        if self._phase is Phase.ROLLOUT:
            self._rate.count(now)
        position = self._wave_of.pop(host, None)
        if position is not None:
            wave = self._waves[position]
            failed = wave.failed + (result in _FAILURES)
            self._waves[position] = replace(wave, finished=wave.finished + 1, failed=failed)

    def _reopen(self, host: HostName) -> None:
        earlier = self._results.pop(host, None)
        if earlier is not None:
            self._result_counts[earlier] -= 1
            self._surveyed.discard(host)
            self._move(host, Stage.WAITING)

    def _move(self, host: HostName, stage: Stage) -> None:
        if host in self._results:
            return
        earlier = self._stages.get(host)
        if earlier is not None:
            self._stage_counts[earlier] -= 1
        self._stages[host] = stage
        self._stage_counts[stage] += 1

    def _start_wave(self, event: WaveStarted, now: datetime) -> None:
        if self._phase is Phase.SURVEY:
            self._phase = Phase.ROLLOUT
            self._rate.begin(now)
        self._wave_of.update(dict.fromkeys(event.hosts, len(self._waves)))
        self._waves.append(Wave(event.index, event.of, len(event.hosts), is_canary=event.is_canary))

    def _end_wave(self, index: int) -> None:
        self._waves = [
            replace(wave, is_through=True) if wave.index == index else wave for wave in self._waves
        ]

    def _in_step_for(self, least_s: float, now: datetime) -> tuple[Slow, ...]:
        horizon = now - timedelta(seconds=least_s)
        late = [
            Slow(host, activity.step, activity.detail, (now - activity.since).total_seconds())
            for host, activity in self._active.items()
            if activity.since <= horizon
        ]
        return tuple(sorted(late, key=lambda slow: -slow.seconds))
