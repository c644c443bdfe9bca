"""A change of many nodes, readable as one list of phases.

Look at all, plan all, ask, go through the waves, account for what was left. Canary, budget and stop are those of any rollout; what is done
with a node is its ``NodeAction``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from ionetctl.core.errors import (
    HostError,
    HostFailedError,
    HostUnreachableError,
    IonetctlError,
    RegionError,
    TrustError,
)
from ionetctl.core.events import HostPlanned, StepFinished, StepStarted
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host import outcomes
from ionetctl.host.outcomes import StartedNode
from ionetctl.host.planner import loss_of_jobs
from ionetctl.maintenance.node_actions import NodePlan, NodeWork
from ionetctl.maintenance.node_state import look
from ionetctl.maintenance.system_jobs import SystemJobs
from ionetctl.rollout.concurrently import concurrently
from ionetctl.rollout.endings import RESUME_HINT, Endings
from ionetctl.rollout.lost_regions import LostRegions
from ionetctl.rollout.options import Goal
from ionetctl.rollout.stop import FailureBudget
from ionetctl.rollout.waves import Rollout, waves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence

    from ionetctl.core.errors import ExitCode
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Clock, Emit, Region
    from ionetctl.maintenance.node_actions import NodeAction
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.rollout.concurrently import Slots
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.rollout.stop import Stop

_AWAY: Final = frozenset({"node_disconnected", "node_silent"})


class LocatedNode(Protocol):
    """A host as it was looked for in its region's list; ``problem`` says why there is no ``view``."""

    @property
    def host(self) -> Host:
        """The host, in the region that was asked."""
        ...

    @property
    def view(self) -> NodeView | None:
        """Its node."""
        ...

    @property
    def problem(self) -> IonetctlError | None:
        """Why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A node that is not as it should be, and what is to be done."""

    state: NodeState
    plan: NodePlan

    @property
    def host(self) -> Host:
        """The host that the node is."""
        return self.state.host


