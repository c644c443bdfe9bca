"""The phases of a rollout, readable as one list.

Survey all, check the fleet, plan all, ask, go through the waves, account for what was left. What a phase does to one
host stands in ``host``, how waves and budgets work in ``waves`` and ``stop``.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ionetctl.checks import Fleet, FleetHost, blocking, check_fleet
from ionetctl.core.events import HostJudged, SshOpened, Warned
from ionetctl.core.model.outcome import SURVEYED, Outcome
from ionetctl.core.model.shared_values import SharedValues
from ionetctl.host import outcomes
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.pipeline import Blocked
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.release_node import marks
from ionetctl.host.survey import Surveyed
from ionetctl.placement.fences import check_fences
from ionetctl.rollout.assign_regions import place
from ionetctl.rollout.concurrently import concurrently
from ionetctl.rollout.endings import RESUME_HINT, Endings
from ionetctl.rollout.engines.jobs import AnnounceJob, EnrollJob, SurveyJob
from ionetctl.rollout.key_holders import KeyHolders
from ionetctl.rollout.lost_regions import LostRegions
from ionetctl.rollout.options import Goal
from ionetctl.rollout.settle_unchanged import UnchangedHosts
from ionetctl.rollout.stop import FailureBudget, Stop
from ionetctl.rollout.waves import Rollout, waves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Container, Coroutine, Mapping, Sequence

    from ionetctl.checks import KnownMachine
    from ionetctl.core.errors import ExitCode, IonetctlError
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.model.node import NodeView
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.rollout.assign_regions import Placed
    from ionetctl.rollout.concurrently import Slots
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.rollout.engines.jobs import Engine
    from ionetctl.rollout.options import RolloutOptions
    from ionetctl.rollout.waves import Wave

    Nodes = Mapping[RegionName, Sequence[NodeView]]
    Marks = Mapping[tuple[RegionName, NodeId], Mark]

_Item = TypeVar("_Item")


def _as_held(planned: PlannedHost, shared: SharedValues) -> PlannedHost:
    """A plan as it is held until the host's wave, beside those of thousands: a second survey makes the files again then."""
    bundle = planned.bundle.without_contents()
    return replace(planned, bundle=shared.of(bundle), plan=shared.of(planned.plan))


async def _always_held() -> None:
    """There is no lease that could be lost."""


