"""A change of many nodes: which are changed, what each one's end is, and what one sick node or region costs the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ionetctl.core.errors import ExitCode, IonetctlError, RegionError
from ionetctl.core.events import HostFinished, HostPlanned, WaveStarted
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.core.model.node import DrainSpec, NodeView, RunningAllocation
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.maintenance.drains import Drain
from ionetctl.maintenance.meta_changes import SetMeta
from ionetctl.maintenance.node_actions import Exclude
from ionetctl.maintenance.node_rollout import NodeRollout
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.options import Goal, RolloutOptions, Size, Strategy
from ionetctl.rollout.stop import Stop
from tests.maintenance.test_node_actions import MARK
from tests.support.fakes import Emitted, FakeRegion
from tests.support.sample import EU_NORTH, HOST, view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.host import Host
    from ionetctl.maintenance.node_actions import NodeAction
    from ionetctl.rollout.endings import PlanOverview

US_EAST = RegionName("us-east")
EXCLUDE = Exclude("ops@ctl", "2026-11-27T12:00:00Z", "fan noise")
DRAIN = Drain("ops@ctl", "new fans", DrainSpec(3600.0), waits=False)


def node_id(number: int) -> NodeId:
    return NodeId(f"00000000-0000-4000-8000-{number:012d}")


@dataclass(frozen=True)
class Located:
    """``LocatedNode``."""

    host: Host
    view: NodeView | None
    problem: IonetctlError | None = None


@dataclass
class Sick(FakeRegion):
    """A region in which calls of some methods fail for some nodes."""

    sick: dict[tuple[str, NodeId], BaseException] = field(default_factory=dict)
    looks: dict[NodeId, int] = field(default_factory=dict)
    at_node: Callable[[NodeId, int], Awaitable[None]] | None = None
    """Runs before a node is looked at, with the count of the look."""

    async def node(self, node: NodeId) -> Any:
        self.looks[node] = self.looks.get(node, 0) + 1
        if self.at_node is not None:
            await self.at_node(node, self.looks[node])
        self._fail_of("node", node)
        return await super().node(node)

    async def metadata(self, node: NodeId) -> Any:
        self._fail_of("metadata", node)
        return await super().metadata(node)

    async def annotate(self, node: NodeId, meta: Any) -> Any:
        self._fail_of("annotate", node)
        return await super().annotate(node, meta)

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        self._fail_of("set_eligibility", node)
        await super().set_eligibility(node, is_eligible=is_eligible)

    def _fail_of(self, method: str, node: NodeId) -> None:
        if error := self.sick.get((method, node)):
            raise error


@dataclass
class Stage:
    """A rollout over nodes of ``EU_NORTH``; those ``away`` are of another region."""

    count: int = 3
    away: frozenset[int] = frozenset()
    options: RolloutOptions = field(
        default_factory=lambda: RolloutOptions("catalog", strategy=strategy(), timeout_s=60.0)
    )
    agrees: bool = True
    problems: dict[int, IonetctlError] = field(default_factory=dict)
    left_out: tuple[Outcome, ...] = ()
    failed_before: frozenset[HostName] = frozenset()

    def __post_init__(self) -> None:
        self.region, self.emit, self.stop = Sick(), Emitted(), Stop()
        self.other = Sick(clock=self.region.clock)
        self.asked: list[PlanOverview] = []
        self.leases = 0
        self.nodes = [self._located(number) for number in range(self.count)]

    def _located(self, number: int) -> Located:
        region = self.other if number in self.away else self.region
        name = US_EAST if number in self.away else EU_NORTH
        host = replace(HOST, name=HostName(f"h{number}"), region=name)
        if number in self.problems:
            return Located(host, None, self.problems[number])
        shown = replace(view(), id=node_id(number), name=host.name)
        region.show(shown, "stamp")
        return Located(host, shown)

    async def confirm(self, overview: PlanOverview) -> bool:
        self.asked.append(overview)
        return self.agrees

    async def check_lease(self) -> None:
        self.leases += 1

    async def run(self, action: NodeAction = EXCLUDE) -> ExitCode:
        clock = self.region.clock
        rollout = NodeRollout(
            action=action,
            nodes=self.nodes,
            regions={EU_NORTH: self.region, US_EAST: self.other},
            options=self.options,
            slots=Slots(self.options.concurrency, clock),
            emit=self.emit,
            clock=clock,
            stop=self.stop,
            confirm=self.confirm,
            check_lease=self.check_lease,
            failed_before=self.failed_before,
            left_out=self.left_out,
        )
        return await rollout.run()

    def told(self, kind: type[AnyEvent]) -> list[Any]:
        return [event for event in self.emit.events if isinstance(event, kind)]

    @property
    def endings(self) -> dict[str, str]:
        """How each node ended, with the code of its problem."""
        return {
            event.outcome.host: " ".join(
                [event.outcome.result, *([event.outcome.problem.code] if event.outcome.problem else [])]
            )
            for event in self.told(HostFinished)
        }

    @property
    def eligible(self) -> list[str]:
        shown = [*self.region.shown.values(), *self.other.shown.values()]
        return sorted(node.name for node, _ in shown if node.eligibility == "eligible")


def strategy(canary: int = 0, batch: str = "100%", failures: str = "100%") -> Strategy:
    return Strategy(canary, Size.parse(batch, "--batch-size"), Size.parse(failures, "--max-failures"))


def waves_of(stage: Stage) -> list[Sequence[str]]:
    return [event.hosts for event in stage.told(WaveStarted)]


async def test_all_nodes_are_changed_after_one_question() -> None:
    """Each has its plan before, and its outcome after; the lease is looked at before each."""
    stage = Stage()
    assert await stage.run() is ExitCode.OK
    assert (stage.endings, stage.eligible) == (dict.fromkeys(("h0", "h1", "h2"), "done"), [])
    assert [event.host for event in stage.told(HostPlanned)] == ["h0", "h1", "h2"]
    assert ([one.changing for one in stage.asked], stage.leases) == ([3], 3)


async def test_node_that_is_as_it_should_be_is_unchanged() -> None:
    """Where all are, nobody is asked."""
    stage = Stage()
    await stage.run()
    again = Stage()
    again.region = stage.region
    assert await again.run() is ExitCode.OK
    assert (again.endings, again.asked) == (dict.fromkeys(("h0", "h1", "h2"), "unchanged"), [])


async def test_check_ends_with_the_plan() -> None:
    """Exit code 9, and nothing is changed."""
    stage = Stage()
    stage.options = replace(stage.options, goal=Goal.PLAN)
    assert await stage.run() is ExitCode.CHANGES
    assert (stage.endings["h0"], len(stage.eligible), stage.asked) == ("skipped check", 3, [])


async def test_plan_that_is_not_agreed_to_changes_nothing() -> None:
    """The nodes are skipped."""
    stage = Stage(agrees=False)
    assert await stage.run() is ExitCode.USAGE
    assert (set(stage.endings.values()), len(stage.eligible)) == ({"skipped not_begun"}, 3)


async def test_canary_goes_alone() -> None:
    """Never one that failed before; after its failure no other node is begun."""
    stage = Stage(failed_before=frozenset({HostName("h0")}))
    stage.options = replace(stage.options, strategy=strategy(canary=1, batch="1"))
    stage.region.sick["set_eligibility", node_id(1)] = RegionError("node_failing", "500")
    assert await stage.run() is ExitCode.STOPPED
    assert (waves_of(stage), stage.endings) == (
        [("h1",)],
        {"h1": "failed node_failing", "h0": "skipped not_begun", "h2": "skipped not_begun"},
    )


async def test_node_that_changed_since_its_plan_is_left_alone() -> None:
    """Somebody else did it meanwhile."""
    stage = Stage(count=1)

    async def at_node(node: NodeId, look: int) -> None:
        if look == 2:
            await Sick.set_eligibility(stage.region, node, is_eligible=False)
            await Sick.annotate(stage.region, node, dict(MARK))

    stage.region.at_node = at_node
    assert await stage.run() is ExitCode.OK
    assert stage.endings == {"h0": "unchanged"}


# --- one sick node, one sick region ------------------------------------------------------------------------------------


async def test_sick_node_costs_itself_alone() -> None:
    """While it is looked at or changed; the others of its region go on."""
    stage = Stage(count=5)
    stage.region.sick = {
        ("node", node_id(0)): RegionError("node_failing", "500"),
        ("set_eligibility", node_id(1)): RegionError("node_failing", "500"),
        ("node", node_id(2)): RegionError("node_silent", "no answer"),
        ("set_eligibility", node_id(3)): RegionError("node_unknown", "purged"),
    }
    assert await stage.run() is ExitCode.FAILED
    assert stage.endings == {
        "h0": "failed node_failing",
        "h1": "failed node_failing",
        "h2": "unreachable node_silent",
        "h3": "failed node_unknown",
        "h4": "done",
    }


async def test_node_whose_agent_hangs_is_excluded_all_the_same() -> None:
    """Its metadata is the servers'; what is to be written into it has to wait."""
    stage = Stage(count=2)
    silent = RegionError("node_silent", "no answer")
    stage.region.sick = {("metadata", node_id(0)): silent, ("annotate", node_id(0)): silent}
    assert await stage.run() is ExitCode.OK
    assert (stage.endings, stage.eligible) == ({"h0": "done", "h1": "done"}, [])
    assert "Warned" in stage.emit.names
    meta = Stage(count=2)
    meta.region.sick = dict(stage.region.sick)
    assert await meta.run(SetMeta({"site_row": "7"})) is ExitCode.UNREACHABLE
    assert meta.endings == {"h0": "unreachable node_disconnected", "h1": "done"}


