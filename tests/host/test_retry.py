"""What is tried again, how often, and what the fleet's budget pays for."""

from __future__ import annotations

import asyncio

import pytest

from ionetctl.core.errors import (
    ConfigurationError,
    HostFailedError,
    HostUnreachableError,
    IonetctlError,
)
from ionetctl.host.retry import RetryBudget, RetryPolicy
from tests.support.clock import ManualClock

LOST = HostUnreachableError("connection_lost", "it went away", transient=True)
REFUSED = HostFailedError("authentication_failed", "no key fits")


class Work:
    """Fails with the given errors in turn, then succeeds; remembers what it was told."""

    def __init__(self, *errors: BaseException, budget: int = 10, attempts: int = 3) -> None:
        self.errors = list(errors)
        self.begun: list[int] = []
        self.retries: list[tuple[int, str, float]] = []
        self.clock = ManualClock()
        self.budget = RetryBudget(budget)
        self.policy = RetryPolicy(self.clock.sleep, self.budget, attempts)

    async def work(self, attempt: int) -> str:
        self.begun.append(attempt)
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def before_retry(self, attempt: int, error: IonetctlError, delay_s: float) -> None:
        self.retries.append((attempt, error.code, delay_s))

    async def run(self) -> str:
        return await self.policy.run(self.work, self.before_retry)

    async def failure(self) -> BaseException:
        with pytest.raises(BaseException) as caught:  # noqa: PT011  (the test compares what it is)
            await self.run()
        return caught.value


async def test_success_is_not_repeated() -> None:
    """What works the first time is done once."""
    work = Work()
    assert (await work.run(), work.begun, work.retries) == ("done", [1], [])


async def test_transient_failure_is_tried_again_and_told() -> None:
    """Each retry is told with the attempt that failed, its error and the wait that follows."""
    work = Work(LOST, LOST)
    assert await work.run() == "done"
    assert work.begun == [1, 2, 3]
    assert [(attempt, code) for attempt, code, _ in work.retries] == [
        (1, "connection_lost"),
        (2, "connection_lost"),
    ]
    assert [delay_s for _, _, delay_s in work.retries] == work.clock.slept


async def test_waits_are_bounded() -> None:
    """The wait is random, below a bound that doubles and ends at the longest."""
    work = Work(*[LOST] * 9, attempts=10)
    work.policy = RetryPolicy(work.clock.sleep, work.budget, 10, first_wait_s=1.0, longest_wait_s=4.0)
    await work.run()
    bounds = [1.0, 2.0, *[4.0] * 7]
    assert [slept <= bound for slept, bound in zip(work.clock.slept, bounds, strict=True)] == [True] * 9


async def test_last_attempt_raises_its_own_error() -> None:
    """After the last attempt the error of that attempt comes out as it is."""
    last = HostUnreachableError("connect_timeout", "no answer", transient=True)
    work = Work(LOST, LOST, last)
    assert (await work.failure(), work.begun) == (last, [1, 2, 3])


FINAL_ERRORS = pytest.mark.parametrize(
    "error",
    [REFUSED, ConfigurationError("journal_broken", "full"), ValueError("a bug"), asyncio.CancelledError()],
)


@FINAL_ERRORS
async def test_other_errors_are_not_tried_again(error: BaseException) -> None:
    """Refusals, errors of ours, bugs and cancellation end it at once."""
    work = Work(error)
    assert (await work.failure(), work.begun) == (error, [1])


@FINAL_ERRORS
async def test_other_errors_cost_no_retry(error: BaseException) -> None:
    """The fleet's budget is left as it was."""
    work = Work(error)
    await work.failure()
    assert work.budget.left == 10


async def test_spent_budget_ends_retries() -> None:
    """When the fleet has no retries left, a transient failure is final."""
    work = Work(LOST, LOST, budget=1)
    assert (await work.failure(), work.begun) == (LOST, [1, 2])


async def test_budget_pays_for_retries_alone() -> None:
    """A host that fails for good has cost the retries it had, and not one for the failure after them."""
    work = Work(LOST, LOST, LOST)
    await work.failure()
    assert work.budget.left == 8


def stopped_work() -> Work:
    """Work that loses its connection after somebody asked for the end."""
    work = Work(LOST)
    work.policy = RetryPolicy(work.clock.sleep, work.budget, is_stopped=lambda: True)
    return work


async def test_nothing_is_tried_again_after_a_stop() -> None:
    """Who asked for the end is not kept waiting."""
    work = stopped_work()
    assert (await work.failure(), work.begun) == (LOST, [1])


async def test_stop_in_a_pause_is_heeded() -> None:
    """A host that waited for its next attempt does not begin it."""
    work = Work(LOST)
    work.policy = RetryPolicy(work.clock.sleep, work.budget, is_stopped=lambda: bool(work.clock.slept))
    assert (await work.failure(), work.begun) == (LOST, [1])


async def test_stop_costs_no_retry() -> None:
    """The fleet's budget is left as it was."""
    work = stopped_work()
    await work.failure()
    assert work.budget.left == 10