@dataclass(slots=True)
class NodeRollout:
    """One run over nodes; ``confirm`` asks whether the plan may be carried out.

    ``failed_before``, ``left_out`` and ``check_lease`` are as those of ``rollout.phases``; ``whole_plan`` is the action's, where its plans
    have more than changes.
    """

    action: NodeAction
    nodes: Sequence[LocatedNode]
    regions: Mapping[RegionName, Region]
    options: RolloutOptions
    slots: Slots
    emit: Emit
    clock: Clock
    stop: Stop
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]]
    check_lease: Callable[[], Awaitable[None]]
    whole_plan: Callable[[NodeState], NodePlan] | None = None
    failed_before: Collection[HostName] = ()
    left_out: Sequence[Outcome] = ()
    _agreed: frozenset[tuple[str, str]] = field(init=False, default=frozenset())
    _lost: LostRegions = field(init=False)
    _endings: Endings = field(init=False)
    _system_jobs: Mapping[RegionName, SystemJobs] = field(init=False)

    def __post_init__(self) -> None:
        self._lost, self._endings = LostRegions(self.emit), Endings(self.emit)
        self._system_jobs = {
            name: SystemJobs(name, region, self.emit) for name, region in self.regions.items()
        }

    async def run(self) -> ExitCode:
        """Do all of it; returns the exit code that the hosts earn."""
        planned = await self._plan_all()
        if self.options.goal is Goal.PLAN:
            return await self._finish_check(planned)
        await self._roll_out(planned)
        message = self.stop.reason.message if self.stop.reason else "the rollout ended before it"
        await self._skip_rest("not_begun", message, RESUME_HINT)
        return await self._endings.exit_code(self.stop, self.left_out, has_planned_changes=False)

    # --- plan --------------------------------------------------------------------------------------------------------

    async def _plan_all(self) -> list[PlannedNode]:
        """The nodes that are not as they should be, each with its plan, which is recorded; the others have their outcome."""
        planned: dict[HostName, PlannedNode] = {}

        async def work(located: LocatedNode) -> None:
            found = await self._planned(located)
            if isinstance(found, Outcome):
                await self._finish(located.host, found)
                return
            await self.emit(_announcement(found))
            if not self.options.lose_jobs and (loss := loss_of_jobs(found.plan.jobs)):
                await self._finish(located.host, outcomes.failed(located.host, "plan", loss))
                return
            # What else the plan has is made anew when it is carried out.
            planned[located.host.name] = replace(found, plan=NodePlan(found.plan.changes))

        await concurrently(self.nodes, work, self.slots, lambda: self.stop.is_requested)
        states = [each.state for each in planned.values()]
        self._agreed = frozenset((one.namespace, one.job) for state in states for one in state.allocations)
        return [planned[each.host.name] for each in self.nodes if each.host.name in planned]

    async def _planned(self, located: LocatedNode) -> PlannedNode | Outcome:
        host, view = located.host, located.view
        if view is None:
            return _not_found(host, located.problem)
        if host.region in self._lost.problems:
            return self._lost.leave(host, host.region)
        await self.emit(StepStarted(host=host.name, step="survey", attempt=1))
        try:
            state = await look(self.regions[host.region], host, view.id, at_jobs=self.action.at_jobs)
            plan = self._plan(state)
        except (HostError, RegionError, TrustError) as error:
            return replace(outcomes.failed(host, "survey", _as_nodes_own(error)), node_id=view.id)
        if not plan.changes:
            return _ended(Result.UNCHANGED, state, plan)
        return PlannedNode(state, plan)

    def _plan(self, state: NodeState) -> NodePlan:
        return self.whole_plan(state) if self.whole_plan else NodePlan(self.action.plan(state))

    async def _finish(self, host: Host, outcome: Outcome) -> None:
        """Record an outcome; a region that it shows to be lost is not asked again."""
        await self._lost.note(outcome)
        await self._endings.finish(host, outcome)

    # --- roll out ----------------------------------------------------------------------------------------------------

    async def _roll_out(self, planned: Sequence[PlannedNode]) -> None:
        allowed = self.options.strategy.max_failures.of(len(self.nodes))
        budget = FailureBudget.judged(allowed, self._endings.outcomes.values(), self.stop)
        if planned and not self.stop.is_requested:
            asking = self.confirm(self._endings.overview(len(planned)))
            await self.stop.unless_agreed(asking, self.emit, self.clock)
        rollout = Rollout(
            self.emit, self.slots, self._change, self._finish, budget, self.stop, self.failed_before
        )
        await rollout.run(waves(planned, self.options.strategy, self.failed_before))

    async def _change(self, planned: PlannedNode, _nonce: str) -> Outcome:
        """The outcome of changing a node; none is begun any more once the lease was lost, or the node's region."""
        host = planned.host
        await self.check_lease()
        if self.stop.reason is not None:
            return outcomes.skipped(host, "not_begun", self.stop.reason.message, RESUME_HINT)
        if host.region in self._lost.problems:
            return self._lost.leave(host, host.region)
        began_at_s = self.clock.monotonic()
        outcome = await self._changed(planned)
        return replace(outcome, duration_s=round(self.clock.monotonic() - began_at_s, 3), attempts=1)

    async def _changed(self, planned: PlannedNode) -> Outcome:
        """The node is looked at once more: somebody else may have changed it since it was planned."""
        host, node_id = planned.host, planned.state.view.id
        region, started = self.regions[host.region], None
        try:
            state = await look(region, host, node_id, at_jobs=self.action.at_jobs)
            plan = self._plan(state)
            if not plan.changes:
                return _ended(Result.UNCHANGED, state, plan)
            if not self.options.lose_jobs and (loss := loss_of_jobs(plan.jobs)):
                return replace(outcomes.failed(host, "plan", loss), node_id=node_id)
            await self.emit(StepStarted(host=host.name, step="apply", attempt=1))
            started = StartedNode(node_id, "")
            work = NodeWork(
                region,
                state,
                self.emit,
                self.clock,
                self.options.timeout_s,
                self._system_jobs[host.region],
                lambda: self.stop.is_requested,
                self._agreed,
            )
            began_at_s = self.clock.monotonic()
            await self.action.carry_out(work)
            took_s = round(self.clock.monotonic() - began_at_s, 3)
            await self.emit(StepFinished(host=host.name, step="apply", attempt=1, duration_s=took_s))
        except (HostError, RegionError, TrustError) as error:
            step = "apply" if started else "survey"
            return replace(
                outcomes.failed(host, step, _as_nodes_own(error), started=started), node_id=node_id
            )
        return _ended(Result.DONE, state, plan)

    # --- end ---------------------------------------------------------------------------------------------------------

    async def _finish_check(self, planned: Sequence[PlannedNode]) -> ExitCode:
        for each in planned:
            await self._endings.finish_planned(each.host, len(each.plan.changes))
        await self._skip_rest("not_begun", "the check ended before it", "")
        return await self._endings.exit_code(self.stop, self.left_out, has_planned_changes=bool(planned))

    async def _skip_rest(self, code: str, message: str, hint: str) -> None:
        await self._endings.skip_rest([each.host for each in self.nodes], code, message, hint)


def _announcement(planned: PlannedNode) -> HostPlanned:
    plan = planned.plan
    return HostPlanned(
        host=planned.host.name,
        changes=plan.changes,
        stamp=plan.stamp,
        allocations=tuple(one.name for one in planned.state.allocations),
        digests=dict(plan.digests),
        jobs=plan.jobs,
    )


def _ended(result: Result, state: NodeState, plan: NodePlan) -> Outcome:
    """The outcome of a node that is as it should be."""
    if plan.facts is None:
        return outcomes.of_node(state.host, result, state.view)
    return outcomes.confirmed(state.host, result, state.view, plan.facts, plan.stamp)


def _not_found(host: Host, problem: IonetctlError | None) -> Outcome:
    """The outcome of a host that its region was asked for in vain: its own failure, or the region's."""
    error = problem or RegionError("node_unknown", f"{host.region} does not know the host")
    return outcomes.failed(host, "survey", _as_nodes_own(error))


def _as_nodes_own(error: IonetctlError) -> IonetctlError:
    """What the region says of one node as that node's failure; any other error as it is."""
    if not isinstance(error, RegionError) or outcomes.is_regions_fault(error):
        return error
    kind = HostUnreachableError if error.code in _AWAY else HostFailedError
    return kind(error.code, error.message, error.hint)
