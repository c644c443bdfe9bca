"""A rollout as plain lines, for logs and pipes: one for each wave and failure, and the progress at intervals."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ionetctl.core.events import (
    Envelope,
    HostFinished,
    HostKeyAccepted,
    NodeProgressed,
    RegionChecked,
    RegionWaited,
    RolloutResumed,
    RolloutStarted,
    RolloutStopped,
    StepFinished,
    StepRetried,
    StepStarted,
    Warned,
    WaveFinished,
    WaveStarted,
)
from ionetctl.core.model.outcome import Result
from ionetctl.summary.live_progress import Phase, ProgressFold
from ionetctl.ui import phrases
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ionetctl.core.events import AnyEvent
    from ionetctl.summary.live_progress import Progress

EVERY: Final = timedelta(seconds=15)
_GOOD: Final = frozenset({Result.ENROLLED, Result.DONE, Result.UNCHANGED, Result.SKIPPED})


class PlainLines:
    """A sink that passes lines to ``write``, according to ``verbosity``."""

    def __init__(
        self, write: Callable[[str], None], verbosity: Verbosity = Verbosity.NORMAL, *, has_past: bool = False
    ) -> None:
        self._write = write
        self._has_past = has_past
        self._verbosity = verbosity
        self._progress = ProgressFold()
        self._written_at: datetime | None = None

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Write a line for each event that is shown; not for a resumed rollout's first batch, which is its history."""
        is_past, self._has_past = self._has_past, False
        for envelope in envelopes:
            self._progress.take(envelope)
            if is_past:
                continue
            line = describe(envelope.event, self._verbosity)
            if line is not None:
                self._write(line)
        if envelopes and not is_past and self._verbosity >= Verbosity.NORMAL:
            self._write_progress(datetime.fromisoformat(envelopes[-1].time))

    async def close(self) -> None:
        """Nothing is buffered."""

    def _write_progress(self, now: datetime) -> None:
        if self._written_at is None:
            self._written_at = now
        if now - self._written_at >= EVERY:
            self._written_at = now
            self._write(progress_line(self._progress.snapshot(now)))


def progress_line(progress: Progress) -> str:
    """The progress of a rollout in one line."""
    name = "survey" if progress.phase is Phase.SURVEY else "rollout"
    parts = [f"{name}: {progress.done:,} of {phrases.hosts(progress.total)}"]
    if progress.finished:
        parts.append(phrases.results(progress.results))
    if progress.per_minute is not None:
        parts.append(phrases.rate(progress.per_minute))
    if progress.remaining_s:
        parts.append(f"about {phrases.duration(progress.remaining_s)} left")
    return "; ".join(parts)


def describe(event: AnyEvent, verbosity: Verbosity) -> str | None:
    """The event as a line, or ``None`` where it is not shown at this verbosity."""
    if verbosity >= Verbosity.QUIET:
        line = _describe_problem(event)
        if line is not None:
            return line
    if verbosity >= Verbosity.NORMAL:
        line = _describe_progress(event)
        if line is not None:
            return line
    return _describe_detail(event, verbosity)


def _describe_problem(event: AnyEvent) -> str | None:
    match event:
        case HostFinished(outcome=outcome) if outcome.result not in _GOOD:
            problem = outcome.problem
            reason = (
                f"{problem.code} in {problem.step}: {phrases.plain(problem.message)}"
                if problem
                else "no reason given"
            )
            return f"{outcome.result.value} {phrases.plain(outcome.host)}: {reason}"
        case RolloutStopped():
            return f"stopped ({event.code}): {phrases.plain(event.message)}"
        case Warned():
            about = f" {phrases.plain(event.host)}" if event.host else ""
            hint = f" → {phrases.plain(event.hint)}" if event.hint else ""
            return f"warning{about}: {phrases.plain(event.message)}{hint}"
        case RegionWaited():
            return (
                f"waiting for region {phrases.plain(event.region)} at {phrases.plain(event.address)}: attempt "
                f"{event.attempt} failed, {phrases.duration(event.waited_s)} yet: {phrases.plain(event.message)}"
            )
        case _:
            return None


def _describe_progress(event: AnyEvent) -> str | None:
    match event:
        case RolloutStarted():
            verb = "checking" if event.is_check else phrases.doing(event.action)
            return f"rollout {phrases.plain(event.rollout)}: {verb} {phrases.hosts(len(event.hosts))}"
        case RolloutResumed():
            return f"resumed; {phrases.hosts(event.done)} done before"
        case RegionChecked():
            return f"region {phrases.plain(event.region)}: Nomad {phrases.plain(event.server_version)}"
        case HostKeyAccepted(host=str() as host):
            return f"accepted {phrases.plain(event.fingerprint)} as the key of {phrases.plain(host)}"
        case _:
            return _describe_wave(event)


def _describe_wave(event: AnyEvent) -> str | None:
    match event:
        case WaveStarted():
            name = "canary" if event.is_canary else f"wave {event.index} of {event.of}"
            return f"{name}: {phrases.hosts(len(event.hosts))}"
        case WaveFinished():
            failures = f", {event.failed:,} failed" if event.failed else ""
            return f"wave {event.index} of {event.of} is through{failures}"
        case _:
            return None


def _describe_detail(event: AnyEvent, verbosity: Verbosity) -> str | None:
    match event:
        case HostFinished(outcome=outcome) if verbosity >= Verbosity.VERBOSE:
            return f"{outcome.result.value} {phrases.plain(outcome.host)} in {phrases.duration(outcome.duration_s)}"
        case StepRetried(host=str() as host) if verbosity >= Verbosity.VERBOSE:
            again = f"again in {phrases.duration(event.delay_s)}"
            return f"retry {phrases.plain(host)} {event.step}: {phrases.plain(event.message)}; {again}"
        case StepStarted(host=str() as host) if verbosity >= Verbosity.DEBUG:
            return f"{phrases.plain(host)} {event.step} {phrases.plain(event.detail)}".rstrip()
        case NodeProgressed(host=str() as host) if verbosity >= Verbosity.VERBOSE:
            return f"{phrases.plain(host)}: {phrases.plain(event.waits_for)}"
        case StepFinished(host=str() as host) if verbosity >= Verbosity.DEBUG:
            return f"{phrases.plain(host)} {event.step} done in {phrases.duration(event.duration_s)}"
        case _:
            return None
