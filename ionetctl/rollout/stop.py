"""When a rollout stops before its end: because somebody asked, or because too many hosts failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import PlanConfirmed, RolloutStopped
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from ionetctl.core.ports import Clock, Emit

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Stop:
    """Whether and why no further host is begun. The first reason stays."""

    reason: RolloutStopped | None = None
    exit_code: ExitCode = ExitCode.OK
    _requested: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _is_recorded: bool = field(default=False, repr=False)

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

    async def unless_requested(self, work: Coroutine[Any, Any, _Result]) -> _Result | None:
        """The result of ``work``, which changes nothing; ``None`` where the end is asked for first, which cancels it."""
        task = asyncio.create_task(work)
        requested = asyncio.create_task(self._requested.wait())
        try:
            await asyncio.wait({task, requested}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() and not self.is_requested else None
        finally:
            requested.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def unless_agreed(self, asking: Coroutine[Any, Any, bool], emit: Emit, clock: Clock) -> None:
        """Ask for the end where the plan is not agreed to, by ``asking``; the reason of an end that was asked for before stays."""
        asked_at = clock.monotonic()
        if await self.unless_requested(asking):
            await emit(PlanConfirmed(waited_s=round(clock.monotonic() - asked_at, 3)))
        else:
            message = "the plan was not agreed to, so nothing was changed"
            self.request("declined", message, ExitCode.USAGE)

    async def when_requested(self) -> None:
        """Return as soon as the end is asked for."""
        await self._requested.wait()

    async def record_when_requested(self, emit: Emit) -> None:
        """Record the reason as soon as there is one, while hosts under way are still at work."""
        await self.when_requested()
        await self.record(emit)

    async def record(self, emit: Emit) -> None:
        """Record the reason, once."""
        if self.reason is not None and not self._is_recorded:
            self._is_recorded = True
            await emit(self.reason)


@dataclass(slots=True)
class FailureBudget:
    """How many hosts may fail, those that the region does not confirm among them.

    Unreachable hosts are not counted, nor those that another rollout has, or whose region cannot be worked with: a rack without power,
    another admin, or a region without a leader, is no bad rollout.
    """

    allowed: int
    failed: int = 0
    unverified: int = 0

    @classmethod
    def judged(cls, allowed: int, outcomes: Iterable[Outcome], stop: Stop) -> Self:
        """The budget after the outcomes that are known before the first wave."""
        budget = cls(allowed)
        for outcome in outcomes:
            budget.count(outcome)
        budget.judge(stop)
        return budget

    def count(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        if outcome.is_no_verdict:
            return
        self.failed += outcome.result is Result.FAILED
        self.unverified += outcome.result is Result.UNVERIFIED

    def judge(self, stop: Stop) -> None:
        """Ask for the end when more hosts failed than may, by the exit code of what they mostly suffer from."""
        if self.failed > self.allowed:
            message = f"{counted(self.failed, 'host')} failed, {self.allowed} may (--max-failures)"
            stop.request("too_many_failures", message, ExitCode.STOPPED)
        elif self.failed + self.unverified > self.allowed:
            message = f"the region does not confirm {counted(self.unverified, 'host')}, {self.allowed} may fail (--max-failures)"
            stop.request("too_many_unverified", message, ExitCode.UNVERIFIED)