@dataclass(slots=True)
class Phases:
    """One run over the hosts of a rollout; ``confirm`` asks whether the plan may be carried out.

    ``failed_before`` are hosts that failed before the rollout was resumed; ``left_out`` the outcomes of those that are not
    tried again, which count for the exit code; ``known`` the catalog's machines; ``listed`` all hosts of the inventory;
    ``reopened`` are hosts that the catalog knows as closed to SSH, ``installed`` those of which it has what lies there.
    ``check_lease`` is awaited before each host is begun, and requests the stop where the hosts may be another rollout's by now.
    """

    deps: Dependencies
    hosts: Sequence[Host]
    options: RolloutOptions
    slots: Slots
    engine: Engine
    stop: Stop
    confirm: Callable[[PlanOverview], Coroutine[Any, Any, bool]]
    failed_before: Collection[HostName] = ()
    left_out: Sequence[Outcome] = ()
    known: Sequence[KnownMachine] = ()
    listed: Sequence[Host] = ()
    check_lease: Callable[[], Awaitable[None]] = _always_held
    reopened: Collection[HostName] = ()
    installed: Container[tuple[RegionName, HostName, str]] = ()
    _blocked: list[Surveyed] = field(default_factory=list)
    _lost: LostRegions = field(init=False)
    _endings: Endings = field(init=False)

    def __post_init__(self) -> None:
        self._lost = LostRegions.of(self.deps.regions, self.deps.emit)
        self._endings = Endings(self.deps.emit, KeyHolders(self.listed, self.known))

    async def run(self) -> ExitCode:
        """Do all of it; returns the exit code that the hosts earn."""
        if self.options.goal is Goal.SURVEY:
            await self._judge(await self._survey_all())
            await self._skip_rest(SURVEYED, "the host was looked at, nothing else was asked for", "")
            return await self._exit_code(has_planned_changes=False)
        planned = await self._plan_all(await self._survey_all())
        if self.options.goal is Goal.PLAN:
            return await self._finish_check(planned)
        await self._roll_out(planned)
        message = self.stop.reason.message if self.stop.reason else "the rollout ended before it"
        await self._skip_rest("not_begun", message, RESUME_HINT)
        return await self._exit_code(has_planned_changes=False)

    # --- survey ------------------------------------------------------------------------------------------------------

    async def _survey_all(self) -> list[Surveyed]:
        """The hosts that can be worked with; the others have their outcome."""
        surveyed: list[Surveyed] = []
        shared = SharedValues()

        def kept(host: Host, found: Surveyed) -> Surveyed:
            """As it is held until its wave: what is the same on other hosts is held once."""
            return replace(found, host=host, facts=shared.of(found.facts), findings=shared.of(found.findings))

        async def work(host: Host) -> None:
            found = await self.engine.do(SurveyJob(host))
            if host.name in self.reopened and isinstance(found, Surveyed | Blocked):
                message = "a key was put back: SSH was used again (--rebootstrap)"
                await self.deps.emit(SshOpened(host=host.name, cause="rebootstrap", message=message))
            if isinstance(found, Surveyed):
                surveyed.append(kept(host, found))
            elif isinstance(found, Blocked):
                self._blocked.append(kept(host, found.surveyed))
                await self._endings.finish(host, found.outcome)
            else:
                await self._endings.finish(host, found)

        await self._concurrently(self.hosts, work)
        order = {host.name: position for position, host in enumerate(self.hosts)}
        surveyed.sort(key=lambda each: order[each.host.name])
        return surveyed

    async def _judge(self, surveyed: Sequence[Surveyed]) -> None:
        """What a preflight reports beside what each host shows by itself; regions that do not answer are done without."""
        nodes = await self.stop.unless_requested(self._nodes())
        if nodes is None:
            return
        placed = await self._place(surveyed, nodes)
        if placed.overfull:
            await self._warn(placed.overfull)
        for each in await self._without_doubles(placed.hosts, nodes):
            region = placed.waiting.get(each.host.name, each.host.region)
            if self._lost.is_untrusted(region):
                await self._endings.finish(each.host, self._lost.leave(each.host, region, each.facts))

    async def _nodes(self) -> Nodes:
        """The nodes of every region that answers."""
        asked = [name for name in self.deps.regions if name not in self._lost.problems]
        calls = (self._lost.ask(name, self.deps.regions[name].api.nodes()) for name in asked)
        answers = await asyncio.gather(*calls)
        return {name: views for name, views in zip(asked, answers, strict=True) if views is not None}

    # --- plan --------------------------------------------------------------------------------------------------------

    async def _plan_all(self, surveyed: Sequence[Surveyed]) -> list[PlannedHost]:
        """The hosts that differ, each with its plan; those that do not have their outcome.

        Nobody, once the end was asked for: what is planned then will not be carried out.
        """
        if self.stop.is_requested:
            return []
        nodes = await self.stop.unless_requested(self._nodes())
        if nodes is None:
            return []
        placed = await self._place(surveyed, nodes)
        if placed.overfull:
            raise placed.overfull
        sound = await self._without_doubles(placed.hosts, nodes)
        planned = await self.stop.unless_requested(self._plan_sound(sound, placed, nodes))
        if planned is None:
            return []
        differing = [each for each in planned if not each.plan.is_empty]
        unchanged = UnchangedHosts(
            self.deps, self.stop, self._lost, self._endings, self.options.changes_hosts, self.installed
        )
        differing += await unchanged.settle([each for each in planned if each.plan.is_empty])
        differing = [each.with_closing() for each in differing]
        await self._announce(differing)
        shared = SharedValues()
        return [_as_held(each, shared) for each in differing if each.host.name not in self._endings.outcomes]

    async def _plan_sound(self, sound: Sequence[Surveyed], placed: Placed, nodes: Nodes) -> list[PlannedHost]:
        """The plans of the hosts whose regions answer."""
        marked = await self._marks(nodes)
        healthy = await self._of_answering_regions(sound, placed.waiting)
        await self.deps.ensure_programs((each.host, each.facts) for each in healthy)
        return await self._plan(healthy, marked)

    async def _place(self, surveyed: Sequence[Surveyed], nodes: Nodes) -> Placed:
        """The hosts with their regions; those that no region can take have their outcome."""
        placed = await place(surveyed, self.deps.regions, nodes, self.deps.emit)
        for each, finding in placed.unplaced:
            await self.deps.emit(HostJudged(host=each.host.name, findings=(finding,)))
            error = outcomes.finding_error(finding)
            await self._endings.finish(each.host, outcomes.failed(each.host, "survey", error, each.facts))
        return placed

    async def _without_doubles(self, surveyed: Sequence[Surveyed], nodes: Nodes) -> list[Surveyed]:
        """The hosts that nothing in the fleet stands against; the others have their outcome."""
        limits = {
            name: tools.status.connections_per_client
            for name, tools in self.deps.regions.items()
            if tools.status
        }
        everyone = (*surveyed, *self._blocked)
        hosts = tuple(FleetHost(each.host, each.facts, each.node_name) for each in everyone)
        known, listed = tuple(self.known), tuple(self.listed)
        own_keys = frozenset(
            name for name, tools in self.deps.regions.items() if tools.settings.tls.key_on_host
        )
        findings = check_fleet(Fleet(hosts, nodes, limits, self.deps.releases, known, listed, own_keys))
        for name, found in findings.items():
            await self.deps.emit(HostJudged(host=name, findings=found))
        healthy = []
        for each in surveyed:
            if finding := blocking(findings.get(each.host.name, ())):
                error = outcomes.finding_error(finding)
                await self._endings.finish(each.host, outcomes.failed(each.host, "survey", error, each.facts))
            else:
                healthy.append(each)
        return healthy

    async def _marks(self, nodes: Nodes) -> Marks:
        """The mark of every node that the regions know."""
        found: dict[tuple[RegionName, NodeId], Mark] = {}
        for name, views in nodes.items():
            marked = await self._lost.ask(name, marks(self.deps.regions[name].api)) if views else {}
            found |= {(name, view.id): (marked or {}).get(view.id, Mark.RELEASED) for view in views}
        return found

    async def _of_answering_regions(
        self, surveyed: Sequence[Surveyed], waiting: Mapping[HostName, RegionName]
    ) -> list[Surveyed]:
        """The hosts whose regions answer; the others have their outcome. ``waiting``: for which region, where not their own."""
        answering = []
        for each in surveyed:
            region = waiting.get(each.host.name, each.host.region)
            if region in self._lost.problems:
                await self._endings.finish(each.host, self._lost.leave(each.host, region, each.facts))
            else:
                answering.append(each)
        return answering

    async def _plan(self, surveyed: Sequence[Surveyed], known: Marks) -> list[PlannedHost]:
        planner, nonce, shared = Planner(self.deps), secrets.token_hex(NONCE_BYTES), SharedValues()
        planned = []
        for each in surveyed:
            node_id = each.facts.nomad.node_id
            mark = known.get((each.host.region, node_id), Mark.NEW) if node_id else Mark.NEW
            # Signals, leases and the screen have their turn between thousands of plans.
            await asyncio.sleep(0)
            made = planner.plan_host(each, nonce, mark)
            planned.append(made if self.options.with_diffs else _as_held(made, shared))
        return planned

    async def _announce(self, differing: Sequence[PlannedHost]) -> None:
        """Record what is to be done on each host, before anything is; a host that this cannot be done for has its outcome."""
        planner = Planner(self.deps)

        async def announce(planned: PlannedHost) -> None:
            if self.options.with_diffs:
                outcome = await self.engine.do(AnnounceJob(planned))
            else:
                outcome = await planner.announce(planned)
            if outcome:
                await self._endings.finish(planned.host, outcome)

        await self._concurrently(differing, announce)

    async def _concurrently(
        self, items: Sequence[_Item], work: Callable[[_Item], Awaitable[None]]
    ) -> tuple[_Item, ...]:
        """The items that were not begun because the end was asked for."""
        return await concurrently(items, work, self.slots, lambda: self.stop.is_requested)

    # --- roll out ----------------------------------------------------------------------------------------------------

    async def _roll_out(self, planned: list[PlannedHost]) -> None:
        allowed = self.options.strategy.max_failures.of(len(self.hosts))
        budget = FailureBudget.judged(allowed, self._endings.outcomes.values(), self.stop)
        if planned and not self.stop.is_requested:
            asking = self.confirm(self._endings.overview(len(planned)))
            await self.stop.unless_agreed(asking, self.deps.emit, self.deps.clock)
        rollout = Rollout(
            self.deps.emit,
            self.slots,
            self._enroll,
            self._endings.finish,
            budget,
            self.stop,
            self.failed_before,
            self._ask_fences,
        )
        await rollout.run(self._waves(planned))

    async def _ask_fences(self, wave: Wave[PlannedHost]) -> None:
        """Lose the regions of a wave's hosts that no maintenance door may open in any more: a namespace may be new since they were asked."""
        if self.deps.releases and self.deps.releases.signers:
            names = {planned.host.region for planned in wave.hosts} - self._lost.problems.keys()
            await self.stop.unless_requested(self._lose_unfenced(sorted(names)))

    async def _lose_unfenced(self, names: Sequence[RegionName]) -> None:
        async def check(name: RegionName) -> None:
            check_fences(name, await self.deps.regions[name].api.namespaces())

        await asyncio.gather(*(self._lost.ask(name, check(name)) for name in names))

    def _waves(self, planned: list[PlannedHost]) -> tuple[Wave[PlannedHost], ...]:
        """The hosts in waves, and ``planned`` empty: what is known of a host is let go with its wave."""
        cut = waves(planned, self.options.strategy, self.failed_before)
        planned.clear()
        return cut

    async def _enroll(self, planned: PlannedHost, nonce: str) -> Outcome:
        """The outcome of carrying out a plan; no host is begun any more once the lease was lost, or the host's region."""
        host, facts = planned.host, planned.facts
        await self.check_lease()
        if self.stop.reason is not None:
            return outcomes.skipped(host, "not_begun", self.stop.reason.message, RESUME_HINT)
        if host.region in self._lost.problems:
            return self._lost.leave(host, host.region, facts)
        outcome = await self.engine.do(EnrollJob(planned, nonce))
        await self._lost.note(outcome)
        return outcome

    # --- end ---------------------------------------------------------------------------------------------------------

    async def _finish_check(self, planned: Sequence[PlannedHost]) -> ExitCode:
        for each in planned:
            await self._endings.finish_planned(each.host, len(each.plan.changes))
        await self._skip_rest("not_begun", "the check ended before it", "")
        return await self._exit_code(has_planned_changes=bool(planned))

    async def _skip_rest(self, code: str, message: str, hint: str) -> None:
        """Every host has an outcome, those too that the rollout did not come to."""
        await self._endings.skip_rest(self.hosts, code, message, hint)

    async def _warn(self, error: IonetctlError) -> None:
        await self.deps.emit(Warned(code=error.code, message=error.message, hint=error.hint))

    async def _exit_code(self, *, has_planned_changes: bool) -> ExitCode:
        return await self._endings.exit_code(
            self.stop, self.left_out, has_planned_changes=has_planned_changes
        )
