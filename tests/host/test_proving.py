"""From an apply to a node that may have jobs, and nodes that are held where nothing else differs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import ExitCode
from ionetctl.core.events import (
    HostConfirmed,
    HostFinished,
    HostPlanned,
    NodeHeld,
    NodeReleased,
    StepStarted,
    announces_change,
)
from ionetctl.core.model.host import CheckRule, Host
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.outcome import Outcome, Severity
from ionetctl.core.model.plan import Action
from ionetctl.core.observed import Docker, MachineFacts
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.engines.inline import InlineEngine
from ionetctl.rollout.engines.jobs import HostSteps
from ionetctl.rollout.options import Goal, RolloutOptions, Size, Strategy
from ionetctl.rollout.phases import Phases
from ionetctl.rollout.stop import Stop
from tests.support.fakes import (
    RECEIVE,
    START,
    WITH_TOKEN,
    WITHOUT_TOKEN,
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakeRegion,
    Line,
    dependencies,
)
from tests.support.sample import BARE, HOST, NODE_ID, bundle, converged, drifted, view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeMeta, NodeView
    from ionetctl.rollout.endings import PlanOverview

HELD = view(eligibility="ineligible")
NEW = replace(drifted(bundle()), nomad=BARE.nomad)
ONE_LOST = replace(BARE, gpus=tuple(replace(card, is_lost=card.index == 1) for card in BARE.gpus or ()))
WITH_DOCKER = replace(BARE, machine=MachineFacts(docker=Docker("27.3.1")))
HANGING = replace(BARE, gpus=None, is_driver_hanging=True)
START_FAILED: Sequence[Line] = (
    *RECEIVE,
    *START[:-1],
    "error\tstart_timeout\tsystemctl start did not end in 90 s",
)


@dataclass
class Stage:
    """A rollout over one host, whose region shows ``shown`` with its stamp, marked as ``admission`` says."""

    facts: Facts = field(default_factory=lambda: converged(bundle()))
    shown: NodeView | None = HELD
    admission: str = host_paths.HELD
    registers_as: NodeView = HELD
    apply: Sequence[Line] = WITHOUT_TOKEN
    probed_after: Facts | None = None
    host: Host = HOST
    is_check: bool = False
    agrees: bool = True

    def __post_init__(self) -> None:
        self.emit = Emitted()
        self.region = FakeRegion()
        if self.shown is not None:
            self.region.show(self.shown, str(self.facts.nomad.stamp))
            self.region.meta[NODE_ID] = {host_paths.ADMISSION_KEY: self.admission}
        self.fake = FakeHost(
            (self.facts,), (self.apply,), self.region, self.registers_as, probed_after=self.probed_after
        )
        connector = FakeConnector({self.host.name: self.fake})
        self.connections = connector.connections
        self.dependencies = dependencies(RolloutId("r-1"), connector, self.region, FakeIssuer(), self.emit)

    async def run(self) -> ExitCode:
        async def confirm(_: PlanOverview) -> bool:
            return self.agrees

        strategy = Strategy(0, Size.parse("100%", "--batch-size"), Size.parse("100%", "--max-failures"))
        goal = Goal.PLAN if self.is_check else Goal.ENROLL
        options = RolloutOptions("site.yaml", goal=goal, strategy=strategy)
        return await Phases(
            self.dependencies,
            (self.host,),
            options,
            Slots(1, self.dependencies.clock),
            InlineEngine(HostSteps(self.dependencies)),
            Stop(),
            confirm,
        ).run()

    @property
    def outcome(self) -> Outcome:
        [finished] = self.told(HostFinished)
        assert isinstance(finished, HostFinished)
        return finished.outcome

    @property
    def ending(self) -> str:
        problem = self.outcome.problem
        return f"{self.outcome.result.value} {problem.code}" if problem else self.outcome.result.value

    @property
    def planned(self) -> list[Action]:
        return [change.action for event in self.told(HostPlanned) for change in getattr(event, "changes", ())]

    def told(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        return [event for event in self.emit.events if isinstance(event, kind)]

    @property
    def standing(self) -> tuple[str, str | None]:
        """The node's eligibility, and what its metadata says of its admission."""
        node, _ = self.region.shown[NODE_ID]
        return node.eligibility, self.region.meta.get(NODE_ID, {}).get(host_paths.ADMISSION_KEY)


# --- after an apply --------------------------------------------------------------------------------------------------


async def test_new_node_is_released() -> None:
    """It is probed once more, and is then eligible and marked as released."""
    stage = Stage(NEW, None, apply=WITH_TOKEN)
    assert (await stage.run(), stage.ending, stage.standing) == (
        ExitCode.OK,
        "enrolled",
        ("eligible", "released"),
    )


async def test_new_node_is_confirmed_to_its_host() -> None:
    """The host gets its token and then the verdict."""
    stage = Stage(NEW, None, apply=WITH_TOKEN)
    await stage.run()
    assert stage.fake.heard == ["token jwt-1", "confirmed"]


