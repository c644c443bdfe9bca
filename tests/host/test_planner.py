"""From a surveyed host to its plan, and how the plan is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostUnreachableError, RegionError
from ionetctl.core.events import HostPlanned, Warned
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.node import RunningAllocation
from ionetctl.core.model.plan import Fate
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.survey import Surveyed
from ionetctl.plan.difference import new_digests
from tests.support.fakes import Emitted, FakeConnector, FakeHost, FakeIssuer, FakeRegion, dependencies
from tests.support.sample import BARE, HOST, NODE_ID, NONCE, VERIFYING, bundle, converged, drifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.facts import Facts

BUNDLE = bundle()
CONVERGED = converged(BUNDLE)
DRIFTED = drifted(BUNDLE)
JOBS = ("miner.render[0]", "web.cache[1]")
RUNNING = (
    RunningAllocation(JOBS[0], frozenset({"docker"})),
    RunningAllocation(JOBS[1], frozenset({"docker", "exec"})),
)
OFF = HostUnreachableError("connect_timeout", "no answer", transient=True)


@dataclass
class Stage:
    """A planner, and one host that shows its texts."""

    refusals: Sequence[BaseException] = ()
    issuer: FakeIssuer = field(default_factory=FakeIssuer)
    lose_jobs: bool = False

    def __post_init__(self) -> None:
        self.emit = Emitted()
        self.region = FakeRegion(jobs={NODE_ID: RUNNING})
        self.fake = FakeHost((DRIFTED,), ())
        self.connector = FakeConnector({HOST.name: self.fake}, {HOST.name: list(self.refusals)})
        shared = dependencies(RolloutId("r-1"), self.connector, self.region, self.issuer, self.emit)
        self.planner = Planner(replace(shared, lose_jobs=self.lose_jobs))

    def plan(self, facts: Facts = DRIFTED) -> PlannedHost:
        return self.planner.plan_host(Surveyed(HOST, HOST.name, facts, ()), NONCE, Mark.RELEASED)


async def test_plan_is_announced() -> None:
    """What will be done is told before it is done."""
    stage = Stage()
    planned = stage.plan()
    await stage.planner.announce(planned)
    assert (planned.host, stage.emit.events) == (
        HOST,
        [
            HostPlanned(
                host=HOST.name,
                changes=planned.plan.changes,
                stamp=planned.plan.stamp,
                digests=new_digests(planned.bundle, planned.plan),
            )
        ],
    )


def with_jobs(facts: Facts, count: int = 2) -> Facts:
    return replace(facts, nomad=replace(facts.nomad, allocations=count))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (with_jobs(DRIFTED), JOBS),
        (DRIFTED, ()),
        (with_jobs(CONVERGED), ()),
        (with_jobs(BARE), ()),
    ],
    ids=["restart with jobs", "no jobs", "no restart", "no node"],
)
async def test_plan_names_the_jobs_that_run_while_the_agent_is_restarted(
    facts: Facts, expected: tuple[str, ...]
) -> None:
    """Their region knows them; it is asked only where there are allocations and a restart."""
    stage = Stage()
    stage.region.errors["allocations"] = [] if expected else [AssertionError("nobody should ask")]
    await stage.planner.announce(stage.plan(facts))
    [event] = stage.emit.events
    assert isinstance(event, HostPlanned)
    assert event.allocations == expected


async def announced_to_a_host_with(drivers: tuple[str, ...]) -> list[object]:
    """The events of a plan for a host that is given docker alone and has these drivers."""
    stage = Stage()
    machine = replace(DRIFTED.machine, nomad_drivers=drivers)
    await stage.planner.announce(stage.plan(with_jobs(replace(DRIFTED, machine=machine))))
    return list(stage.emit.events)


async def test_jobs_of_a_driver_that_is_taken_away_are_named() -> None:
    """They do not go on through the restart, and the others do."""
    [warned, planned] = await announced_to_a_host_with(("docker", "exec"))
    assert isinstance(warned, Warned)
    assert isinstance(planned, HostPlanned)
    assert (warned.code, warned.message.partition(":")[0]) == ("driver_taken_away", JOBS[1])
    assert planned.allocations == JOBS[:1]


@pytest.mark.parametrize(
    ("lose_jobs", "drivers", "code"),
    [
        (False, ("docker", "exec"), "jobs_would_be_lost"),
        (True, ("docker", "exec"), None),
        (False, ("docker", "raw_exec"), None),
    ],
    ids=["nobody agreed", "agreed", "no job is lost"],
)
async def test_loss_of_jobs_asks_for_a_word_of_its_own(
    *, lose_jobs: bool, drivers: tuple[str, ...], code: str | None
) -> None:
    """Without it the host has its outcome, and its plan is told all the same, with what becomes of each job."""
    stage = Stage(lose_jobs=lose_jobs)
    machine = replace(DRIFTED.machine, nomad_drivers=drivers)
    outcome = await stage.planner.announce(stage.plan(with_jobs(replace(DRIFTED, machine=machine))))
    problem = outcome.problem if outcome else None
    assert (problem and problem.code, bool(problem and JOBS[1] in problem.message)) == (code, bool(code))
    [planned] = [event for event in stage.emit.events if isinstance(event, HostPlanned)]
    fates = [Fate.SURVIVES, Fate.LOST if "exec" in drivers else Fate.SURVIVES]
    assert [(job.allocation, job.fate) for job in planned.jobs] == list(zip(JOBS, fates, strict=True))


@pytest.mark.parametrize("others", [(), ("old[0]",)], ids=["the door's alone", "others too"])
async def test_a_door_is_closed_after_its_job_is_stopped(others: tuple[str, ...]) -> None:
    """Its driver goes with it: what is to be done first is said, unless jobs of tenants would be lost too."""
    stage = Stage()
    exec_jobs = [RunningAllocation(name, frozenset({"exec"})) for name in others]
    door = RunningAllocation(
        "ionet-door.door[0]", frozenset({"exec"}), "ionet-door", "ionet-maintenance", "system"
    )
    stage.region.jobs = {NODE_ID: (door, *exec_jobs)}
    machine = replace(DRIFTED.machine, nomad_drivers=("docker", "exec"))
    outcome = await stage.planner.announce(stage.plan(with_jobs(replace(DRIFTED, machine=machine))))
    assert outcome is not None
    assert outcome.problem is not None
    assert ("nomad job stop -namespace ionet-maintenance ionet-door" in outcome.problem.hint) is not bool(
        others
    )


@pytest.mark.parametrize(
    ("signers", "ways"),
    [
        ((), "the console is the only way back, as the host has no maintenance door"),
        (("ssh-ed25519 AAAA",), "its maintenance door and the console are the only ways back"),
    ],
    ids=["no door", "door"],
)
def test_closing_says_what_ways_back_remain(signers: tuple[str, ...], ways: str) -> None:
    """Whoever agrees to the plan may count on a door only where the host gets one."""
    planned = Stage().plan()
    closing = replace(HOST, ssh=replace(HOST.ssh, close="key"))
    surveyed = replace(planned.surveyed, host=closing)
    with_close = replace(planned, surveyed=surveyed, bundle=bundle(facts=VERIFYING, signers=signers))
    assert with_close.with_closing().plan.changes[-1].reason.endswith(f": then {ways}")


async def test_refusal_names_the_first_of_many_jobs() -> None:
    """The plan has them all."""
    stage = Stage()
    stage.region.jobs = {
        NODE_ID: tuple(RunningAllocation(f"old[{n}]", frozenset({"exec"})) for n in range(5))
    }
    machine = replace(DRIFTED.machine, nomad_drivers=("docker", "exec"))
    outcome = await stage.planner.announce(stage.plan(with_jobs(replace(DRIFTED, machine=machine))))
    assert outcome is not None
    assert outcome.problem is not None
    said = outcome.problem.message
    assert ([f"old[{n}]" in said for n in range(5)], said.endswith("; and 2 more allocations")) == (
        [True, True, True, False, False],
        True,
    )


async def test_loss_of_a_driver_that_no_job_uses_is_no_warning() -> None:
    """The plan says it all the same."""
    [planned] = await announced_to_a_host_with(("docker", "raw_exec"))
    assert isinstance(planned, HostPlanned)
    assert planned.allocations == JOBS
    assert [change.reason for change in planned.changes if "raw_exec" in change.reason]


async def announced_without_jobs() -> tuple[Warned, HostPlanned]:
    """The events of a plan for a node whose jobs the region does not tell."""
    stage = Stage()
    stage.region.errors["allocations"] = [RegionError("region_forbidden", "it needs read-job")]
    await stage.planner.announce(stage.plan(with_jobs(DRIFTED)))
    [warned, planned] = stage.emit.events
    assert isinstance(warned, Warned)
    assert isinstance(planned, HostPlanned)
    return warned, planned


async def test_jobs_that_the_region_does_not_tell_are_a_warning() -> None:
    """It names the host and the region's error."""
    warned, _ = await announced_without_jobs()
    assert (warned.host, warned.code) == (HOST.name, "region_forbidden")