async def test_region_that_fails_is_lost_with_its_nodes_alone() -> None:
    """It is not asked again; the nodes of the other region go on."""
    stage = Stage(count=4, away=frozenset({1, 3}))
    stage.options = replace(stage.options, strategy=strategy(batch="1"))
    stage.other.sick["set_eligibility", node_id(1)] = RegionError("region_failing", "500")
    assert await stage.run() is ExitCode.UNVERIFIED
    assert stage.endings == {
        "h0": "done",
        "h1": "unverified region_failing",
        "h2": "done",
        "h3": "skipped region_failing",
    }
    assert stage.other.looks[node_id(3)] == 1


async def test_host_that_its_region_does_not_know_has_failed() -> None:
    """One whose region cannot be asked is skipped with it."""
    unknown = RegionError("node_unknown", "no such node", "enrol the host")
    stage = Stage(problems={0: unknown, 1: RegionError("region_unreachable", "nobody answers")})
    assert await stage.run() is ExitCode.FAILED
    assert (stage.endings["h0"], stage.endings["h1"]) == ("failed node_unknown", "skipped region_unreachable")


# --- its end ---------------------------------------------------------------------------------------------------------


async def test_end_that_is_asked_for_leaves_the_rest() -> None:
    """What was begun is finished."""
    stage = Stage()
    stage.options = replace(stage.options, strategy=strategy(batch="1"))

    async def at_node(node: NodeId, look: int) -> None:
        if (node, look) == (node_id(1), 2):
            stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)

    stage.region.at_node = at_node
    assert await stage.run() is ExitCode.INTERRUPTED
    assert stage.endings == {"h0": "done", "h1": "done", "h2": "skipped not_begun"}


