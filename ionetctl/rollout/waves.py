"""Waves, the failure budget, and when to stop. Knows nothing of SSH, regions or screens.

Barriers stand in three places only: the checks over the whole fleet after the survey, the end of a wave, and the
confirmation by the region within a host's own pipeline. A host's failure is a value and never cancels its neighbours.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import WaveFinished, WaveStarted
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.rollout.concurrently import concurrently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName
    from ionetctl.core.ports import Emit
    from ionetctl.rollout.concurrently import Slots
    from ionetctl.rollout.options import Strategy
    from ionetctl.rollout.stop import FailureBudget, Stop


class Planned(Protocol):
    """A host with what is to be done there."""

    @property
    def host(self) -> Host:
        """The host, as the inventory describes it."""
        ...


_Planned = TypeVar("_Planned", bound=Planned)


@dataclass(frozen=True, slots=True)
class Wave(Generic[_Planned]):
    """Hosts that go together; ``index`` counts from 1."""

    index: int
    of: int
    hosts: tuple[_Planned, ...]
    is_canary: bool


def waves(
    hosts: Sequence[_Planned], strategy: Strategy, failed_before: Collection[HostName] = ()
) -> tuple[Wave[_Planned], ...]:
    """The hosts in order, cut into a canary and batches; the batch size is taken of all of them.

    A host that failed before would stop the rollout as its canary, and so is none.
    """
    return _cut(hosts, strategy.canary, max(1, strategy.batch_size.of(len(hosts))), failed_before)


def _cut(
    hosts: Sequence[_Planned], canary: int, size: int, failed_before: Collection[HostName], before: int = 0
) -> tuple[Wave[_Planned], ...]:
    """A canary of so many hosts and batches of ``size``, after the waves that went ``before``."""
    first = tuple(each for each in hosts if each.host.name not in failed_before)[:canary]
    names = {each.host.name for each in first}
    rest = tuple(each for each in hosts if each.host.name not in names)
    batches = [rest[start : start + size] for start in range(0, len(rest), size)]
    groups = [first, *batches] if first else batches
    return tuple(
        Wave(index, before + len(groups), group, is_canary=bool(first) and index == before + 1)
        for index, group in enumerate(groups, start=before + 1)
    )


async def _nothing_before(_: Wave[_Planned]) -> None:
    """A wave begins as it is."""


@dataclass(frozen=True, slots=True)
class Rollout(Generic[_Planned]):
    """The waves of one rollout.

    ``work`` takes one host and the wave's nonce and returns the host's outcome; ``finish`` records it. There is one
    nonce a wave, so that the region is asked for a wave's nodes at once and not for all so far. ``before`` is awaited before each wave.
    """

    emit: Emit
    slots: Slots
    work: Callable[[_Planned, str], Awaitable[Outcome]]
    finish: Callable[[Host, Outcome], Awaitable[None]]
    budget: FailureBudget
    stop: Stop
    failed_before: Collection[HostName] = ()
    before: Callable[[Wave[_Planned]], Awaitable[None]] = _nothing_before

    async def run(self, rest: tuple[Wave[_Planned], ...]) -> tuple[_Planned, ...]:
        """Go through the waves; returns the hosts that were not begun because the rollout was stopped.

        A wave that is through is let go.
        """
        left: list[_Planned] = []
        while rest:
            wave, rest = rest[0], rest[1:]
            self.budget.judge(self.stop)
            if not self.stop.is_requested:
                await self.before(wave)
            if self.stop.is_requested:
                left.extend(wave.hosts)
                continue
            outcomes, not_begun = await self._run_wave(wave)
            left.extend(not_begun)
            if wave.is_canary and rest:
                self._judge_canary(outcomes)
                rest = _with_next_canary(wave, outcomes, rest, self.failed_before)
        await self.stop.record(self.emit)
        return tuple(left)

    async def _run_wave(self, wave: Wave[_Planned]) -> tuple[list[Outcome], tuple[_Planned, ...]]:
        """The outcomes of a wave's hosts, and those that were not begun."""
        names = tuple(planned.host.name for planned in wave.hosts)
        await self.emit(WaveStarted(index=wave.index, of=wave.of, hosts=names, is_canary=wave.is_canary))
        nonce = secrets.token_hex(NONCE_BYTES)
        outcomes: list[Outcome] = []

        async def one(planned: _Planned) -> None:
            outcome = await self.work(planned, nonce)
            outcomes.append(outcome)
            self.budget.count(outcome)
            self.budget.judge(self.stop)
            await self.finish(planned.host, outcome)

        not_begun = await concurrently(wave.hosts, one, self.slots, lambda: self.stop.is_requested)
        failures = sum(o.problem is not None and not o.is_regions_fault for o in outcomes)
        await self.emit(WaveFinished(index=wave.index, of=wave.of, failed=failures))
        return outcomes, not_begun

    def _judge_canary(self, outcomes: Sequence[Outcome]) -> None:
        """Later waves would fail the same way."""
        for outcome in outcomes:
            if outcome.is_no_verdict:
                continue
            if outcome.result is Result.FAILED:
                message = f"the canary {outcome.host} failed, so nothing else was begun (--canary 0 goes without one)"
                self.stop.request("canary_failed", message, ExitCode.STOPPED)
            elif outcome.result is Result.UNVERIFIED:
                message = f"the region does not confirm the canary {outcome.host}, so nothing else was begun"
                self.stop.request("canary_unverified", message, ExitCode.UNVERIFIED)


def _with_next_canary(
    canary: Wave[_Planned],
    outcomes: Sequence[Outcome],
    rest: tuple[Wave[_Planned], ...],
    failed_before: Collection[HostName],
) -> tuple[Wave[_Planned], ...]:
    """The waves that follow a canary: as many of its hosts as proved nothing are replaced by the next ones.

    A host that could not be reached, that another rollout has, or whose region was lost, says nothing about the plan.
    """
    unproved = sum(o.result is Result.UNREACHABLE or o.is_no_verdict for o in outcomes)
    if not unproved:
        return rest
    hosts = tuple(planned for wave in rest for planned in wave.hosts)
    return _cut(hosts, unproved, len(rest[0].hosts), failed_before, canary.index)