async def test_new_node_is_released_before_it_is_told_as_confirmed() -> None:
    """The event of the release comes first."""
    stage = Stage(NEW, None, apply=WITH_TOKEN)
    await stage.run()
    kinds = [type(event) for event in stage.emit.events if isinstance(event, NodeReleased | HostConfirmed)]
    assert kinds == [NodeReleased, HostConfirmed]


async def test_new_node_of_an_older_nomad_is_held_and_released() -> None:
    """It comes up eligible, and is kept from jobs until it has proved itself."""
    stage = Stage(NEW, None, apply=WITH_TOKEN, registers_as=view())
    await stage.run()
    assert (stage.standing, len(stage.told(NodeReleased))) == (("eligible", "released"), 1)


async def test_card_that_was_lost_on_the_way_holds_the_node() -> None:
    """The second probe sees it although the region shows both cards as healthy."""
    stage = Stage(NEW, None, apply=WITH_TOKEN, probed_after=ONE_LOST)
    assert (await stage.run(), stage.ending, stage.standing) == (
        ExitCode.FAILED,
        "failed gpu_lost",
        ("ineligible", "flawed: gpu_lost"),
    )


async def test_node_that_is_held_is_told_with_the_problem_of_its_host() -> None:
    """The event's code and message are those of the outcome."""
    stage = Stage(NEW, None, apply=WITH_TOKEN, probed_after=ONE_LOST)
    await stage.run()
    [told] = stage.told(NodeHeld)
    assert isinstance(told, NodeHeld)
    problem = stage.outcome.problem
    assert problem is not None
    assert (told.code, told.message, problem.step) == ("gpu_lost", problem.message, "confirm")


async def test_new_node_that_the_region_shows_short_is_held() -> None:
    """It is ineligible, with the reason in its mark."""
    stage = Stage(NEW, None, apply=WITH_TOKEN, registers_as=replace(HELD, devices=()))
    assert (await stage.run(), stage.ending, stage.standing) == (
        ExitCode.UNVERIFIED,
        "unverified gpu_count_mismatch",
        ("ineligible", "short: gpu_count_mismatch"),
    )


async def test_host_whose_node_is_held_has_put_everything_away() -> None:
    """What falls short is judged after the conversation's orderly end."""
    stage = Stage(NEW, None, apply=WITH_TOKEN, registers_as=replace(HELD, devices=()))
    await stage.run()
    assert stage.fake.heard == ["token jwt-1", "confirmed"]


async def test_update_of_a_node_that_falls_short_is_unverified() -> None:
    """The host's outcome says what the region lacks."""
    stage = Stage(drifted(bundle()), view(), host_paths.RELEASED, view(devices=()))
    assert (await stage.run(), stage.ending) == (ExitCode.UNVERIFIED, "unverified gpu_count_mismatch")


async def test_update_of_a_node_with_jobs_does_not_take_it_from_them() -> None:
    """It is never held, and stays eligible even where it falls short."""
    stage = Stage(drifted(bundle()), view(), host_paths.RELEASED, view(devices=()))
    await stage.run()
    assert (stage.standing, stage.told(NodeHeld)) == (("eligible", "released"), [])


async def test_node_that_was_there_before_and_ineligible_is_left_so() -> None:
    """A Nomad client that ionetctl took over bears its mark from then on; its eligibility is its admin's."""
    stage = Stage(drifted(bundle()), HELD, "")
    assert (await stage.run(), stage.ending, stage.standing) == (
        ExitCode.UNVERIFIED,
        "unverified node_ineligible",
        ("ineligible", "released"),
    )


async def test_start_that_hangs_in_the_driver_is_named() -> None:
    """Another probe tells a hanging driver from other causes."""
    stage = Stage(NEW, None, apply=START_FAILED, probed_after=HANGING)
    assert (await stage.run(), stage.ending) == (ExitCode.FAILED, "failed driver_hanging")
    assert stage.outcome.problem is not None
    assert "systemctl start did not end in 90 s" in stage.outcome.problem.message


@pytest.mark.parametrize(
    ("apply", "code"),
    [(START_FAILED, "start_timeout"), (("ready\tNONCE", "error\tdisk_full\tNo space left"), "disk_full")],
)
async def test_other_failures_are_told_as_they_are(apply: Sequence[Line], code: str) -> None:
    """A driver that answers is not to blame, and for other failures it is not asked."""
    stage = Stage(NEW, None, apply=apply)
    await stage.run()
    assert stage.ending == f"failed {code}"


# --- where nothing differs -------------------------------------------------------------------------------------------


ADMISSIONS = pytest.mark.parametrize("admission", ["held", "short: gpu_count_mismatch", "flawed: gpu_lost"])


@ADMISSIONS
async def test_held_node_that_proves_itself_is_released(admission: str) -> None:
    """The survey's probe and what the region shows are enough."""
    stage = Stage(admission=admission)
    assert (await stage.run(), stage.ending, stage.standing) == (
        ExitCode.OK,
        "enrolled",
        ("eligible", "released"),
    )


