"""When something is tried again: what may pass, how often, how long apart, and how often over the whole fleet.

Knows errors and a clock; never retries what authentication or trust refused, since that would only lock accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from ionetctl.core.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryAction

    from ionetctl.core.ports import Clock

_Result = TypeVar("_Result")


def _never() -> bool:
    return False


@dataclass(slots=True)
class RetryBudget:
    """How many retries the whole fleet has left: a site whose uplink is down is not hammered for an hour."""

    left: int

    def take(self) -> bool:
        """Use one up; false when none is left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``attempts`` in all, waits of 0 to ``first_wait_s`` seconds that double up to ``longest_wait_s``, at random.

    Nothing is tried again once ``is_stopped`` says so: who asked for the end waits for what is under way, not for more.
    """

    clock: Clock
    budget: RetryBudget
    attempts: int = 3
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    is_stopped: Callable[[], bool] = _never

    async def run(
        self,
        work: Callable[[int], Awaitable[_Result]],
        before_retry: Callable[[int, HostError, float], Awaitable[None]],
    ) -> _Result:
        """What ``work(attempt)`` returns, attempts counted from 1; raises what its last attempt raised."""

        async def tell(state: RetryCallState) -> None:
            # Told before a sleep only: there is a next action, and an error that is worth a retry.
            delay_s = cast("RetryAction", state.next_action).sleep
            await before_retry(state.attempt_number, cast("HostError", _error_of(state)), delay_s)

        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            retry=self._is_worthwhile,
            before_sleep=tell,
            sleep=self.clock.sleep,
        )
        async for attempt in retrying:
            with attempt:
                return await work(attempt.retry_state.attempt_number)
        raise AssertionError("tenacity ends with a result or an error")  # pragma: no cover

    def _is_worthwhile(self, state: RetryCallState) -> bool:
        """Whether what went wrong may pass; asked last, the budget pays for retries that are made and no others."""
        error = _error_of(state)
        may_pass = isinstance(error, HostError) and error.transient and not self.is_stopped()
        return may_pass and state.attempt_number < self.attempts and self.budget.take()


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
