"""Retries of one host's work: which errors are worth one, how many, how far apart, and how many the whole fleet may have.

Knows errors and how to wait. An error that is not transient ends the work at once: a second try at a refused login or host
key would only lock accounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    wait_random_exponential,
)

from ionetctl.core.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Result = TypeVar("_Result")


def _never() -> bool:
    return False


@dataclass(slots=True)
class RetryBudget:
    """How many retries the whole fleet has left, so that a site whose uplink is down is not retried for an hour."""

    left: int

    def take(self) -> bool:
        """Use one up; false when none is left."""
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``attempts`` in all, between them a ``pause`` of 0 to ``first_wait_s`` seconds that double up to ``longest_wait_s``, at random.

    Nothing is retried once ``is_stopped`` returns true: a rollout that is being stopped ends the work under way and
    starts no more.
    """

    pause: Callable[[float], Awaitable[None]]
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
        """What ``work(attempt)`` returns, attempts counted from 1; raises what its last attempt raised.

        ``before_retry`` is awaited before each wait, with the attempt that failed, its error and the wait in seconds.
        """
        numbers = count(1)
        failure: HostError

        async def attempt() -> _Result:
            nonlocal failure
            number = next(numbers)
            if number > 1 and self.is_stopped():
                raise failure
            try:
                return await work(number)
            except HostError as error:
                failure = error
                raise

        async def before_sleep(state: RetryCallState) -> None:
            await before_retry(state.attempt_number, failure, state.upcoming_sleep)

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._is_worthwhile),
            stop=self._is_over,
            wait=wait_random_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            before_sleep=before_sleep,
            sleep=self.pause,
            reraise=True,
        )
        return await retrying(attempt)

    def _is_worthwhile(self, error: BaseException) -> bool:
        return isinstance(error, HostError) and error.transient and not self.is_stopped()

    def _is_over(self, state: RetryCallState) -> bool:
        """Whether the attempt was the last; the budget pays for retries that are made, not for the last failure."""
        return state.attempt_number >= self.attempts or not self.budget.take()
