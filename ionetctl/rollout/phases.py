"""The phases of a rollout, readable as one list.

Survey all, check the fleet, plan all, ask, go through the waves, account for what was left. What a phase does to one
host stands in ``pipeline``, how waves and budgets work in ``rollout``.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.checks import FleetHost, blocking, check_fleet
from ionetctl.core.errors import ExitCode, HostUnverifiedError, RegionError
from ionetctl.core.events import HostFinished, HostJudged, Warned
from ionetctl.core.model.node import NodeView
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host import outcomes
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.pipeline import Blocked
from ionetctl.host.release_node import Mark, marks
from ionetctl.host.survey import Surveyed
from ionetctl.rollout.assign_regions import place
from ionetctl.rollout.waves import FailureBudget, Rollout, Stop, Strategy, Wave, waves
from ionetctl.summary.rollout_summary import decide_exit_code
from ionetctl.verification.registrar import ELIGIBLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.ports import Emit, Engine
    from ionetctl.host.dependencies import RegionTools
    from ionetctl.host.pipeline import Pipeline, PlannedHost
    from ionetctl.rollout.assign_regions import Placed

BEYOND_A_RESTART: Final = frozenset(
    {
        "docker_unhealthy",
        "gpu_model_mismatch",
        "node_ineligible",
        "nvidia_runtime_missing",
        "wrong_datacenter",
        "wrong_node_pool",
    }
)
"""What somebody decided, or what stands in the host: to restart the agent would change nothing."""
RESUME_HINT: Final = "run the same command with --resume"


@dataclass(frozen=True, slots=True)
class PlanOverview:
    """What a person is asked to agree to."""

    changing: int
    unchanged: int
    failed: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be done with the hosts. ``is_check`` stops after the plan, ``surveys_only`` before it."""

    hosts: tuple[Host, ...]
    strategy: Strategy
    is_check: bool = False
    surveys_only: bool = False
    with_diffs: bool = False