@ADMISSIONS
async def test_release_is_planned_like_any_change(admission: str) -> None:
    """The plan has the release alone."""
    stage = Stage(admission=admission)
    await stage.run()
    assert stage.planned == [Action.RELEASE]


@ADMISSIONS
async def test_release_needs_no_further_connection(admission: str) -> None:
    """The survey's connection is the only one, and nothing is sent."""
    stage = Stage(admission=admission)
    await stage.run()
    assert (len(stage.connections), stage.fake.payloads) == (1, [])


async def test_check_says_that_a_release_is_due() -> None:
    """It is planned, and the exit code says that there are changes."""
    stage = Stage(is_check=True)
    assert (await stage.run(), stage.planned) == (ExitCode.CHANGES, [Action.RELEASE])


async def test_check_releases_nothing() -> None:
    """The node stays held."""
    stage = Stage(is_check=True)
    await stage.run()
    assert stage.standing == ("ineligible", "held")


async def test_nobody_who_agrees_releases_nothing() -> None:
    """A release is asked for like any change."""
    stage = Stage(agrees=False)
    await stage.run()
    assert stage.standing == ("ineligible", "held")


async def test_released_node_that_an_admin_holds_is_reported() -> None:
    """Its host is unverified, since its node takes no jobs."""
    stage = Stage(admission=host_paths.RELEASED)
    assert (await stage.run(), stage.ending) == (ExitCode.UNVERIFIED, "unverified node_ineligible")


async def test_released_node_that_an_admin_holds_is_left_alone() -> None:
    """Nothing is planned for it, and it stays ineligible."""
    stage = Stage(admission=host_paths.RELEASED)
    await stage.run()
    assert (stage.planned, stage.standing) == ([], ("ineligible", "released"))


@pytest.mark.parametrize(("is_check", "admission"), [(False, "released"), (True, "held")])
async def test_release_that_was_cut_off_is_completed(*, is_check: bool, admission: str) -> None:
    """A node is eligible and its mark says held: the mark is mended, and nothing counts as changed."""
    stage = Stage(shown=view(), is_check=is_check)
    assert (await stage.run(), stage.ending, stage.planned) == (ExitCode.OK, "unchanged", [])
    assert stage.standing == ("eligible", admission)


async def test_held_node_that_the_region_shows_short_is_restarted() -> None:
    """The plugin looks at the cards when it starts: that may be all that is needed."""
    stage = Stage(shown=replace(HELD, devices=()))
    assert (await stage.run(), stage.ending, Action.RESTART in stage.planned) == (
        ExitCode.OK,
        "enrolled",
        True,
    )
    assert stage.standing == ("eligible", "released")


INSISTENT = replace(HOST, checks={"docker_missing": CheckRule(Severity.BLOCK, "containers only")})


@pytest.mark.parametrize(("is_check", "admission"), [(False, "short: docker_unhealthy"), (True, "held")])
async def test_held_node_that_no_restart_can_mend_is_told_why(*, is_check: bool, admission: str) -> None:
    """Nothing is done to its host; the reason stands in its metadata, unless nothing may be written."""
    with_docker = converged(bundle(INSISTENT))
    with_docker = replace(with_docker, machine=WITH_DOCKER.machine)
    stage = Stage(with_docker, replace(HELD, drivers_healthy=()), host=INSISTENT, is_check=is_check)
    assert (await stage.run(), stage.ending, stage.planned) == (
        ExitCode.UNVERIFIED,
        "unverified docker_unhealthy",
        [],
    )
    assert stage.standing == ("ineligible", admission)


async def test_node_with_jobs_that_no_restart_can_mend_is_left_as_it_is() -> None:
    """It is reported, and bears no mark of ours."""
    facts = replace(converged(bundle(INSISTENT)), machine=WITH_DOCKER.machine)
    stage = Stage(facts, replace(view(), drivers_healthy=()), host_paths.RELEASED, host=INSISTENT)
    await stage.run()
    assert (stage.ending, stage.standing) == ("unverified docker_unhealthy", ("eligible", "released"))


@pytest.mark.parametrize("is_check", [False, True])
@pytest.mark.parametrize("shown", [view(), replace(HELD, drivers_healthy=())], ids=["release", "refusal"])
async def test_mark_is_announced_before_it_is_written(shown: NodeView, *, is_check: bool) -> None:
    """By an event that is on disk first. A check, which writes no mark, announces none."""
    with_docker = replace(converged(bundle(INSISTENT)), machine=WITH_DOCKER.machine)
    stage = Stage(with_docker, shown, host=INSISTENT, is_check=is_check)
    annotate = stage.region.annotate
    announced: list[list[AnyEvent]] = []

    async def watched(node: NodeId, meta: Mapping[str, str | None]) -> NodeMeta:
        announced.append([event for event in stage.emit.events if announces_change(event)])
        return await annotate(node, meta)

    stage.region.annotate = watched  # type: ignore[method-assign]  # what was recorded when it is called
    await stage.run()
    step = StepStarted(host=HOST.name, step="apply", attempt=1)
    assert announced == ([] if is_check else [[step]])
    assert (step in stage.emit.events) is not is_check
