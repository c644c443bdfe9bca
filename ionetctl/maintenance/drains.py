"""A node drained of its jobs, and a drain that is ended: begun in the region, which moves the jobs, and waited for here.

What the node was before stands in the drain's own metadata, so that ending the drain can make it that again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ionetctl.core.errors import HostFailedError, HostUnreachableError, HostUnverifiedError, UsageError
from ionetctl.core.events import Warned
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.core.model.plan import Action, Change
from ionetctl.core.plural import counted
from ionetctl.maintenance.node_actions import ELIGIBILITY, RUN_AGAIN, words
from ionetctl.maintenance.node_state import DOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.node import DrainSpec, RunningAllocation
    from ionetctl.maintenance.node_actions import NodeWork
    from ionetctl.maintenance.node_state import NodeState

DRAIN: Final = "drain"
BY_KEY: Final = "ionetctl_by"
BEFORE_KEY: Final = "ionetctl_eligibility"
"""In a drain's metadata: what the node's eligibility was before it."""
MESSAGE_KEY: Final = "message"
"""In a drain's metadata: as ``nomad node drain -message`` has it."""
SYSTEM: Final = frozenset({"system", "sysbatch"})
POLL_S: Final = 2.0
NAMED: Final = 5
"""The most allocations that a message names."""
_DURATION: Final = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,7})s?)?")


def parse_deadline(text: str) -> float:
    """The seconds of ``--deadline``: ``1h``, ``90m``, ``1h30m``, ``45s``; ``none`` is 0, ``now`` below 0, as Nomad has it.

    Raises ``UsageError`` (``deadline_invalid``).
    """
    if text in ("none", "now"):
        return 0.0 if text == "none" else -1.0
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        hint = "use a duration like 1h, 90m or 45s; none waits for ever, now stops what runs at once"
        raise UsageError("deadline_invalid", f"--deadline is {text!r}", hint)
    return float(total)


