"""When something is tried again: what may pass, how often, how long apart, and how often over the whole fleet.

Knows errors and a clock; never retries what authentication or trust refused, since that would only lock accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from ionetctl.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ionetctl.ports import Clock

_Result = TypeVar("_Result")


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
    """``attempts`` in all, waits of 0 to ``first_wait_s`` seconds that double up to ``longest_wait_s``, at random."""

    clock: Clock
    budget: RetryBudget
    attempts: int = 3
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    async def run(
        self,
        work: Callable[[int], Awaitable[_Result]],
        before_retry: Callable[[int, HostError, float], Awaitable[None]],
    ) -> _Result:
        """What ``work(attempt)`` returns, attempts counted from 1; raises what its last attempt raised."""

        async def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            delay_s = state.next_action.sleep if state.next_action else 0.0
            if isinstance(error, HostError):
                await before_retry(state.attempt_number, error, delay_s)

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            retry=retry_if_exception(self._may_pass),
            before_sleep=tell,
            sleep=self.clock.sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await work(attempt.retry_state.attempt_number)
        raise AssertionError("tenacity ends with a result or an error")  # pragma: no cover

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, HostError) and error.transient and self.budget.take()
