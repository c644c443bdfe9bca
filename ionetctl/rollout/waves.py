"""A rollout over many hosts: waves, the failure budget, when to stop. Knows nothing of SSH, regions or screens.

Barriers stand in three places only: the checks over the whole fleet after the survey, the end of a wave, and the
region's word inside a host's own pipeline. A host's failure is a value and never cancels its neighbours.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode, UsageError
from ionetctl.core.events import RolloutStopped, WaveFinished, WaveStarted
from ionetctl.core.model.outcome import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.core.ports import Emit, Engine
    from ionetctl.host.pipeline import PlannedHost

_SIZE: Final = re.compile(r"([0-9]{1,7})(%?)")
_WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class Size:
    """A number of hosts, or a percentage of them."""

    value: int
    is_percentage: bool

    @classmethod
    def parse(cls, text: str, option: str) -> Size:
        """The size that ``text`` means (``12`` or ``10%``).

        Raises ``UsageError`` (``size_invalid``), naming ``option``.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None or (match[2] and int(match[1]) > _WHOLE):
            raise UsageError(
                "size_invalid", f"{option} is {text!r}", "use a number of hosts, or a percentage like 10%"
            )
        return cls(int(match[1]), bool(match[2]))

    def of(self, hosts: int) -> int:
        """How many of ``hosts`` that is; a percentage is rounded up, so that 5 % of a small fleet is not none."""
        return math.ceil(hosts * self.value / _WHOLE) if self.is_percentage else self.value

    def __str__(self) -> str:
        return f"{self.value}{'%' if self.is_percentage else ''}"


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a rollout proceeds. ``canary`` hosts go first, alone; 0 leaves them out."""

    canary: int
    batch_size: Size
    max_failures: Size


@dataclass(frozen=True, slots=True)
class Wave:
    """Hosts that go together; ``index`` counts from 1."""

    index: int
    of: int
    hosts: tuple[PlannedHost, ...]
    is_canary: bool


@dataclass(slots=True)
class Stop:
    """Whether and why no further host is begun. The first reason stays."""

    reason: RolloutStopped | None = None
    exit_code: ExitCode = ExitCode.OK
    _requested: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _told: bool = field(default=False, repr=False)

    def request(self, code: str, message: str, exit_code: ExitCode) -> None:
        """Ask for the end; hosts under way finish."""
        if self.reason is None:
            self.reason = RolloutStopped(code=code, message=message)
            self.exit_code = exit_code
            self._requested.set()

    @property
    def is_requested(self) -> bool:
        """Whether the end was asked for."""
        return self.reason is not None

    async def tell_when_requested(self, emit: Emit) -> None:
        """Record the reason as soon as there is one, while hosts under way are still at work."""
        await self._requested.wait()
        await self.tell(emit)

    async def tell(self, emit: Emit) -> None:
        """Record the reason, once."""
        if self.reason is not None and not self._told:
            self._told = True
            await emit(self.reason)


@dataclass(slots=True)
class FailureBudget:
    """How many hosts may fail, those that the region does not confirm among them.

    Unreachable hosts are not counted: a rack without power is no bad rollout.
    """

    allowed: int
    failed: int = 0
    unverified: int = 0

    def count(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        self.failed += outcome.result is Result.FAILED
        self.unverified += outcome.result is Result.UNVERIFIED

    def judge(self, stop: Stop) -> None:
        """Ask for the end when more hosts failed than may, by the exit code of what they mostly suffer from."""
        if self.failed > self.allowed:
            message = f"{self.failed} hosts failed, {self.allowed} may (--max-failures)"
            stop.request("too_many_failures", message, ExitCode.STOPPED)
        elif self.failed + self.unverified > self.allowed:
            message = f"the region does not confirm {self.unverified} hosts, {self.allowed} may fail (--max-failures)"
            stop.request("too_many_unverified", message, ExitCode.UNVERIFIED)


def waves(hosts: Sequence[PlannedHost], strategy: Strategy) -> tuple[Wave, ...]:
    """The hosts in order, cut into a canary and batches; the batch size is taken of all of them."""
    canary, rest = tuple(hosts[: strategy.canary]), tuple(hosts[strategy.canary :])
    size = max(1, strategy.batch_size.of(len(hosts)))
    batches = [rest[start : start + size] for start in range(0, len(rest), size)]
    groups = [canary, *batches] if canary else batches
    return tuple(
        Wave(index, len(groups), group, is_canary=bool(canary) and index == 1)
        for index, group in enumerate(groups, start=1)
    )


@dataclass(frozen=True, slots=True)
class Rollout:
    """The waves of one rollout. ``enroll`` does one host and gives its outcome; ``finish`` takes it."""

    emit: Emit
    engine: Engine
    enroll: Callable[[PlannedHost, Wave], Awaitable[Outcome]]
    finish: Callable[[PlannedHost, Outcome], Awaitable[None]]
    budget: FailureBudget
    stop: Stop

    async def run(self, planned: Sequence[Wave]) -> tuple[PlannedHost, ...]:
        """Go through the waves; returns the hosts that were not begun because the rollout was stopped."""
        left: list[PlannedHost] = []
        for wave in planned:
            self.check_budget()
            if self.stop.is_requested:
                left.extend(wave.hosts)
            else:
                left.extend(await self._run_wave(wave, has_more=wave.index < wave.of))
        await self.stop.tell(self.emit)
        return tuple(left)

    def check_budget(self) -> None:
        """Stop when more hosts failed than may."""
        self.budget.judge(self.stop)

    async def _run_wave(self, wave: Wave, *, has_more: bool) -> tuple[PlannedHost, ...]:
        names = tuple(prepared.host.name for prepared in wave.hosts)
        await self.emit(WaveStarted(index=wave.index, of=wave.of, hosts=names, is_canary=wave.is_canary))
        outcomes: list[Outcome] = []

        async def work(prepared: PlannedHost) -> None:
            outcome = await self.enroll(prepared, wave)
            outcomes.append(outcome)
            self.budget.count(outcome)
            self.check_budget()
            await self.finish(prepared, outcome)

        left = await self.engine.run(wave.hosts, work, lambda: self.stop.is_requested)
        failures = sum(outcome.problem is not None for outcome in outcomes)
        await self.emit(WaveFinished(index=wave.index, of=wave.of, failed=failures))
        if wave.is_canary and has_more:
            self._judge_canary(outcomes)
        return left

    def _judge_canary(self, outcomes: Sequence[Outcome]) -> None:
        """What the canary dies of, the others would die of too."""
        for outcome in outcomes:
            if outcome.result is Result.FAILED:
                message = f"the canary {outcome.host} failed, so nothing else was begun (--canary 0 goes without one)"
                self.stop.request("canary_failed", message, ExitCode.STOPPED)
            elif outcome.result is Result.UNVERIFIED:
                message = f"the region does not confirm the canary {outcome.host}, so nothing else was begun"
                self.stop.request("canary_unverified", message, ExitCode.UNVERIFIED)