async def test_lost_lease_begins_no_other_node() -> None:
    """Another rollout has its host now."""
    stage = Stage(count=2)
    stage.options = replace(stage.options, strategy=strategy(batch="1"))

    async def lost() -> None:
        stage.stop.request("lease_lost", "another has it", ExitCode.LOCKED)

    stage.check_lease = lost  # type: ignore[method-assign]  # a lease that is lost
    assert await stage.run() is ExitCode.LOCKED
    assert (stage.endings, len(stage.eligible)) == ({"h0": "skipped not_begun", "h1": "skipped not_begun"}, 2)


async def test_nodes_that_are_left_out_count_for_the_exit_code() -> None:
    """A node that failed and is not tried again has still failed."""
    failed = Outcome(HostName("h9"), "10.0.0.9", EU_NORTH, "rey1", Result.FAILED)
    assert await Stage(count=1, left_out=(failed,)).run() is ExitCode.FAILED


# --- jobs that nobody was asked about --------------------------------------------------------------------------------


def running(job: str) -> RunningAllocation:
    return RunningAllocation(f"{job}.g[0]", job=job, namespace="default", job_type="service")


async def test_jobs_that_the_plan_found_may_move_from_node_to_node() -> None:
    """What was drained from the first node runs on the second then; only a job that was on neither is asked about again."""
    stage = Stage()
    stage.options = replace(stage.options, strategy=strategy(batch="1"))
    stage.region.jobs[node_id(0)] = (running("web"),)

    async def at_node(node: NodeId, look: int) -> None:
        if look == 2:
            job = {node_id(1): "web", node_id(2): "train"}.get(node)
            stage.region.jobs[node] = (running(job),) if job else ()

    stage.region.at_node = at_node
    assert await stage.run(DRAIN) is ExitCode.FAILED
    assert stage.endings == {"h0": "done", "h1": "done", "h2": "failed jobs_placed_since"}
    assert stage.eligible == ["h2"]
