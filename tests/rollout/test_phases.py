"""A whole rollout on fake hosts: what stands between the first survey and the exit code."""

from __future__ import annotations

import asyncio
import gc
import pickle
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import pytest
from typing_extensions import TypeIs

from ionetctl.core import host_paths
from ionetctl.core.errors import (
    ConfigurationError,
    ExitCode,
    HostUnreachableError,
    RegionError,
    TrustError,
    UsageError,
)
from ionetctl.core.events import (
    HostFinished,
    HostInstalled,
    HostJudged,
    HostPlanned,
    KeyClosed,
    KeyClosing,
    PlanConfirmed,
    RolloutStopped,
    SshOpened,
    Warned,
    WaveStarted,
)
from ionetctl.core.model.host import AUTO_REGION, Host, SshSettings
from ionetctl.core.model.inventory import NomadSettings
from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.node import Namespace, RunningAllocation
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.model.plan import Action
from ionetctl.host.dependencies import RegionTools
from ionetctl.host.planned_host import PlannedHost
from ionetctl.plan.bundle import Door, build_bundle
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.endings import PlanOverview
from ionetctl.rollout.engines.inline import InlineEngine
from ionetctl.rollout.engines.jobs import EnrollJob, HostSteps, SurveyJob
from ionetctl.rollout.lost_regions import LostRegions
from ionetctl.rollout.options import Goal, RolloutOptions, Size, Strategy
from ionetctl.rollout.phases import Phases
from ionetctl.rollout.stop import Stop
from ionetctl.verification.node_watcher import NodeWatcher
from tests.support.fakes import (
    FENCED,
    WITHOUT_TOKEN,
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakeRegion,
    dependencies,
)
from tests.support.sample import (
    BARE,
    CARDS,
    EU_NORTH,
    HOST,
    REGION,
    SIGNERS,
    bundle,
    converged,
    drifted,
    subject,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.node import NodeMeta, NodeView
    from ionetctl.plan.bundle import Subject
    from ionetctl.rollout.engines.jobs import Engine, Job

    ResultOfJob = TypeVar("ResultOfJob")

US_EAST = RegionName("us-east")
SILENT = RegionError("region_unreachable", "nobody answers", "is it up?")
UNTRUSTED = TrustError("region_untrusted", "another CA")
FORBIDDEN = RegionError("region_forbidden", "the token may not")
OFF = HostUnreachableError("connect_timeout", "no answer", transient=True)
BROKEN = ("ready\tNONCE", "error\tdisk_full\tNo space left")


def host(number: int) -> Host:
    return replace(HOST, name=HostName(f"h{number}"), address=f"10.20.1.{number}")


def node_id(number: int) -> NodeId:
    return NodeId(f"00000000-0000-4000-8000-{number:012d}")


def of_host(number: int, make: Callable[..., Facts]) -> Facts:
    """The facts of a host of its own: what identifies a machine differs."""
    return own(make(bundle(host(number))), number)


def own(facts: Facts, number: int) -> Facts:
    """The facts as those of one machine among others: its machine-id, its cards, its node."""
    cards = tuple(replace(card, uuid=f"{card.uuid}-{number}") for card in facts.gpus or ())
    nomad = replace(facts.nomad, node_id=node_id(number))
    return replace(facts, machine_id=f"{number:032d}", gpus=cards, nomad=nomad)


def shown_as(number: int) -> NodeView:
    """The machine as its region shows it."""
    devices = tuple(replace(device, ids=tuple(f"{uuid}-{number}" for uuid in device.ids)) for device in CARDS)
    return view(f"h{number}", node_id(number), devices=devices)


def strategy(canary: int = 0, batch: str = "100%", failures: str = "100%") -> Strategy:
    return Strategy(canary, Size.parse(batch, "--batch-size"), Size.parse(failures, "--max-failures"))


@dataclass
class LosingEngine:
    """An engine whose workers end over some hosts, once they are surveyed."""

    inner: Engine
    losing: frozenset[HostName]

    async def do(self, job: Job[ResultOfJob]) -> ResultOfJob:
        if job.host.name in self.losing and not isinstance(job, SurveyJob):
            return job.lost(HostUnreachableError("worker_lost", "it ended, twice"))
        return await self.inner.do(job)


@dataclass
class CopyingEngine:
    """An engine like one of other processes: what it returns is copies. ``waited`` are the hosts as they waited for their wave."""

    inner: Engine
    waited: list[PlannedHost] = field(default_factory=list)

    async def do(self, job: Job[ResultOfJob]) -> ResultOfJob:
        if isinstance(job, EnrollJob):
            self.waited.append(job.planned)
        result: ResultOfJob = pickle.loads(pickle.dumps(await self.inner.do(job)))  # noqa: S301  (dumped here)
        return result


@dataclass
class Stage:
    """A rollout over hosts that are ``drifted``, unless ``converged``, ``bare``, ``broken`` (in their apply) or ``off``.

    Those ``away`` are of another region, ``other``.
    """

    count: int = 4
    converged: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()
    off: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    bare: frozenset[int] = frozenset()
    away: frozenset[int] = frozenset()
    strategy: Strategy = field(default_factory=strategy)
    goal: Goal = Goal.ENROLL
    with_diffs: bool = False
    agrees: bool | UsageError = True
    emit: Emitted = field(default_factory=Emitted)
    failed_before: frozenset[HostName] = frozenset()
    left_out: tuple[Outcome, ...] = ()
    is_unanswered: bool = False
    copies: list[CopyingEngine] | None = None
    """Where the engine is kept whose results are copies, if it is to be one."""
    losing: frozenset[HostName] = frozenset()
    holds: int = 1000
    """How many hosts are begun before the lease is lost."""
    closing: frozenset[int] = frozenset()
    reopened: frozenset[HostName] = frozenset()
    installed: frozenset[tuple[RegionName, HostName, str]] = frozenset()

    def __post_init__(self) -> None:
        self.region = FakeRegion()
        self.other = FakeRegion(clock=self.region.clock)
        self.stop = Stop()
        self.asked: list[PlanOverview] = []
        self.ensured: list[list[str]] = []
        self.intended = tuple(self._intended(number) for number in range(self.count))
        self.hosts = {host(number).name: self._host(number) for number in range(self.count)}
        refusals: dict[HostName, list[BaseException]] = {
            host(number).name: [OFF] * 100 for number in self.off
        }
        self.connector = FakeConnector(self.hosts, refusals)
        self.dependencies = dependencies(
            RolloutId("r-1"),
            self.connector,
            self.region,
            FakeIssuer(),
            self.emit,
            introduces=False,
            ensure_programs=self.ensure_programs,
        )
        if self.away:
            watcher = NodeWatcher(self.other, self.other.clock)
            settings = replace(REGION, name=US_EAST, introduction="off")
            tools = RegionTools(settings, self.other, watcher, FakeIssuer(), b"CA PEM\n", self.other.state)
            regions = {**self.dependencies.regions, US_EAST: tools}
            self.dependencies = replace(self.dependencies, regions=regions)

    def _intended(self, number: int) -> Host:
        intended = replace(host(number), region=US_EAST) if number in self.away else host(number)
        return replace(intended, ssh=SshSettings(close="key")) if number in self.closing else intended

    def _host(self, number: int) -> FakeHost:
        facts = own(
            (converged if number in self.converged else drifted)(bundle(self._intended(number))), number
        )
        region = self.other if number in self.away else self.region
        shown = shown_as(number)
        if number in self.bare:
            facts = own(BARE, number)
            facts = replace(facts, nomad=replace(facts.nomad, node_id=None))
        elif number not in self.unknown:
            region.show(shown, str(facts.nomad.stamp))
        script = BROKEN if number in self.broken else WITHOUT_TOKEN
        return FakeHost((facts,), (script,), region, shown)

    def silence(self, error: RegionError | TrustError) -> None:
        """Let the other region not have answered before the rollout."""
        tools = replace(self.dependencies.regions[US_EAST], status=None, trouble=error)
        regions = {**self.dependencies.regions, US_EAST: tools}
        self.dependencies = replace(self.dependencies, regions=regions)

    async def confirm(self, overview: PlanOverview) -> bool:
        self.asked.append(overview)
        await self.dependencies.clock.sleep(30)
        if self.is_unanswered:
            self.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
            await asyncio.Event().wait()
        if isinstance(self.agrees, UsageError):
            raise self.agrees
        return self.agrees

    async def ensure_programs(self, surveyed: Iterable[tuple[Host, Facts]]) -> None:
        self.ensured.append([host.name for host, _ in surveyed])

    async def run(self) -> ExitCode:
        options = RolloutOptions(
            "site.yaml", goal=self.goal, with_diffs=self.with_diffs, strategy=self.strategy
        )
        engine: Engine = InlineEngine(HostSteps(self.dependencies))
        if self.copies is not None:
            engine = CopyingEngine(engine)
            self.copies.append(engine)
        if self.losing:
            engine = LosingEngine(engine, self.losing)
        return await Phases(
            self.dependencies,
            self.intended,
            options,
            Slots(options.concurrency, self.dependencies.clock),
            engine,
            self.stop,
            self.confirm,
            self.failed_before,
            self.left_out,
            check_lease=self.check_lease,
            reopened=self.reopened,
            installed=self.installed,
        ).run()

    async def check_lease(self) -> None:
        self.holds -= 1
        if self.holds < 0:
            self.stop.request("lease_lost", "rollout r-2 of eve@ops has taken over h2", ExitCode.LOCKED)

    @property
    def outcomes(self) -> dict[str, Outcome]:
        events = [event for event in self.emit.events if isinstance(event, HostFinished)]
        assert len(events) == len({event.host for event in events})
        return {event.outcome.host: event.outcome for event in events}

    @property
    def endings(self) -> dict[str, str]:
        """By host the result, with the code of its problem where there is one."""
        return {
            name: f"{one.result.value} {one.problem.code}" if one.problem else one.result.value
            for name, one in sorted(self.outcomes.items())
        }

    @property
    def touched(self) -> list[str]:
        """The hosts that were sent anything."""
        return [name for name, one in self.hosts.items() if one.payloads]

    def told(self, kind: type[AnyEvent]) -> Sequence[AnyEvent]:
        return [event for event in self.emit.events if isinstance(event, kind)]


def endings(count: int, ending: str, **others: str) -> dict[str, str]:
    return {f"h{number}": ending for number in range(count)} | others


async def test_rollout_that_goes_well() -> None:
    """All hosts are enrolled, with their place told, and the exit code is 0."""
    stage = Stage()
    assert await stage.run() is ExitCode.OK
    assert stage.endings == endings(4, "enrolled")
    finished = stage.told(HostFinished)[0]
    assert isinstance(finished, HostFinished)
    assert (finished.node_pool, finished.rack, finished.stamp) == ("gpu", "a01", finished.outcome.stamp)


def with_door(intended: Host, name: str, facts: Facts) -> Subject:
    return replace(subject(intended, facts), node_name=name, door=Door(SIGNERS, b"#!/bin/sh\n"))


async def test_host_with_a_door_is_recorded_though_nothing_differs() -> None:
    """Unless the record has it as it is, and not by a check: an update is planned from it."""
    facts = own(converged(build_bundle(with_door(host(0), "h0", BARE))), 0)
    known = frozenset({(EU_NORTH, HostName("h0"), str(facts.nomad.stamp))})
    stages = [
        Stage(1),
        Stage(1, installed=known),
        Stage(1, goal=Goal.PLAN),
        Stage(1, converged=frozenset({0})),
    ]
    for stage in stages[:3]:
        stage.dependencies = replace(stage.dependencies, subject_of=with_door)
        stage.hosts[HostName("h0")].facts = (facts,)
        stage.region.show(shown_as(0), str(facts.nomad.stamp))
    for stage in stages:
        await stage.run()
    assert [stage.endings for stage in stages] == [{"h0": "unchanged"}] * 4
    [recorded], *others = [stage.told(HostInstalled) for stage in stages]
    assert isinstance(recorded, HostInstalled)
    assert (recorded.region, recorded.stamp, recorded.replaces) == (EU_NORTH, facts.nomad.stamp, None)
    assert {file.path: file.digest for file in recorded.installed.files} == facts.manifest
    assert others == [[], [], []]


async def test_converged_hosts_are_unchanged_and_not_sent_anything() -> None:
    """Where nothing differs and the region agrees, nothing is done."""
    stage = Stage(converged=frozenset({0, 1, 2}))
    assert await stage.run() is ExitCode.OK
    assert (stage.endings, stage.touched) == (
        {"h0": "unchanged", "h1": "unchanged", "h2": "unchanged", "h3": "enrolled"},
        ["h3"],
    )
    assert stage.asked == [PlanOverview(changing=1, unchanged=3, failed=0)]
    assert stage.told(PlanConfirmed) == [PlanConfirmed(waited_s=30.0)]


@pytest.mark.parametrize("with_diffs", [False, True], ids=["without-diffs", "with-diffs"])
async def test_hosts_that_wait_hold_once_what_they_have_in_common(with_diffs: bool) -> None:  # noqa: FBT001
    """A host of the inventory, changes and files are not copied, and no file's content is kept: it is made again."""
    copies: list[CopyingEngine] = []
    stage = Stage(count=2, with_diffs=with_diffs, copies=copies)
    assert await stage.run() is ExitCode.OK
    first, second = sorted(copies[0].waited, key=lambda planned: planned.host.name)
    assert first.facts.nomad.config_files is second.facts.nomad.config_files
    assert [
        file.content for planned in (first, second) for file in planned.bundle.files if file.content
    ] == []
    assert first.bundle.files[0].path is second.bundle.files[0].path
    shared = [one is other for one, other in zip(first.plan.changes, second.plan.changes, strict=True)]
    assert shared == [True] * len(first.plan.changes)


async def test_lost_lease_begins_no_further_host() -> None:
    """The rollout ends with 7 and names who has the hosts now; those that it did not come to say so."""
    stage = Stage(holds=2)
    assert await stage.run() is ExitCode.LOCKED
    assert (stage.endings, stage.touched) == (
        {"h0": "enrolled", "h1": "enrolled", "h2": "skipped not_begun", "h3": "skipped not_begun"},
        ["h0", "h1"],
    )
    assert stage.told(RolloutStopped) == [
        RolloutStopped(code="lease_lost", message="rollout r-2 of eve@ops has taken over h2")
    ]
    problem = stage.outcomes["h2"].problem
    assert problem is not None
    assert problem.message == "rollout r-2 of eve@ops has taken over h2"


async def test_hosts_that_are_to_be_closed_are_closed() -> None:
    """The converged one too: that is its only change, and it is sent nothing."""
    stage = Stage(count=3, converged=frozenset({0, 1}), closing=frozenset({0, 2}))
    assert await stage.run() is ExitCode.OK
    assert (stage.endings, stage.touched) == (
        {"h0": "enrolled", "h1": "unchanged", "h2": "enrolled"},
        ["h2"],
    )
    assert {event.host for event in stage.told(KeyClosed)} == {"h0", "h2"}
    last = {
        event.host: event.changes[-1].action
        for event in stage.told(HostPlanned)
        if isinstance(event, HostPlanned)
    }
    assert last == {"h0": Action.CLOSE, "h2": Action.CLOSE}


async def test_check_closes_nothing() -> None:
    """It says what would be, and that the console is the only way back then."""
    stage = Stage(count=1, converged=frozenset({0}), closing=frozenset({0}), goal=Goal.PLAN)
    assert await stage.run() is ExitCode.CHANGES
    (planned,) = stage.told(HostPlanned)
    assert isinstance(planned, HostPlanned)
    assert "the console is the only way back" in planned.changes[-1].reason
    assert (stage.told(KeyClosing), stage.connector.trials) == ([], [])


async def test_key_that_was_put_back_is_told() -> None:
    """Of hosts that were closed and let us in again, and of no other."""
    stage = Stage(count=3, off=frozenset({1}), reopened=frozenset({HostName("h0"), HostName("h1")}))
    await stage.run()
    assert [event.host for event in stage.told(SshOpened)] == ["h0"]


async def test_nothing_to_do_asks_nobody() -> None:
    """A rollout without changes has nothing to agree to and no wave."""
    stage = Stage(converged=frozenset(range(4)))
    assert await stage.run() is ExitCode.OK
    assert (stage.asked, stage.told(WaveStarted)) == ([], [])


async def test_converged_host_that_its_region_does_not_know_is_enrolled_again() -> None:
    """What is installed and not registered is not enrolled, and is planned as such."""
    stage = Stage(count=1, converged=frozenset({0}), unknown=frozenset({0}))
    await stage.run()
    [planned] = stage.told(HostPlanned)
    assert isinstance(planned, HostPlanned)
    assert (stage.endings, Action.REGISTER in {change.action for change in planned.changes}) == (
        {"h0": "enrolled"},
        True,
    )


async def test_each_host_is_confirmed_by_its_own_region() -> None:
    """What another region does not know of a host says nothing."""
    stage = Stage(count=2, converged=frozenset({0, 1}))
    away = replace(host(1), region=RegionName("us-west"))
    facts = own(converged(bundle(away)), 1)
    other = FakeRegion()
    other.show(shown_as(1), str(facts.nomad.stamp))
    stage.region.shown.pop(node_id(1))
    stage.hosts[away.name].facts = [facts]
    stage.intended = (host(0), away)
    settings = replace(REGION, name=RegionName("us-east"), introduction="off")
    watcher = NodeWatcher(other, other.clock)
    tools = RegionTools(settings, other, watcher, FakeIssuer(), b"CA PEM\n", other.state)
    stage.dependencies = replace(
        stage.dependencies, regions={**stage.dependencies.regions, away.region: tools}
    )
    await stage.run()
    assert stage.endings == endings(2, "unchanged")


async def test_converged_host_that_is_down_is_restarted_for_that_reason() -> None:
    """Where nothing differs and the region shows something else, a restart is planned, and told why."""
    stage = Stage(count=1, converged=frozenset({0}))
    [(shown, stamp)] = stage.region.shown.values()
    stage.region.show(replace(shown, status="down"), stamp)
    await stage.run()
    [planned] = stage.told(HostPlanned)
    assert isinstance(planned, HostPlanned)
    assert (stage.endings, planned.changes[-1].reason) == ({"h0": "enrolled"}, "the node is down")


async def test_node_that_somebody_made_ineligible_is_left_alone() -> None:
    """What was decided in the region is no reason for a restart."""
    stage = Stage(count=1, converged=frozenset({0}))
    [(shown, stamp)] = stage.region.shown.values()
    stage.region.show(replace(shown, eligibility="ineligible"), stamp)
    assert await stage.run() is ExitCode.UNVERIFIED
    assert (stage.endings, stage.touched) == ({"h0": "unverified node_ineligible"}, [])


async def test_held_node_in_the_wrong_pool_is_told_and_ends_nothing() -> None:
    """It is noted at its node why it stays held, and the other host is enrolled."""
    stage = Stage(count=2, converged=frozenset({0}))
    shown, stamp = stage.region.shown[node_id(0)]
    stage.region.show(replace(shown, node_pool="other", eligibility="ineligible"), stamp)
    stage.region.meta[node_id(0)] = {host_paths.ADMISSION_KEY: host_paths.HELD}
    assert await stage.run() is ExitCode.UNVERIFIED
    assert stage.endings == {"h0": "unverified wrong_node_pool", "h1": "enrolled"}
    assert stage.region.meta[node_id(0)][host_paths.ADMISSION_KEY] == "short: wrong_node_pool"


async def test_dead_host_holds_up_nobody() -> None:
    """The others are enrolled, and the exit code tells of the one."""
    stage = Stage(off=frozenset({1}))
    assert await stage.run() is ExitCode.UNREACHABLE
    assert stage.endings == endings(4, "enrolled", h1="unreachable connect_timeout")


async def test_doubled_machines_are_named_and_left_out() -> None:
    """Two hosts with one client-id are refused before anything is sent; the others go on."""
    stage = Stage()
    stage.hosts[HostName("h1")].facts = [of_host(0, drifted)]
    assert await stage.run() is ExitCode.TRUST
    cloned = "failed client_id_cloned"
    assert (stage.endings, stage.touched) == (endings(4, "enrolled", h0=cloned, h1=cloned), ["h2", "h3"])


async def test_hosts_that_are_blocked_count_among_the_fleet() -> None:
    """A clone is told apart from a host that has something else the matter with it, too."""
    stage = Stage(count=2, goal=Goal.SURVEY)
    clone = of_host(0, drifted)
    stage.hosts[HostName("h1")].facts = [replace(clone, is_root=False)]
    assert await stage.run() is ExitCode.TRUST
    assert stage.endings == {"h0": "failed client_id_cloned", "h1": "failed not_root"}


async def test_programs_are_made_ready_for_the_hosts_that_will_need_them() -> None:
    """Releases are fetched once the architectures are known, and for healthy hosts alone."""
    stage = Stage(off=frozenset({1}))
    await stage.run()
    assert stage.ensured == [["h0", "h2", "h3"]]


async def test_hosts_go_in_the_inventorys_order() -> None:
    """Whatever order surveys end in, waves are cut in the order of the inventory."""
    stage = Stage(strategy=strategy(canary=1, batch="2"))
    stage.connector.refusals[HostName("h0")] = [OFF]
    await stage.run()
    waves = [event.hosts for event in stage.told(WaveStarted) if isinstance(event, WaveStarted)]
    assert waves == [("h0",), ("h1", "h2"), ("h3",)]


async def test_each_wave_has_a_nonce_of_its_own() -> None:
    """The region is asked for a wave's nodes at once and not for all so far."""
    stage = Stage(strategy=strategy(batch="2"))
    await stage.run()
    stamps = [outcome.stamp.rpartition("-")[2] for _, outcome in sorted(stage.outcomes.items())]
    assert (stamps[0] == stamps[1], stamps[2] == stamps[3], stamps[0] == stamps[2]) == (True, True, False)


async def test_what_is_known_of_hosts_goes_with_their_wave() -> None:
    """Each wave begins with the plans of its own hosts and those of later waves in memory."""

    class Watched(Emitted):
        async def __call__(self, event: AnyEvent) -> None:
            await super().__call__(event)
            if isinstance(event, WaveStarted):
                kept.append(sorted({one.host.name for one in gc.get_objects() if is_ours(one)}))

    def is_ours(one: object) -> TypeIs[PlannedHost]:
        return isinstance(one, PlannedHost) and not any(one is other for other in others)

    gc.collect()
    others = [one for one in gc.get_objects() if isinstance(one, PlannedHost)]
    kept: list[list[str]] = []
    stage = Stage(strategy=strategy(canary=1, batch="2"), emit=Watched())
    await stage.run()
    assert kept == [["h0", "h1", "h2", "h3"], ["h1", "h2", "h3"], ["h3"]]


# --- check and survey alone ------------------------------------------------------------------------------------------


async def test_check_with_changes_ends_with_nine() -> None:
    """A check announces its plans, touches nothing and says so."""
    stage = Stage(count=2, converged=frozenset({0}), goal=Goal.PLAN)
    assert await stage.run() is ExitCode.CHANGES
    assert (stage.endings, stage.touched) == ({"h0": "unchanged", "h1": "skipped check"}, [])
    assert [event.host for event in stage.told(HostPlanned)] == ["h1"]


async def test_diffs_are_told_where_they_were_asked_for() -> None:
    """With --diff each plan comes with what changes in its files; without it no file is read."""
    plain, with_diffs = Stage(count=1, goal=Goal.PLAN), Stage(count=1, goal=Goal.PLAN, with_diffs=True)
    await plain.run()
    await with_diffs.run()
    assert [
        [diff.path for diff in event.diffs]
        for stage in (plain, with_diffs)
        for event in stage.told(HostPlanned)
        if isinstance(event, HostPlanned)
    ] == [[], [host_paths.DOCKER_CONFIG, host_paths.CLIENT_CONFIG]]


@pytest.mark.parametrize("goal", [Goal.PLAN, Goal.ENROLL])
async def test_plan_that_ends_workers_costs_its_host_alone(goal: Goal) -> None:
    """A host whose plan could not be recorded is not touched; the others go on."""
    stage = Stage(count=3, goal=goal, with_diffs=True, losing=frozenset({HostName("h1")}))
    await stage.run()
    others = "skipped check" if goal is Goal.PLAN else "enrolled"
    assert stage.endings == endings(3, others, h1="unreachable worker_lost")
    assert stage.touched == ([] if goal is Goal.PLAN else ["h0", "h2"])


async def test_plan_tells_of_jobs_on_many_hosts() -> None:
    """Every host is announced, those without jobs too."""
    stage = Stage(count=2, goal=Goal.PLAN)
    facts = stage.hosts[HostName("h1")].facts[0]
    assert not isinstance(facts, BaseException)
    stage.hosts[HostName("h1")].facts = [replace(facts, nomad=replace(facts.nomad, allocations=1))]
    stage.region.jobs = {node_id(1): (RunningAllocation("web.cache[0]", frozenset({"docker"})),)}
    await stage.run()
    planned = {e.host: e.allocations for e in stage.told(HostPlanned) if isinstance(e, HostPlanned)}
    assert planned == {"h0": (), "h1": ("web.cache[0]",)}


@pytest.mark.parametrize("with_diffs", [False, True], ids=["planner", "job"])
async def test_host_whose_jobs_would_be_lost_is_left_alone(*, with_diffs: bool) -> None:
    """Its plan is told, nothing is done to it, and the others go on."""
    stage = Stage(count=2, with_diffs=with_diffs)
    facts = stage.hosts[HostName("h1")].facts[0]
    assert not isinstance(facts, BaseException)
    machine = replace(facts.machine, nomad_drivers=("docker", "exec"))
    stage.hosts[HostName("h1")].facts = [
        replace(facts, nomad=replace(facts.nomad, allocations=1), machine=machine)
    ]
    stage.region.jobs = {node_id(1): (RunningAllocation("web.cache[0]", frozenset({"exec"})),)}
    assert await stage.run() is ExitCode.FAILED
    assert stage.endings == endings(2, "enrolled", h1="failed jobs_would_be_lost")
    assert (stage.touched, [one.failed for one in stage.asked]) == (["h0"], [1])


async def test_check_without_changes_ends_with_zero() -> None:
    """A converged fleet is what a check wants to see."""
    assert await Stage(count=2, converged=frozenset({0, 1}), goal=Goal.PLAN).run() is ExitCode.OK


async def test_survey_alone_touches_nothing() -> None:
    """A preflight looks at hosts, and at their regions' nodes for names that are taken."""
    stage = Stage(count=2, off=frozenset({1}), goal=Goal.SURVEY)
    assert await stage.run() is ExitCode.UNREACHABLE
    assert stage.endings == {"h0": "skipped surveyed", "h1": "unreachable connect_timeout"}
    assert (stage.region.queries, stage.touched) == ([(None, False)], [])


async def test_survey_alone_does_without_a_silent_region() -> None:
    """What hosts say is worth having where their region does not answer; that it did not is said."""
    stage = Stage(count=1, goal=Goal.SURVEY)
    stage.region.errors["nodes"] = [RegionError("region_unreachable", "nobody answers")]
    assert await stage.run() is ExitCode.OK
    assert [e.code for e in stage.emit.events if isinstance(e, Warned)] == ["region_unreachable"]
    assert stage.endings == {"h0": "skipped surveyed"}


async def test_survey_alone_asks_no_region_that_said_nothing_before() -> None:
    """Who did not answer at the beginning is not asked for nodes."""
    stage = Stage(count=1, goal=Goal.SURVEY)
    stage.dependencies = replace(
        stage.dependencies,
        regions={name: replace(tools, status=None) for name, tools in stage.dependencies.regions.items()},
    )
    assert await stage.run() is ExitCode.OK
    assert stage.region.queries == []


def smaller(stage: Stage, capacity: int) -> None:
    """Let the region carry so many nodes, the host's own not among them."""
    tools = stage.dependencies.regions[REGION.name]
    small = replace(tools, settings=replace(REGION, capacity=capacity))
    stage.dependencies = replace(stage.dependencies, regions={REGION.name: small})


@pytest.mark.parametrize("goal", list(Goal))
async def test_host_that_is_a_node_of_another_region_is_refused_before_anything_is_touched(
    goal: Goal,
) -> None:
    """To change its region is no enrolment: it would be in neither. What to do by hand is said; the other goes on."""
    stage = Stage(count=2, converged=frozenset({0}), goal=goal)
    facts = stage.hosts[HostName("h1")].facts[0]
    assert not isinstance(facts, BaseException)
    stage.hosts[HostName("h1")].facts = [
        replace(facts, machine=replace(facts.machine, nomad_region="us-east"))
    ]
    assert await stage.run() is ExitCode.FAILED
    assert (stage.endings["h1"], stage.touched) == ("failed node_of_other_region", [])
    problem = stage.outcomes["h1"].problem
    assert problem is not None
    assert (
        problem.message
        == f"its configuration makes it the node {node_id(1)} of region us-east, and the inventory says eu-north"
    )
    assert 'put region = "eu-north" back in /etc/nomad.d' in problem.hint
    assert "rm -r /opt/nomad/data/client" in problem.hint


async def test_survey_alone_tells_of_a_region_that_would_be_overfull() -> None:
    """A preflight warns of what would stop the rollout."""
    stage = Stage(count=2, unknown=frozenset({0, 1}), goal=Goal.SURVEY)
    smaller(stage, 1)
    assert await stage.run() is ExitCode.OK
    assert [e.code for e in stage.emit.events if isinstance(e, Warned)] == ["region_overfull"]


async def test_region_that_would_be_overfull_stops_before_any_change() -> None:
    """No host is touched, and the counts are said."""
    stage = Stage(count=2, unknown=frozenset({0, 1}))
    smaller(stage, 1)
    with pytest.raises(ConfigurationError, match="2 hosts would join eu-north"):
        await stage.run()
    assert stage.touched == []


async def test_host_that_no_region_takes_fails_alone() -> None:
    """The others are enrolled."""
    stage = Stage(count=2)
    stage.intended = (replace(stage.intended[0], region=AUTO_REGION), stage.intended[1])
    assert await stage.run() is ExitCode.FAILED
    assert stage.endings == {"h0": "failed no_region", "h1": "enrolled"}


async def test_survey_alone_judges_the_fleet() -> None:
    """Doubles show in a preflight, before anybody enrols anything."""
    stage = Stage(count=2, goal=Goal.SURVEY)
    stage.hosts[HostName("h1")].facts = [of_host(0, drifted)]
    assert await stage.run() is ExitCode.TRUST
    assert {e.host for e in stage.emit.events if isinstance(e, HostJudged)} == {"h0", "h1"}


# --- stopping --------------------------------------------------------------------------------------------------------


async def test_declined_plan_changes_nothing() -> None:
    """Whoever says no has every host left as it was, and exit code 2."""
    stage = Stage(count=2, agrees=False)
    assert await stage.run() is ExitCode.USAGE
    assert (stage.touched, stage.endings) == ([], endings(2, "skipped not_begun"))


async def test_signal_at_the_prompt_ends_the_run() -> None:
    """Nobody has to answer first: every host is left as it was, and the signal is the reason."""
    stage = Stage(count=2, is_unanswered=True)
    assert await stage.run() is ExitCode.INTERRUPTED
    assert (stage.touched, stage.endings) == ([], endings(2, "skipped not_begun"))
    assert stage.told(RolloutStopped) == [RolloutStopped(code="interrupted", message="SIGINT")]


@pytest.mark.parametrize("goal", [Goal.ENROLL, Goal.SURVEY])
async def test_signal_while_a_region_is_asked_ends_the_run(goal: Goal) -> None:
    """A region that does not answer is not waited for."""
    stage = Stage(count=2, goal=goal)

    async def nodes(*_: object, **__: object) -> Sequence[NodeView]:
        stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
        await asyncio.Event().wait()
        raise AssertionError

    stage.region.nodes = nodes  # type: ignore[method-assign]  # a region that does not answer
    assert await stage.run() is ExitCode.INTERRUPTED
    assert (stage.touched, [one.result for one in stage.outcomes.values()]) == ([], [Result.SKIPPED] * 2)


async def test_signal_while_programs_are_fetched_ends_the_run() -> None:
    """A download is not waited for."""
    stage = Stage(count=2)

    async def fetch(_: object) -> None:
        stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
        await asyncio.Event().wait()

    stage.dependencies = replace(stage.dependencies, ensure_programs=fetch)
    assert await stage.run() is ExitCode.INTERRUPTED
    assert stage.endings == endings(2, "skipped not_begun")


async def test_signal_while_converged_hosts_are_looked_up_ends_the_run() -> None:
    """A region that does not answer is not waited for where nothing is to be done either."""
    stage = Stage(count=2, converged=frozenset({0, 1}))
    nodes = stage.region.nodes

    async def silent_of_stamps(
        filter_expression: str | None = None, *, with_devices: bool = False
    ) -> Sequence[NodeView]:
        if filter_expression is None or host_paths.STAMP_KEY not in filter_expression:
            return await nodes(filter_expression, with_devices=with_devices)
        stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
        await asyncio.Event().wait()
        raise AssertionError

    stage.region.nodes = silent_of_stamps  # type: ignore[method-assign]  # a region that does not answer
    assert await stage.run() is ExitCode.INTERRUPTED
    assert stage.endings == endings(2, "skipped not_begun")


async def test_signal_while_marks_are_written_leaves_the_other_hosts() -> None:
    """The mark under way is written, and no other host's."""
    stage = Stage(count=2, converged=frozenset({0, 1}))
    stage.region.meta |= {node_id(number): {host_paths.ADMISSION_KEY: "held"} for number in (0, 1)}
    annotate = stage.region.annotate

    async def interrupted(node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
        return await annotate(node, meta)

    stage.region.annotate = interrupted  # type: ignore[method-assign]  # in the middle of a call
    assert await stage.run() is ExitCode.INTERRUPTED
    assert stage.endings == {"h0": "unchanged", "h1": "skipped not_begun"}
    assert [stage.region.meta[node_id(n)][host_paths.ADMISSION_KEY] for n in (0, 1)] == ["released", "held"]


async def test_marks_of_many_nodes_are_written_at_once() -> None:
    """No host waits for the region's answer about another; the order of the hosts stays theirs."""
    stage = Stage(count=3, converged=frozenset({0, 1, 2}))
    stage.region.meta |= {node_id(number): {host_paths.ADMISSION_KEY: "held"} for number in range(3)}
    annotate, all_ask = stage.region.annotate, asyncio.Barrier(3)

    async def together(node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        async with asyncio.timeout(10):
            await all_ask.wait()
        return await annotate(node, meta)

    stage.region.annotate = together  # type: ignore[method-assign]  # a region that answers late
    assert await stage.run() is ExitCode.OK
    assert stage.endings == endings(3, "unchanged")


async def test_region_that_is_lost_while_marks_are_written_is_not_asked_again() -> None:
    """It would be waited for by each of thousands of hosts; they are as they should be all the same."""
    stage = Stage(count=3, converged=frozenset({0, 1, 2}))
    stage.region.meta |= {node_id(number): {host_paths.ADMISSION_KEY: "held"} for number in range(3)}
    asked = []

    async def silent(node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        asked.append((node, meta))
        raise UNTRUSTED

    stage.region.annotate = silent  # type: ignore[method-assign]  # a region that fails in the middle
    assert await stage.run() is ExitCode.OK
    assert (len(asked), stage.endings) == (1, endings(3, "unchanged"))


async def test_host_that_failed_before_is_not_the_canary() -> None:
    """The first host that did not fail is."""
    stage = Stage(count=3, failed_before=frozenset({HostName("h0")}), strategy=strategy(canary=1))
    assert await stage.run() is ExitCode.OK
    canary = stage.told(WaveStarted)[0]
    assert isinstance(canary, WaveStarted)
    assert (canary.is_canary, canary.hosts) == (True, ("h1",))


async def test_hosts_that_are_left_out_count_for_the_exit_code() -> None:
    """A failed host that is not tried again has still failed."""
    failed = Outcome(HostName("h9"), "10.0.0.9", REGION.name, "rey1", Result.FAILED)
    stage = Stage(count=1, left_out=(failed,))
    assert await stage.run() is ExitCode.FAILED
    assert stage.endings == endings(1, "enrolled")


async def test_error_while_asking_comes_out() -> None:
    """A question that cannot be put ends the rollout before any host is touched."""
    stage = Stage(count=1, agrees=UsageError("no_terminal", "nobody can be asked"))
    with pytest.raises(UsageError):
        await stage.run()
    assert stage.touched == []


async def test_too_many_failures_in_the_surveys_begin_no_wave() -> None:
    """What failed before the first wave counts, and then nobody is asked."""
    stage = Stage(strategy=strategy(failures="1"))
    for name in ("h0", "h1"):
        stage.hosts[HostName(name)].facts = [replace(BARE, is_root=False, machine_id=name, gpus=())]
    assert await stage.run() is ExitCode.STOPPED
    assert (stage.asked, stage.told(WaveStarted)) == ([], [])
    assert stage.endings["h3"] == "skipped not_begun"


async def test_too_many_failures_in_a_wave_stop_the_rest() -> None:
    """Hosts after the one too many are not begun, and the way to go on is told."""
    stage = Stage(broken=frozenset({0, 1}), strategy=strategy(batch="1", failures="1"))
    assert await stage.run() is ExitCode.STOPPED
    failed, skipped = "failed disk_full", "skipped not_begun"
    assert stage.endings == {"h0": failed, "h1": failed, "h2": skipped, "h3": skipped}
    left = stage.outcomes["h3"].problem
    assert left is not None
    assert (left.message, left.hint) == (
        "2 hosts failed, 1 may (--max-failures)",
        "run the same command with --resume",
    )


async def test_unreachable_hosts_are_not_counted() -> None:
    """A rack without power is no bad rollout."""
    stage = Stage(off=frozenset({0, 1}), strategy=strategy(failures="0"))
    assert await stage.run() is ExitCode.UNREACHABLE
    assert sorted(stage.touched) == ["h2", "h3"]


async def test_signal_during_the_survey_begins_nothing_else() -> None:
    """After a signal no region is asked, nothing fetched and nothing planned; every host has its outcome."""
    stage = Stage(count=3)
    stage.stop.request("interrupted", "SIGINT", ExitCode.INTERRUPTED)
    assert await stage.run() is ExitCode.INTERRUPTED
    assert (stage.endings, stage.ensured, stage.region.queries) == (
        endings(3, "skipped not_begun"),
        [],
        [],
    )
    assert stage.told(RolloutStopped) == [RolloutStopped(code="interrupted", message="SIGINT")]


async def test_check_that_was_stopped_says_so() -> None:
    """A signal is told by the exit code of a check too."""
    stage = Stage(count=1, goal=Goal.PLAN)
    stage.stop.request("terminated", "SIGTERM", ExitCode.TERMINATED)
    assert await stage.run() is ExitCode.TERMINATED
    assert stage.endings == {"h0": "skipped not_begun"}


# --- regions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "exit_code"), [(SILENT, ExitCode.UNVERIFIED), (UNTRUSTED, ExitCode.TRUST)])
async def test_dead_region_leaves_its_hosts_and_no_others(
    error: RegionError | TrustError, exit_code: ExitCode
) -> None:
    """They are skipped, unverified where they are installed already, and name the region; the rest is enrolled."""
    stage = Stage(bare=frozenset({2}), away=frozenset({1, 2, 3}), converged=frozenset({3}))
    stage.silence(error)
    assert await stage.run() is exit_code
    unverified, skipped = f"unverified {error.code}", f"skipped {error.code}"
    assert stage.endings == {"h0": "enrolled", "h1": unverified, "h2": skipped, "h3": unverified}
    assert (stage.touched, stage.other.queries) == (["h0"], [])
    problem = stage.outcomes["h2"].problem
    assert problem is not None
    assert (problem.message, problem.exit_code) == (
        f"region us-east: {error.message}; nothing was changed on the host",
        exit_code,
    )


async def test_hosts_of_a_dead_region_count_among_the_fleet() -> None:
    """A clone is found although the region of one of the two does not answer."""
    stage = Stage(count=3, away=frozenset({1}))
    stage.hosts[HostName("h1")].facts = [of_host(0, drifted)]
    stage.silence(SILENT)
    assert await stage.run() is ExitCode.TRUST
    cloned = "failed client_id_cloned"
    assert stage.endings == {"h0": cloned, "h1": cloned, "h2": "enrolled"}


@pytest.mark.parametrize("answers", [0, 1, 3], ids=["nodes", "marks", "stamped"])
async def test_region_that_fails_after_the_survey_is_reported_and_left(answers: int) -> None:
    """Whatever it is asked for then: its hosts are left, and it is said once."""
    stage = Stage(count=2, converged=frozenset({0, 1}), away=frozenset({1}))

    def fail() -> None:
        if len(stage.other.queries) > answers:
            stage.other.errors["nodes"] = [SILENT]

    stage.other.at_look = fail
    assert await stage.run() is ExitCode.UNVERIFIED
    assert stage.endings == {"h0": "unchanged", "h1": "unverified region_unreachable"}
    warnings = [(e.code, e.message) for e in stage.emit.events if isinstance(e, Warned)]
    assert warnings == [("region_unreachable", "region us-east: nobody answers")]


async def test_check_of_a_dead_region_does_not_end_with_nine() -> None:
    """That the plan is not the whole plan comes first."""
    stage = Stage(count=2, away=frozenset({1}), goal=Goal.PLAN)
    stage.silence(SILENT)
    assert await stage.run() is ExitCode.UNVERIFIED


async def test_survey_alone_does_not_do_without_trust() -> None:
    """A preflight ends with 6 where a region is not trusted, and with 0 where it is only dead."""
    for error, exit_code, ending in (
        (UNTRUSTED, ExitCode.TRUST, "unverified region_untrusted"),
        (SILENT, ExitCode.OK, "skipped surveyed"),
    ):
        stage = Stage(count=2, away=frozenset({1}), goal=Goal.SURVEY)
        stage.silence(error)
        assert await stage.run() is exit_code
        assert stage.endings == {"h0": "skipped surveyed", "h1": ending}


@pytest.mark.parametrize("error", [FORBIDDEN, SILENT])
async def test_region_that_goes_away_in_a_wave_stops_its_own_hosts_alone(error: RegionError) -> None:
    """Those under way are unverified, those after them are not begun, and no budget counts any of them."""
    stage = Stage(
        count=6,
        bare=frozenset({3, 5}),
        away=frozenset({1, 3, 5}),
        strategy=strategy(canary=1, batch="1", failures="0"),
    )

    def fail() -> None:
        if stage.hosts[HostName("h1")].payloads:
            stage.other.errors["nodes"] = [error]

    stage.other.at_look = fail
    assert await stage.run() is ExitCode.UNVERIFIED
    skipped = f"skipped {error.code}"
    assert stage.endings == endings(6, "enrolled", h1=f"unverified {error.code}", h3=skipped, h5=skipped)
    assert (stage.touched, stage.told(RolloutStopped)) == (["h0", "h1", "h2", "h4"], [])
    assert [e.message for e in stage.emit.events if isinstance(e, Warned)] == [
        f"region us-east: {error.message}"
    ]


@pytest.mark.parametrize(
    ("signers", "late"),
    [(("key",), "unverified namespace_unfenced"), ((), "enrolled")],
    ids=["door", "no-door"],
)
async def test_namespace_that_is_made_in_a_rollout_keeps_doors_from_later_waves(
    signers: tuple[str, ...], late: str
) -> None:
    """The fences are looked at before each wave: the region's other hosts are left, those of other regions go on."""
    stage = Stage(count=4, away=frozenset({1, 3}), strategy=strategy(batch="2", failures="0"))
    stage.dependencies = replace(
        stage.dependencies, releases=NomadSettings("2.0.5", "1.1.0", signers=signers)
    )

    def make_namespace() -> None:
        if stage.hosts[HostName("h1")].payloads:
            stage.other.seen = replace(FENCED, namespaces=(*FENCED.namespaces, Namespace("team")))

    stage.other.at_look = make_namespace
    assert await stage.run() is (ExitCode.UNVERIFIED if signers else ExitCode.OK)
    assert stage.endings == endings(4, "enrolled", h3=late)
    assert stage.touched == ["h0", "h1", "h2", *(() if signers else ("h3",))]
    assert stage.told(RolloutStopped) == []


async def test_region_that_two_hosts_lose_at_once_is_told_once() -> None:
    """Both are under way when it goes away."""
    stage = Stage(count=2, away=frozenset({0, 1}))

    def fail() -> None:
        if all(one.payloads for one in stage.hosts.values()):
            stage.other.errors["nodes"] = [SILENT] * 2

    stage.other.at_look = fail
    await stage.run()
    assert stage.endings == endings(2, "unverified region_unreachable")
    assert len([event for event in stage.emit.events if isinstance(event, Warned)]) == 1


async def test_broken_journal_ends_everything() -> None:
    """Where nothing can be recorded, nothing more is done."""
    broken = ConfigurationError("journal_broken", "disk full")
    stage = Stage(count=2, emit=Emitted(error=broken, from_=13))
    with pytest.raises(ExceptionGroup) as caught:
        await stage.run()
    leaves = [error for error in caught.value.exceptions if error is not broken]
    assert (leaves, stage.connector.open) == ([], 0)


def test_results_name_every_ending() -> None:
    """The words that ``endings`` compares are those of the contract."""
    assert {Result.ENROLLED, Result.UNCHANGED, Result.SKIPPED} < set(Result)


@pytest.mark.parametrize(("allowed", "ending"), [(False, "failed nomad_downgrade"), (True, "enrolled")])
async def test_no_host_gets_an_older_nomad_unnoticed(*, allowed: bool, ending: str) -> None:
    """A host with a newer Nomad than the inventory names is refused before anything is sent, unless that was said."""
    stage = Stage(count=2)
    releases = NomadSettings("2.0.5", "1.1.0", allow_downgrade=allowed)
    stage.dependencies = replace(stage.dependencies, releases=releases)
    newer = of_host(0, drifted)
    nomad = replace(newer.nomad, agent_version="Nomad v2.1.0")
    stage.hosts[HostName("h0")].facts = [replace(newer, nomad=nomad)] * 2
    await stage.run()
    assert (stage.endings, "h0" in stage.touched) == (endings(2, "enrolled", h0=ending), allowed)


async def test_node_that_cannot_be_asked_does_not_lose_its_region() -> None:
    """It is told; the other hosts of the region go on."""
    emit = Emitted()
    lost = LostRegions(emit)

    async def silent() -> str:
        raise RegionError("node_silent", "no answer")

    assert await lost.ask(US_EAST, silent()) is None
    assert (lost.problems, emit.names) == ({}, ["Warned"])