async def test_plan_is_announced_without_jobs_that_are_not_told() -> None:
    """The event lists none."""
    _, planned = await announced_without_jobs()
    assert planned.allocations == ()


async def test_plan_is_announced_with_what_changes() -> None:
    """With --diff the host is asked for its texts, and the difference told."""
    stage = Stage()
    stage.fake.texts = {host_paths.DOCKER_CONFIG: b"# edited\n"}
    await stage.planner.announce_with_diffs(stage.plan())
    [event] = [event for event in stage.emit.events if isinstance(event, HostPlanned)]
    removed = [line for diff in event.diffs for line in diff.lines if line.startswith("-")]
    assert removed == [f"--- {host_paths.DOCKER_CONFIG} (on the host)", "-# edited", "--- /dev/null"]


async def test_plan_without_texts_to_compare_asks_for_none() -> None:
    """Where nothing that can be shown changes, the host is not asked."""
    stage = Stage()
    await stage.planner.announce_with_diffs(stage.plan(BARE))
    assert (stage.connector.connections, stage.emit.names) == ([], ["HostPlanned"])


async def announced_without_diffs() -> tuple[Warned, HostPlanned]:
    """The events of a plan for a host that does not show its files."""
    stage = Stage(refusals=(OFF,))
    await stage.planner.announce_with_diffs(stage.plan())
    [warned, planned] = stage.emit.events
    assert isinstance(warned, Warned)
    assert isinstance(planned, HostPlanned)
    return warned, planned


async def test_host_that_will_not_show_its_files_is_a_warning() -> None:
    """A diff is a convenience: what stands in its way ends nothing."""
    warned, _ = await announced_without_diffs()
    assert warned.code == "connect_timeout"


async def test_host_that_will_not_show_its_files_is_announced_without() -> None:
    """The plan is told, with no diff."""
    _, planned = await announced_without_diffs()
    assert planned.diffs == ()


async def test_certificate_is_judged_by_the_regions_issuer() -> None:
    """What the issuer says against a certificate is part of the plan."""
    stage = Stage(issuer=FakeIssuer(unfit="it is old"))
    planned = stage.plan(CONVERGED)
    assert [change.reason for change in planned.plan.changes if change.path == host_paths.NODE_CERT] == [
        "it is old"
    ]