@dataclass(slots=True)
class Phases:
    """One run over the hosts of a rollout.

    ``prepare_programs`` makes the releases for the architectures that were found available; ``confirm`` asks whether
    the plan may be carried out.
    """

    intent: Intent
    pipeline: Pipeline
    regions: Mapping[RegionName, RegionTools]
    engine: Engine
    emit: Emit
    stop: Stop
    prepare_programs: Callable[[Iterable[Surveyed]], Awaitable[None]]
    confirm: Callable[[PlanOverview], Awaitable[bool]]
    _outcomes: dict[HostName, Outcome] = field(default_factory=dict)
    _nonces: dict[int, str] = field(default_factory=dict)
    _blocked: list[Surveyed] = field(default_factory=list)

    async def run(self) -> ExitCode:
        """Do all of it; returns the exit code that the hosts earn."""
        surveyed = await self._survey_all()
        if self.intent.surveys_only:
            await self._judge(surveyed)
            await self._account_for_rest(
                outcomes.SURVEYED, "the host was looked at, nothing else was asked for", ""
            )
            return await self._exit_code(has_planned_changes=False)
        prepared = await self._plan_all(surveyed)
        if self.intent.is_check:
            return await self._finish_check(prepared)
        await self._roll_out(prepared)
        message = self.stop.reason.message if self.stop.reason else "the rollout ended before it"
        await self._account_for_rest("not_begun", message, RESUME_HINT)
        return await self._exit_code(has_planned_changes=False)

    async def _survey_all(self) -> list[Surveyed]:
        """The hosts that can be worked with; the others have their outcome."""
        surveyed: list[Surveyed] = []

        async def work(host: Host) -> None:
            found = await self.pipeline.survey(host)
            if isinstance(found, Surveyed):
                surveyed.append(found)
            elif isinstance(found, Blocked):
                self._blocked.append(found.surveyed)
                await self._finish(host, found.outcome)
            else:
                await self._finish(host, found)

        await self.engine.run(self.intent.hosts, work, lambda: self.stop.is_requested)
        order = {host.name: position for position, host in enumerate(self.intent.hosts)}
        surveyed.sort(key=lambda one: order[one.host.name])
        return surveyed

    async def _plan_all(self, surveyed: Sequence[Surveyed]) -> list[PlannedHost]:
        """The hosts that differ, each with its plan; those that do not have their outcome.

        Nobody, once the end was asked for: what is planned then will not be carried out.
        """
        if self.stop.is_requested:
            return []
        nodes = {name: await tools.region.nodes() for name, tools in self.regions.items() if tools.status}
        placed = await self._place(surveyed, nodes)
        if placed.overfull:
            raise placed.overfull
        healthy = await self._without_doubles(placed.hosts, nodes)
        await self.prepare_programs(healthy)
        known = await self._marks(nodes)
        prepared = [await self._prepare(one, known) for one in healthy]
        converged = [one for one in prepared if one.plan.is_empty]
        differing = [one for one in prepared if not one.plan.is_empty]
        words = await self._confirm_converged(converged)
        settled = [await self._settle(one, words[one.host.name], known) for one in converged]
        differing += [one for one in settled if one is not None]
        await self._announce(differing)
        return differing

    async def _settle(
        self,
        one: PlannedHost,
        word: NodeView | HostUnverifiedError,
        known: Mapping[tuple[RegionName, NodeId], Mark],
    ) -> PlannedHost | None:
        """Finish a host where nothing differs, unless a restart may change what its region says of it."""
        facts = one.surveyed.facts
        if isinstance(word, NodeView):
            if word.eligibility != ELIGIBLE:
                return self.pipeline.to_release(one)
            if not self.intent.is_check:
                await self.pipeline.settle_mark(one, word)
            outcome = outcomes.confirmed(one.host, Result.UNCHANGED, word, facts, one.plan.stamp)
        elif word.code in BEYOND_A_RESTART:
            if not self.intent.is_check:
                await self.pipeline.refuse(one, word)
            outcome = outcomes.failed(one.host, "confirm", word, facts)
        else:
            return await self._prepare(one.surveyed, known, unconfirmed=word.message)
        await self._finish(one.host, outcome)
        return None

    async def _marks(
        self, nodes: Mapping[RegionName, Sequence[NodeView]]
    ) -> dict[tuple[RegionName, NodeId], Mark]:
        """What the regions say of the admission of every node that they know."""
        found: dict[tuple[RegionName, NodeId], Mark] = {}
        for name, views in nodes.items():
            marked = await marks(self.regions[name].region) if views else {}
            found |= {(name, view.id): marked.get(view.id, Mark.RELEASED) for view in views}
        return found

    async def _announce(self, differing: Sequence[PlannedHost]) -> None:
        """Record what is to be done on each host, before anything is."""
        if self.intent.with_diffs:
            await self.engine.run(
                differing, self.pipeline.announce_with_diffs, lambda: self.stop.is_requested
            )
        else:
            for one in differing:
                await self.pipeline.announce(one)

    async def _judge(self, surveyed: Sequence[Surveyed]) -> None:
        """What a preflight says beside what each host shows by itself."""
        nodes = await self._nodes_if_told()
        placed = await self._place(surveyed, nodes)
        if placed.overfull:
            error = placed.overfull
            await self.emit(Warned(code=error.code, message=error.message, hint=error.hint))
        await self._without_doubles(placed.hosts, nodes)

    async def _place(
        self, surveyed: Sequence[Surveyed], nodes: Mapping[RegionName, Sequence[NodeView]]
    ) -> Placed:
        """The hosts with their regions; those that no region can take have their outcome."""
        placed = await place(surveyed, self.regions, nodes, self.emit)
        for one, finding in placed.homeless:
            await self.emit(HostJudged(host=one.host.name, findings=(finding,)))
            error = outcomes.finding_error(finding)
            await self._finish(one.host, outcomes.failed(one.host, "survey", error, one.facts))
        return placed

    async def _nodes_if_told(self) -> dict[RegionName, Sequence[NodeView]]:
        """The nodes of the regions that answer: a survey is worth having without them."""
        nodes: dict[RegionName, Sequence[NodeView]] = {}
        for name, tools in self.regions.items():
            if tools.status is None:
                continue
            try:
                nodes[name] = await tools.region.nodes()
            except RegionError as error:
                await self.emit(Warned(code=error.code, message=error.message, hint=error.hint))
        return nodes

    async def _without_doubles(
        self, surveyed: Sequence[Surveyed], nodes: Mapping[RegionName, Sequence[NodeView]]
    ) -> list[Surveyed]:
        limits = {
            name: tools.status.connections_per_client for name, tools in self.regions.items() if tools.status
        }
        everyone = (*surveyed, *self._blocked)
        fleet = (FleetHost(one.host, one.facts, one.node_name) for one in everyone)
        findings = check_fleet(fleet, nodes, limits)
        for name, found in findings.items():
            await self.emit(HostJudged(host=name, findings=found))
        healthy = []
        for one in surveyed:
            if finding := blocking(findings.get(one.host.name, ())):
                error = outcomes.finding_error(finding)
                await self._finish(one.host, outcomes.failed(one.host, "survey", error, one.facts))
            else:
                healthy.append(one)
        return healthy

    async def _prepare(
        self, one: Surveyed, known: Mapping[tuple[RegionName, NodeId], Mark], unconfirmed: str | None = None
    ) -> PlannedHost:
        node_id = one.facts.nomad.node_id
        mark = known.get((one.host.region, node_id), Mark.NEW) if node_id else Mark.NEW
        await asyncio.sleep(0)  # signals, leases and the screen have their turn between thousands of plans
        return await self.pipeline.plan_host(one, self._nonce(0), mark, unconfirmed=unconfirmed)

    async def _confirm_converged(
        self, converged: Sequence[PlannedHost]
    ) -> dict[HostName, NodeView | HostUnverifiedError]:
        """What the regions say of hosts where nothing differs."""
        words: dict[HostName, NodeView | HostUnverifiedError] = {}
        for region, tools in self.regions.items():
            of_region = [one for one in converged if one.host.region == region]
            if of_region:
                words |= await self.pipeline.confirm_converged(tools, of_region)
        return words

    async def _roll_out(self, prepared: Sequence[PlannedHost]) -> None:
        strategy = self.intent.strategy
        budget = FailureBudget(strategy.max_failures.of(len(self.intent.hosts)))
        for outcome in self._outcomes.values():
            budget.count(outcome)
        rollout = Rollout(self.emit, self.engine, self._enroll, self._finish_prepared, budget, self.stop)
        rollout.check_budget()
        if prepared and not self.stop.is_requested and not await self.confirm(self._overview(prepared)):
            self.stop.request(
                "declined", "the plan was not agreed to, so nothing was changed", ExitCode.USAGE
            )
        await rollout.run(waves(prepared, strategy))

    def _overview(self, prepared: Sequence[PlannedHost]) -> PlanOverview:
        unchanged = sum(outcome.result is Result.UNCHANGED for outcome in self._outcomes.values())
        return PlanOverview(len(prepared), unchanged, len(self._outcomes) - unchanged)

    async def _enroll(self, prepared: PlannedHost, wave: Wave) -> Outcome:
        return await self.pipeline.enroll(prepared, self._nonce(wave.index))

    def _nonce(self, wave: int) -> str:
        """One nonce a wave, so that the region is asked for a wave's nodes at once and not for all so far."""
        return self._nonces.setdefault(wave, secrets.token_hex(NONCE_BYTES))

    async def _finish_prepared(self, prepared: PlannedHost, outcome: Outcome) -> None:
        await self._finish(prepared.host, outcome)

    async def _finish(self, host: Host, outcome: Outcome) -> None:
        self._outcomes[host.name] = outcome
        await self.emit(
            HostFinished(
                host=host.name, outcome=outcome, node_pool=host.node_pool, rack=host.rack, stamp=outcome.stamp
            )
        )

    async def _finish_check(self, prepared: Sequence[PlannedHost]) -> ExitCode:
        for one in prepared:
            count = len(one.plan.changes)
            outcome = outcomes.skipped(one.host, "check", f"{count} changes planned, nothing changed", "")
            await self._finish(one.host, outcome)
        await self._account_for_rest("not_begun", "the check ended before it", "")
        return await self._exit_code(has_planned_changes=bool(prepared))

    async def _account_for_rest(self, code: str, message: str, hint: str) -> None:
        """Every host has an outcome, those too that nobody came to."""
        for host in self.intent.hosts:
            if host.name not in self._outcomes:
                await self._finish(host, outcomes.skipped(host, code, message, hint))

    async def _exit_code(self, *, has_planned_changes: bool) -> ExitCode:
        await self.stop.tell(self.emit)
        stop_code = self.stop.reason.code if self.stop.reason else None
        return decide_exit_code(self._outcomes.values(), stop_code, has_planned_changes=has_planned_changes)
