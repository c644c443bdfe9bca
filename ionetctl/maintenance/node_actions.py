"""What can be done with a node through its region's API: planned from its state, purely, then carried out until the region shows it.

Each action is a value. This module has what keeps jobs from a node and lets it have them again; others stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError, HostUnreachableError, HostUnverifiedError, RegionError
from ionetctl.core.events import NodeProgressed, Warned
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.core.model.plan import Action, Change
from ionetctl.core.plural import counted
from ionetctl.host.outcomes import OF_AGENT
from ionetctl.maintenance.node_state import NOT_EXCLUDED, Exclusion, look

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.names import Digest, HostName
    from ionetctl.core.model.node import NodeDetail
    from ionetctl.core.model.plan import PlannedJob
    from ionetctl.core.ports import Clock, Emit, Region
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.maintenance.system_jobs import SystemJobs

ELIGIBILITY: Final = "eligibility"
EXCLUSION: Final = "exclusion"
HOLD: Final = "hold"
RUN_AGAIN: Final = "look at the node, and run again"
FIRST_POLL_S: Final = 0.5
POLL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class NodeWork:
    """What an action works with on one node; ``timeout_s`` is how long the region may take to show a change.

    ``system_jobs`` are those of the node's region; ``is_stopped`` says that the end of the rollout was asked for; ``agreed`` are the
    jobs, by namespace and id, that the plan found on the nodes that it changes.
    """

    region: Region
    state: NodeState
    emit: Emit
    clock: Clock
    timeout_s: float
    system_jobs: SystemJobs
    is_stopped: Callable[[], bool]
    agreed: Collection[tuple[str, str]]

    async def look(self, *, at_jobs: bool = False) -> NodeState:
        """The node as it stands by now."""
        return await look(self.region, self.state.host, self.state.view.id, at_jobs=at_jobs)

    async def detail(self) -> NodeDetail:
        """The node in full. Raises ``HostUnverifiedError`` where the region does not know it any more."""
        found = await self.region.node(self.state.view.id)
        if found is None:
            raise HostUnverifiedError("node_unknown", "the node has gone meanwhile", "was it purged?")
        return found

    async def annotate(self, meta: dict[str, str | None]) -> None:
        """Write a mark. A node that cannot be asked now is warned of, and changes nothing of what was done."""
        try:
            await self.region.annotate(self.state.view.id, meta)
        except RegionError as error:
            if error.code not in OF_AGENT:
                raise
            hint = "run again once it is back"
            message = f"{error.message}: it does not say what was done and why"
            await self.emit(Warned(host=self.name, code="mark_unwritten", message=message, hint=hint))

    @property
    def name(self) -> HostName:
        """The host's name."""
        return self.state.host.name

    async def progress(self, waits_for: str, left: int | None = None) -> None:
        """Say what is still waited for."""
        await self.emit(NodeProgressed(host=self.name, waits_for=waits_for, left=left))

    async def until(self, is_so: Callable[[NodeDetail], bool], error: HostUnverifiedError) -> None:
        """Return once the region shows it. Raises ``error`` when ``timeout_s`` is over."""
        ends_at_s, delay_s = self.clock.monotonic() + self.timeout_s, FIRST_POLL_S
        while not is_so(await self.detail()):
            if self.clock.monotonic() >= ends_at_s:
                raise error
            await self.clock.sleep(delay_s)
            delay_s = min(2 * delay_s, POLL_S)