@dataclass(frozen=True, slots=True)
class Drain:
    """Move the jobs of a node away, and keep new ones from it; what is left at the deadline is stopped.

    Without ``waits`` the drain is begun, and goes on in the region by itself. A node with jobs that the plan did not find on any node that
    is to be drained is not drained, but with ``loses_jobs``.
    """

    name: ClassVar[str] = "drain"
    at_jobs: ClassVar[bool] = True
    by: str
    reason: str
    spec: DrainSpec
    waits: bool = True
    loses_jobs: bool = False

    @property
    def details(self) -> tuple[str, ...]:
        """Its deadline in seconds, what it leaves, and why."""
        spec = self.spec
        deadline, ignores = f"{spec.deadline_s:.0f}", spec.ignores_system_jobs
        return words(deadline=deadline, ignore_system=ignores, no_wait=not self.waits, reason=self.reason)

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """One change, unless nothing is left there that is to be moved. A drain that is on its way already is waited for."""
        left, last = self._moved(state.allocations), state.detail.drain
        # A token that may not read jobs sees none: only a drain that was through says that there are none.
        if not state.is_eligible and not left and last is not None and last.status == "complete":
            return ()
        if state.drain is not None and state.drain.spec == self.spec:
            if not self.waits:
                return ()
            return (Change(Action.DRAIN, DRAIN, "it is on its way; waited for"),)
        instead = " instead of the drain that is on its way" if state.view.is_draining else ""
        what = counted(len(left), "allocation") if left else "no allocation"
        return (Change(Action.DRAIN, DRAIN, f"{what}, {_deadline(self.spec)}{instead}"),)

    async def carry_out(self, work: NodeWork) -> None:
        """Begin the drain, and wait for its end unless it is not to be waited for.

        Raises ``HostUnreachableError`` (``node_down``), ``HostUnverifiedError`` (``drain_unfinished``) where the end of the rollout was
        asked for before, ``HostFailedError`` (``jobs_placed_since``, ``drain_cancelled``, ``allocation_not_ended``).
        """
        state = work.state
        if state.drain is None or state.drain.spec != self.spec:
            if not self.loses_jobs:
                self._check_agreed(work)
            await work.region.drain(state.view.id, self.spec, self._meta(state))
        if self.waits:
            await self._finished(work)

    def _check_agreed(self, work: NodeWork) -> None:
        """Refuse what nobody was asked about: jobs that were placed since the plan was shown. System jobs come back by themselves."""
        later = [
            one
            for one in self._moved(work.state.allocations)
            if one.job_type != "system" and (one.namespace, one.job) not in work.agreed
        ]
        if later:
            message = f"{_named(later)} placed there since the plan was made"
            hint = "run again, which plans with them, or allow it with --lose-jobs"
            raise HostFailedError("jobs_placed_since", message, hint)

    async def _finished(self, work: NodeWork) -> None:
        """Return once the drain is complete, and what was moved has ended on the node."""
        ends_at_s = None
        while True:
            state = await work.look(at_jobs=True)
            left = self._moved(state.allocations)
            if not state.view.is_draining and ends_at_s is None:
                await self._judge_end(work, state)
                ends_at_s = work.clock.monotonic() + work.timeout_s
            if state.view.status == DOWN:
                message = f"the node went down while it was drained; {_named(left)} on it"
                raise HostUnreachableError("node_down", message, "the region places its jobs elsewhere")
            if not state.view.is_draining and not left:
                return
            if ends_at_s is not None and work.clock.monotonic() >= ends_at_s:
                message = f"the drain is over, and {_named(left)} still there"
                hint = "nomad alloc stop, or look at the task on the node"
                raise HostFailedError("allocation_not_ended", message, hint)
            if work.is_stopped():
                message = f"the drain goes on in the region; {_named(left)} on the node yet"
                raise HostUnverifiedError("drain_unfinished", message, "--resume waits for it again")
            await work.progress(f"{counted(len(left), 'allocation')} to end", len(left))
            await work.clock.sleep(POLL_S)

    async def _judge_end(self, work: NodeWork, state: NodeState) -> None:
        """Refuse a drain that somebody ended; say where the deadline ended it."""
        last = state.detail.drain
        if last is not None and last.status == "canceled":
            message = "somebody ended the drain before it was through"
            raise HostFailedError("drain_cancelled", message, "ask who, and run again")
        if last is not None and last.deadline_passed and self.spec.deadline_s > 0:
            message = "the deadline passed before all jobs had been moved; what was left was stopped"
            hint = "see nomad job status of its jobs"
            await work.emit(Warned(host=work.name, code="drain_deadline_passed", message=message, hint=hint))

    def _moved(self, allocations: Sequence[RunningAllocation]) -> list[RunningAllocation]:
        """Those that the drain ends."""
        return [one for one in allocations if not (self.spec.ignores_system_jobs and one.job_type in SYSTEM)]

    def _meta(self, state: NodeState) -> dict[str, str]:
        before = state.drain.meta.get(BEFORE_KEY, "") if state.drain else state.view.eligibility
        said = {BY_KEY: self.by, BEFORE_KEY: before, MESSAGE_KEY: self.reason}
        return {key: value for key, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class CancelDrain:
    """End the drain of a node, and make its eligibility what it was before; jobs that were moved do not come back."""

    name: ClassVar[str] = "cancel-drain"
    at_jobs: ClassVar[bool] = False
    details: ClassVar[tuple[str, ...]] = ()

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """The end of the drain, and of what it changed."""
        if not state.view.is_draining:
            return ()
        change = Change(Action.CANCEL_DRAIN, DRAIN, "what was not moved yet stays")
        if not _was_eligible(state):
            return (change,)
        return (change, Change(Action.INCLUDE, ELIGIBILITY, "as before the drain"))

    async def carry_out(self, work: NodeWork) -> None:
        """One call of the region, which shows it at once."""
        is_eligible = _was_eligible(work.state)
        await work.region.drain(work.state.view.id, None, {}, mark_eligible=is_eligible)
        error = HostUnverifiedError("node_draining", "the region still drains the node", RUN_AGAIN)
        await work.until(lambda node: not node.view.is_draining, error)
        if is_eligible:
            await work.system_jobs.bring_back(work)


def _was_eligible(state: NodeState) -> bool:
    """Whether the node may have jobs once its drain has ended: as before, where that is known, and never what is excluded or held."""
    before = state.drain.meta.get(BEFORE_KEY, ELIGIBLE) if state.drain else ELIGIBLE
    return before == ELIGIBLE and state.exclusion is None and state.hold is None


def _deadline(spec: DrainSpec) -> str:
    system = ", system jobs stay" if spec.ignores_system_jobs else ""
    if spec.deadline_s <= 0:
        return f"{'at once' if spec.deadline_s else 'without a deadline'}{system}"
    return f"stopped after {spec.deadline_s:g} s{system}"


def _named(allocations: Sequence[RunningAllocation]) -> str:
    names = ", ".join(one.name for one in allocations[:NAMED])
    more = f" and {len(allocations) - NAMED} more" if len(allocations) > NAMED else ""
    if not allocations:
        return "no allocation was"
    return f"{names}{more} {'was' if len(allocations) == 1 else 'were'}"