def words(**given: str | bool) -> tuple[str, ...]:
    """What was given, as ``name=value``, and by its name alone what is so."""
    told = {name.replace("_", "-"): value for name, value in given.items() if value}
    return tuple(name if value is True else f"{name}={value}" for name, value in told.items())


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What is to be done with a node; all beside ``changes`` is known only where the host itself is changed.

    ``stamp`` is that of its configuration afterwards, ``facts`` are those that the plan was made from.
    """

    changes: tuple[Change, ...]
    stamp: str = ""
    jobs: tuple[PlannedJob, ...] = ()
    digests: Mapping[str, Digest] = field(default_factory=dict)
    facts: Facts | None = None


class NodeAction(Protocol):
    """One kind of change; ``name`` is that of the rollout, ``at_jobs`` says that its plan needs to know what runs there."""

    name: ClassVar[str]
    at_jobs: ClassVar[bool]

    @property
    def details(self) -> tuple[str, ...]:
        """What tells it from others of its name, as words: a rollout is resumed with the same."""
        ...

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """The changes that the node needs, none where it is as it should be. Raises ``HostFailedError`` where it must not be changed."""
        ...

    async def carry_out(self, work: NodeWork) -> None:
        """Make the changes, and return once the region shows them. Raises ``HostError``, and what the region raises."""
        ...


@dataclass(frozen=True, slots=True)
class Exclude:
    """Keep new jobs from a node; those that run there go on. ``at`` is RFC 3339."""

    name: ClassVar[str] = "exclude"
    at_jobs: ClassVar[bool] = True
    by: str
    at: str
    reason: str = ""

    @property
    def details(self) -> tuple[str, ...]:
        """Why; not who and when, which are those of the process."""
        return words(reason=self.reason)

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """Its eligibility, and who wants that and why."""
        known, changes = state.exclusion, list[Change]()
        if known is None and not (state.is_eligible or state.reachable):
            message = "the node cannot be asked, so that it is excluded cannot be noted: who else holds it may release it"
            raise HostUnreachableError("node_disconnected", message, "run again once it is back")
        if state.is_eligible:
            stay = (
                f"; {counted(len(state.allocations), 'allocation')} go on there" if state.allocations else ""
            )
            changes.append(Change(Action.EXCLUDE, ELIGIBILITY, f"no new jobs{stay}"))
        if state.reachable and (known is None or self.reason not in ("", known.reason)):
            before = f" instead of: {known}" if known else ""
            changes.append(Change(Action.ANNOTATE, EXCLUSION, f"{self.reason or 'no reason given'}{before}"))
        return tuple(changes)

    async def carry_out(self, work: NodeWork) -> None:
        """Eligibility first: jobs are kept away even where the rest is cut off, and the next run completes it."""
        state = work.state
        if state.is_eligible:
            await work.region.set_eligibility(state.view.id, is_eligible=False)
        if state.exclusion is None or self.reason not in ("", state.exclusion.reason):
            await work.annotate(Exclusion(self.by, self.at, self.reason).meta)
            # Whoever released the node meanwhile has not seen the mark.
            await work.region.set_eligibility(state.view.id, is_eligible=False)
        error = HostUnverifiedError("node_eligible", "the region still lets the node have jobs", RUN_AGAIN)
        await work.until(lambda node: node.view.eligibility != ELIGIBLE, error)


@dataclass(frozen=True, slots=True)
class Include:
    """Let a node have jobs again, whoever kept them from it; ``force`` also where ionetctl holds it for want of proof."""

    name: ClassVar[str] = "include"
    at_jobs: ClassVar[bool] = False
    force: bool = False

    @property
    def details(self) -> tuple[str, ...]:
        """Whether by force."""
        return words(force=self.force)

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """Its eligibility, and that the exclusion is over."""
        if state.view.is_draining:
            message = "the node is being drained"
            raise HostFailedError("node_draining", message, "end that first: ionetctl nodes drain --cancel")
        if state.hold is not None and not self.force:
            message = f"ionetctl holds the node: {state.hold}"
            hint = "mend that and enrol the host again, which lets it have jobs; --force includes it as it is"
            raise HostFailedError("node_unproved", message, hint)
        changes = []
        if not state.is_eligible:
            changes.append(Change(Action.INCLUDE, ELIGIBILITY, _why_ineligible(state)))
        if state.exclusion is not None and state.reachable:
            changes.append(Change(Action.ANNOTATE, EXCLUSION, f"taken back: {state.exclusion}"))
        if self.force and state.mark_of_hold is not None and state.reachable:
            changes.append(Change(Action.ANNOTATE, HOLD, f"taken back: {state.mark_of_hold}"))
        return tuple(changes)

    async def carry_out(self, work: NodeWork) -> None:
        """Eligibility first, so that what a cut-off leaves still says who excluded it; then its system jobs are looked for."""
        state = work.state
        if not state.is_eligible:
            await work.region.set_eligibility(state.view.id, is_eligible=True)
        marks = dict(NOT_EXCLUDED) if state.exclusion is not None else {}
        if self.force and state.mark_of_hold is not None:
            marks |= {host_paths.ADMISSION_KEY: host_paths.RELEASED, host_paths.ADMISSION_REASON_KEY: None}
        if marks:
            await work.annotate(marks)
        error = HostUnverifiedError("node_ineligible", "the region still keeps jobs from the node", RUN_AGAIN)
        await work.until(lambda node: node.view.eligibility == ELIGIBLE, error)
        await work.system_jobs.bring_back(work)


def _why_ineligible(state: NodeState) -> str:
    """Who kept jobs from a node, as far as it is known."""
    last = state.detail.drain
    if state.exclusion is not None:
        return str(state.exclusion)
    if state.hold is not None:
        return f"held by ionetctl: {state.hold}"
    return f"drained at {last.started_at}" if last is not None else "somebody made it ineligible"
