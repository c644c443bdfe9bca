"""One host from the first look to the region's word, with everything that may go wrong between."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import (
    ConfigurationError,
    HostFailedError,
    HostTrustError,
    HostUnreachableError,
    RegionError,
    TrustError,
)
from ionetctl.core.events import (
    HostConfirmed,
    HostInstalled,
    HostPlanned,
    HostSurveyed,
    StepFinished,
    StepRetried,
    StepStarted,
)
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.host import GpuPromise, Host, Prepare
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.outcome import Outcome, Result, results_of
from ionetctl.core.model.plan import Action, Form
from ionetctl.core.observed import Docker, Driver, MachineFacts
from ionetctl.host.dependencies import Deadlines
from ionetctl.host.pipeline import Blocked, Pipeline
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.survey import LOCK_PAUSES_S, Surveyed
from ionetctl.plan.bundle import Door, build_bundle, managed_paths, new_stamp
from ionetctl.plan.difference import PlanContext, make_plan
from ionetctl.plan.installation import facts_of
from ionetctl.plan.prepare_steps import CNI_PLUGINS
from tests.support.fakes import (
    DENIED,
    FINISH,
    RECEIVE,
    START,
    VERDICT,
    WITH_TOKEN,
    WITHOUT_TOKEN,
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakePacker,
    FakeRegion,
    Line,
    dependencies,
)
from tests.support.sample import (
    BARE,
    HOST,
    NODE_ID,
    NONCE,
    SIGNERS,
    bundle,
    converged,
    drifted,
    subject,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ionetctl.core.model.facts import Facts
    from ionetctl.plan.bundle import Subject

BUNDLE = bundle()
CONVERGED = converged(BUNDLE)
DRIFTED = drifted(BUNDLE)
ROLLOUT = RolloutId("20261123T011226-k3f9qa")
LOST = HostUnreachableError("connection_lost", "it went away", transient=True)
OFF = HostUnreachableError("connect_timeout", "no answer", transient=True)
REFUSED = HostFailedError("authentication_failed", "no key fits")
NEW_NONCE = "ffffffffffff"
PACKED = Digest("c" * 64)
CONVERGED_NOW = converged(BUNDLE, nonce=NEW_NONCE)


def cancel_current_task() -> None:
    """What a second signal does to the running task."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def small_programs(directory: Path) -> Callable[[Host, str, Facts], Subject]:
    """Subjects whose programs lie in ``directory`` and are small."""
    packed = directory / "packed.gz"
    packed.write_bytes(b"packed")

    def subject_of(host: Host, node_name: str, facts: Facts) -> Subject:
        made = replace(subject(host, facts), node_name=node_name)
        programs = (made.nomad, made.device_plugin or made.nomad)
        small = [
            replace(one, packed_path=str(packed), packed_bytes=6, packed_digest=PACKED) for one in programs
        ]
        return replace(made, nomad=small[0], device_plugin=small[1])

    return subject_of


@dataclass
class Stage:
    """A pipeline and one host, whose surveys say ``facts`` in turn."""

    facts: Sequence[Facts | BaseException] = (DRIFTED,)
    applies: Sequence[Sequence[Line]] = (WITHOUT_TOKEN,)
    refusals: Sequence[BaseException] = ()
    host: Host = HOST
    introduces: bool = True
    region: FakeRegion = field(default_factory=FakeRegion)
    issuer: FakeIssuer = field(default_factory=FakeIssuer)
    emit: Emitted = field(default_factory=Emitted)
    stderr: bytes = b""
    exit_status: int = 0

    def __post_init__(self) -> None:
        self.fake = FakeHost(
            self.facts, self.applies, self.region, stderr=self.stderr, exit_status=self.exit_status
        )
        self.connector = FakeConnector({self.host.name: self.fake}, {self.host.name: list(self.refusals)})
        self.dependencies = dependencies(
            ROLLOUT, self.connector, self.region, self.issuer, self.emit, introduces=self.introduces
        )
        self.pipeline = Pipeline(self.dependencies)

    async def survey(self) -> Surveyed:
        found = await self.pipeline.survey(self.host)
        assert isinstance(found, Surveyed)
        return found

    async def survey_outcome(self) -> Outcome:
        found = await self.pipeline.survey(self.host)
        assert not isinstance(found, Surveyed)
        return found.outcome if isinstance(found, Blocked) else found

    def plan(self, facts: Facts = DRIFTED, mark: Mark = Mark.RELEASED) -> PlannedHost:
        surveyed = Surveyed(self.host, self.host.name, facts, ())
        return Planner(self.dependencies).plan_host(surveyed, NONCE, mark)

    async def enroll(self, first: Facts = DRIFTED, mark: Mark = Mark.RELEASED) -> Outcome:
        return await self.pipeline.enroll(self.plan(first, mark), NEW_NONCE)


def ending(outcome: Outcome) -> tuple[str, str | None, str | None]:
    """Result, code and step of an outcome."""
    problem = outcome.problem
    return (outcome.result.value, problem.code if problem else None, problem.step if problem else None)


# --- survey ----------------------------------------------------------------------------------------------------------


async def test_surveyed_host_has_its_facts_name_and_findings() -> None:
    """A converged host's survey holds what Nomad is there, the node's name, and no finding."""
    surveyed = await Stage((CONVERGED,)).survey()
    assert (surveyed.facts.nomad, surveyed.node_name, surveyed.findings) == (CONVERGED.nomad, HOST.name, ())


async def test_surveyed_host_is_told() -> None:
    """A survey that went well is four events, the second of them once there is a connection, and says what the host is."""
    stage = Stage((CONVERGED,))
    await stage.survey()
    assert stage.emit.events == [
        StepStarted(host=HOST.name, step="survey", attempt=1),
        StepStarted(host=HOST.name, step="survey", attempt=1, detail="script"),
        StepFinished(host=HOST.name, step="survey", attempt=1, duration_s=0.0),
        HostSurveyed(
            host=HOST.name,
            os="Ubuntu 24.04.3 LTS",
            architecture="x86_64",
            gpus_seen=2,
            machine_id="a" * 32,
            node_id=NODE_ID,
            gpus=("nvidia.rtx.4090.24gb", "nvidia.rtx.4090.24gb"),
            rack="a01",
            identity=MachineIdentity(
                "10.20.1.1 port 22", CONVERGED.host_key, CONVERGED.machine.product_uuid, ("GPU-1", "GPU-2")
            ),
        ),
    ]


async def test_host_without_a_card_on_its_bus_is_not_probed() -> None:
    """Where the kernel sees none and none is promised, there is nobody to ask."""
    stage = Stage((replace(BARE, machine=replace(BARE.machine, gpus_on_bus=0)),))
    surveyed = await stage.survey()
    assert (surveyed.facts.gpus, surveyed.facts.gpu_source) == ((), "pci")
    assert len(stage.fake.commands) == 1


async def test_gpus_that_nobody_counted_are_not_zero() -> None:
    """Where the host cannot say, nothing is said."""
    stage = Stage((replace(BARE, gpus=None),))
    await stage.survey()
    assert [event.gpus_seen for event in stage.emit.events if isinstance(event, HostSurveyed)] == [None]


async def test_system_without_a_name_is_told_by_its_id() -> None:
    """Something is always said of the system."""
    stage = Stage((replace(BARE, os_name=""),))
    await stage.survey()
    assert [event.os for event in stage.emit.events if isinstance(event, HostSurveyed)] == ["ubuntu"]


async def test_survey_asks_for_every_path_of_a_bundle() -> None:
    """One command looks at all that may be installed."""
    stage = Stage((CONVERGED,))
    await stage.survey()
    command = stage.fake.commands[0]
    assert (command.argv[:3], command.argv[4:]) == (
        ("sh", "-s", "--"),
        ("10.0.0.1:4647", *managed_paths("2.0.5", "1.1.0")),
    )


async def test_survey_runs_as_root_within_its_bounds() -> None:
    """The survey's command has two minutes, one of them in silence."""
    stage = Stage((CONVERGED,))
    await stage.survey()
    command = stage.fake.commands[0]
    assert (command.timeout_s, command.idle_s, command.as_root) == (120.0, 60.0, True)


async def test_connection_is_not_kept_after_the_survey() -> None:
    """Nothing is held open across the fleet-wide checks."""
    stage = Stage((CONVERGED,))
    await stage.survey()
    assert stage.connector.open == 0


async def test_host_that_comes_back_is_surveyed() -> None:
    """A connection that breaks is tried again, and that is told."""
    stage = Stage((LOST, CONVERGED), refusals=(OFF,))
    await stage.survey()
    retried = [event for event in stage.emit.events if isinstance(event, StepRetried)]
    assert [(one.step, one.attempt, one.code) for one in retried] == [
        ("survey", 1, "connect_timeout"),
        ("survey", 2, "connection_lost"),
    ]


async def test_host_that_stays_away_is_unreachable() -> None:
    """After the last attempt the host has its outcome, with attempts and the time they took."""
    stage = Stage(refusals=(OFF,) * 3)
    outcome = await stage.survey_outcome()
    assert (ending(outcome), outcome.attempts) == (("unreachable", "connect_timeout", "survey"), 3)
    assert outcome.duration_s == pytest.approx(sum(stage.region.clock.slept), abs=0.001)


@pytest.mark.parametrize("error", [REFUSED, HostTrustError("host_key_changed", "another key")])
async def test_refusal_is_not_tried_again(error: BaseException) -> None:
    """A refused login or key is asked for once: more would only lock accounts."""
    stage = Stage(refusals=(error,))
    assert ((await stage.survey_outcome()).attempts, len(stage.connector.connections)) == (1, 1)


async def test_survey_knows_the_key_that_the_host_proved() -> None:
    """The checks over the fleet compare it with those of the other hosts."""
    stage = Stage((CONVERGED,))
    stage.fake.host_key = "SHA256:k"
    assert (await stage.survey()).facts.host_key == "SHA256:k"


async def test_blocking_finding_is_an_outcome() -> None:
    """A host that must not be touched has its outcome after the survey, its findings told."""
    stage = Stage((replace(BARE, is_root=False),))
    outcome = await stage.survey_outcome()
    assert ending(outcome) == ("failed", "not_root", "survey")
    assert [e.findings[0].code for e in stage.emit.events if isinstance(e, HostSurveyed)] == ["not_root"]


def refused_by_its_shell() -> Stage:
    """A host whose login shell runs nothing."""
    return Stage((CONVERGED,), stderr=b"\x1b[1mThis account is currently not available.\n", exit_status=1)


async def test_survey_that_the_hosts_shell_refuses_is_no_lost_connection() -> None:
    """A login shell that runs nothing fails the survey, which is not tried again."""
    outcome = await refused_by_its_shell().survey_outcome()
    assert (ending(outcome), outcome.attempts) == (("failed", "survey_failed", "survey"), 1)


async def test_refusing_shells_last_words_are_shown() -> None:
    """What the login shell says is quoted with its control characters removed."""
    outcome = await refused_by_its_shell().survey_outcome()
    assert outcome.problem is not None
    assert (
        outcome.problem.message == "the survey ended with status 1: This account is currently not available."
    )


async def test_name_that_cannot_be_made_unique_fails_the_host() -> None:
    """With naming: unique a host without machine-id has no name."""
    stage = Stage((replace(BARE, machine_id=""),))
    stage.pipeline = Pipeline(replace(stage.dependencies, naming="unique"))
    assert ending(await stage.survey_outcome()) == ("failed", "machine_id_missing", "survey")


async def test_broken_journal_is_not_the_hosts_failure() -> None:
    """What cannot be recorded ends everything; it is no outcome of a host."""
    broken = ConfigurationError("journal_broken", "disk full")
    stage = Stage(emit=Emitted(error=broken))
    with pytest.raises(ConfigurationError, match="disk full"):
        await stage.pipeline.survey(HOST)


# --- apply -----------------------------------------------------------------------------------------------------------


async def test_drifted_host_is_enrolled() -> None:
    """The outcome bears the node id that the region shows and the new stamp."""
    outcome = await Stage().enroll()
    stamp = new_stamp(BUNDLE, NEW_NONCE)
    assert (ending(outcome), outcome.node_id, outcome.stamp) == (("enrolled", None, None), NODE_ID, stamp)


async def test_drifted_host_is_sent_what_differs() -> None:
    """Only the file that drifted, the configuration with its new stamp and the manifest are sent."""
    stage = Stage()
    await stage.enroll()
    assert [step[-1] for step in stage.fake.steps if step[0] == "file"] == [
        host_paths.DOCKER_CONFIG,
        host_paths.CLIENT_CONFIG,
        host_paths.MANIFEST,
    ]


async def test_enrolled_host_is_told_as_confirmed() -> None:
    """The event names the node, its new stamp and the GPUs that the region sees."""
    stage = Stage()
    await stage.enroll()
    stamp = new_stamp(BUNDLE, NEW_NONCE)
    assert stage.emit.events[-2] == HostConfirmed(host=HOST.name, node_id=NODE_ID, stamp=stamp, gpus_seen=2)


async def test_parts_of_the_apply_are_told_with_their_attempt() -> None:
    """What the host is at can be followed."""
    stage = Stage(applies=((*RECEIVE, LOST), WITHOUT_TOKEN))
    await stage.enroll()
    parts = [e for e in stage.emit.events if isinstance(e, StepStarted) and e.step == "apply" and e.detail]
    assert [(e.attempt, e.detail) for e in parts[:4]] == [
        (1, "receive"),
        (1, "verify"),
        (1, "validate"),
        (2, "receive"),
    ]
    assert [e.attempt for e in stage.emit.events if isinstance(e, StepStarted) and e.step == "confirm"] == [2]


def bare_stage(tmp_path: Path) -> Stage:
    """A host without Nomad, and programs that are small."""
    stage = Stage((BARE,), (WITH_TOKEN,))
    stage.pipeline = Pipeline(replace(stage.dependencies, subject_of=small_programs(tmp_path)))
    return stage


async def test_bare_host_is_enrolled_with_a_certificate(tmp_path: Path) -> None:
    """A host that the region does not know is issued one certificate."""
    stage = bare_stage(tmp_path)
    outcome = await stage.enroll(BARE, Mark.NEW)
    assert (ending(outcome), stage.issuer.issued) == (("enrolled", None, None), 1)


async def test_enrolled_host_with_a_door_is_recorded() -> None:
    """Its files as they lie there now, those that it had among them: the next change is planned from that and changes nothing."""

    def with_door(host: Host, node_name: str, facts: Facts) -> Subject:
        made = replace(subject(host, facts), node_name=node_name)
        return replace(made, door=Door(SIGNERS, b"#!/bin/sh\n"), drivers=("docker", "exec"))

    stage = Stage()
    stage.dependencies = replace(stage.dependencies, subject_of=with_door)
    stage.pipeline = Pipeline(stage.dependencies)
    outcome = await stage.enroll()
    [recorded] = [event for event in stage.emit.events if isinstance(event, HostInstalled)]
    assert (recorded.stamp, recorded.replaces, recorded.installed.drivers) == (
        outcome.stamp,
        None,
        ("docker", "exec"),
    )
    facts = facts_of(recorded.installed, NODE_ID, recorded.stamp, 0)
    again = build_bundle(with_door(HOST, HOST.name, facts))
    assert make_plan(again, facts, PlanContext(NONCE, None, is_known=True)).is_empty


async def test_bare_host_is_introduced(tmp_path: Path) -> None:
    """A host that the region does not know gets a token that was minted for its name and pool."""
    stage = bare_stage(tmp_path)
    await stage.enroll(BARE, Mark.NEW)
    assert (stage.fake.heard, stage.region.minted) == (
        ["token jwt-1", "confirmed"],
        [(HOST.name, "gpu", 300)],
    )


@pytest.mark.parametrize(
    ("form", "made", "expected"),
    [
        pytest.param(Form.GZIP, (), [], id="as-it-came"),
        pytest.param(Form.ZSTD, (Form.ZSTD,), [], id="made-before"),
        pytest.param(Form.XZ, (), ["compress"], id="to-be-made"),
    ],
)
async def test_programs_go_in_the_best_form(
    tmp_path: Path, form: Form, made: tuple[Form, ...], expected: list[str]
) -> None:
    """It is the one that the host can unpack; who has to wait until it is made is at a step of its own."""
    bare = replace(BARE, best_form=form)
    stage = Stage((bare,), (WITH_TOKEN,))
    subject_of = small_programs(tmp_path)
    stage.pipeline = Pipeline(replace(stage.dependencies, subject_of=subject_of, packer=FakePacker(*made)))
    await stage.enroll(bare, Mark.NEW)
    steps = [event.detail for event in stage.emit.events if isinstance(event, StepStarted)]
    assert [step for step in steps if step == "compress"] == expected
    assert [step[-1] for step in stage.fake.steps if step[0] == "program"] == [form, form]


async def test_a_wrong_beginning_is_sent_anew(tmp_path: Path) -> None:
    """What lay there and was wrong is gone by the next attempt; without such a thing a wrong program is not sent twice."""
    have = f"have\t{PACKED}\t3"
    corrupt = "error\tpayload_corrupt\tit has another digest"
    stage = Stage((BARE,), ((have, *RECEIVE, corrupt), (*RECEIVE, corrupt)))
    stage.pipeline = Pipeline(replace(stage.dependencies, subject_of=small_programs(tmp_path)))
    outcome = await stage.enroll(BARE, Mark.NEW)
    assert (ending(outcome), outcome.attempts) == (("failed", "payload_corrupt", "apply"), 2)
    sent = [re.findall(rb"p/([0-9a-f]{64}\.[0-9]+)\0", payload) for payload in stage.fake.payloads]
    assert sent == [[f"{PACKED}.3".encode()] * 2, [f"{PACKED}.0".encode()] * 2]


async def test_region_without_introductions_asks_for_no_token() -> None:
    """Where nodes are not introduced, an unknown one is none the less enrolled."""
    stage = Stage(introduces=False)
    outcome = await stage.enroll(mark=Mark.NEW)
    assert (ending(outcome), stage.region.minted) == (("enrolled", None, None), [])


async def test_host_that_is_off_by_now_is_unreachable() -> None:
    """A host may vanish between the survey and its wave, and is tried three times."""
    outcome = await Stage(refusals=(OFF,) * 3).enroll()
    assert (ending(outcome), outcome.attempts) == (("unreachable", "connect_timeout", "apply"), 3)


async def test_host_that_is_off_by_now_keeps_its_probed_gpus() -> None:
    """What the survey probed stands in the outcome of a host that vanished."""
    outcome = await Stage(refusals=(OFF,) * 3).enroll()
    assert outcome.gpus_probed == 2


def losing_its_connection() -> Stage:
    """A host whose connection is lost at the end of an apply that has done its work."""
    return Stage((DRIFTED, CONVERGED_NOW), ((*RECEIVE, *START, LOST),))


async def test_lost_connection_is_tried_again() -> None:
    """The second attempt enrols the host."""
    outcome = await losing_its_connection().enroll()
    assert (ending(outcome), outcome.attempts) == (("enrolled", None, None), 2)


async def test_retry_finds_what_the_first_attempt_left() -> None:
    """A retry begins with a look, so that what is there is not sent again."""
    stage = losing_its_connection()
    await stage.enroll()
    assert len(stage.fake.payloads) == 1


def right_by_itself() -> Stage:
    """A host that somebody mended since the survey."""
    stage = Stage((CONVERGED,))
    stage.region.show(view(), str(CONVERGED.nomad.stamp))
    return stage


async def test_host_that_became_right_by_itself_is_unchanged() -> None:
    """A host that somebody mended since the survey keeps the stamp that it has."""
    outcome = await right_by_itself().enroll()
    assert (ending(outcome), outcome.stamp) == (("unchanged", None, None), CONVERGED.nomad.stamp)


async def test_host_that_became_right_by_itself_is_sent_nothing() -> None:
    """A host that somebody mended since the survey is left alone."""
    stage = right_by_itself()
    await stage.enroll()
    assert stage.fake.payloads == []


async def test_host_that_became_right_and_is_not_shown_is_unverified() -> None:
    """Nothing differs any more, and still only the region's word counts."""
    stage = Stage((CONVERGED,))
    assert ending(await stage.enroll()) == ("unverified", "not_registered", "confirm")


@pytest.mark.parametrize("node_id", [None, "00000000-0000-4000-8000-000000000000"])
async def test_node_that_is_another_by_now_is_introduced(node_id: str | None) -> None:
    """That the region knew the node holds for that node: state that was wiped meanwhile makes a new one."""
    wiped = replace(CONVERGED, nomad=replace(CONVERGED.nomad, node_id=node_id))  # type: ignore[arg-type]
    stage = Stage((wiped,), (WITH_TOKEN,))
    await stage.enroll()
    assert stage.region.minted == [(HOST.name, "gpu", 300)]


async def test_finding_of_the_second_look_fails_the_host() -> None:
    """What blocks a host may come up between the survey and its wave."""
    outcome = await Stage((replace(DRIFTED, is_root=False),)).enroll()
    assert ending(outcome) == ("failed", "not_root", "apply")


async def test_finding_of_the_second_look_keeps_the_host_untouched() -> None:
    """A host that is blocked by then is sent nothing."""
    stage = Stage((replace(DRIFTED, is_root=False),))
    await stage.enroll()
    assert stage.fake.payloads == []


async def test_apply_that_ends_in_a_moment_is_waited_for() -> None:
    """What a killed controller left ends as soon as it next looks up; the attempt goes on."""
    locked = replace(DRIFTED, lock_owner=ROLLOUT)
    stage = Stage((locked, DRIFTED))
    outcome = await stage.enroll()
    assert (ending(outcome), outcome.attempts) == (("enrolled", None, None), 1)


async def test_own_apply_that_goes_on_is_tried_again() -> None:
    """The lock of a connection of ours that broke off is no other rollout's."""
    locked = replace(DRIFTED, lock_owner=ROLLOUT)
    stage = Stage((*[locked] * (len(LOCK_PAUSES_S) + 1), DRIFTED))
    outcome = await stage.enroll()
    assert (ending(outcome), outcome.attempts) == (("enrolled", None, None), 2)


@pytest.mark.parametrize("code", ["changed", "locked"])
async def test_fence_of_the_own_rollout_is_tried_again(code: str) -> None:
    """A dialogue whose connection broke off may take the lock late, between survey and apply of the next attempt."""
    late = f"error\t{code}\t{ROLLOUT} ops@ctl 2026-11-23T01:12:26+00:00"
    stage = Stage((DRIFTED, DRIFTED), ((late,), WITHOUT_TOKEN))
    outcome = await stage.enroll()
    assert (ending(outcome), outcome.attempts) == (("enrolled", None, None), 2)


async def test_lock_of_another_rollout_is_respected() -> None:
    """A host that another rollout is at work on is left to it."""
    stage = Stage((replace(DRIFTED, lock_owner="20261123T000000-zzzzzz"),))
    outcome = await stage.enroll()
    assert outcome.problem is not None
    assert (ending(outcome), outcome.problem.exit_code) == (("failed", "host_locked", "apply"), 7)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RegionError("region_silent", "m"), ("unverified", "region_silent", "region")),
        (TrustError("region_untrusted", "m"), ("unverified", "region_untrusted", "region")),
    ],
)
async def test_regions_failure_is_an_outcome(error: Exception, expected: tuple[str, str, str]) -> None:
    """A region that fails in the middle of a wave ends its hosts, once, and not the rollout."""
    outcome = await Stage(region=FakeRegion(errors={"nodes": [error]})).enroll()
    assert (ending(outcome), outcome.attempts) == (expected, 1)


@pytest.mark.parametrize("error", [RegionError("region_silent", "m"), TrustError("region_untrusted", "m")])
async def test_hosts_input_ends_when_its_region_fails(error: Exception) -> None:
    """The host hears no verdict, only the end of its input."""
    stage = Stage(region=FakeRegion(errors={"nodes": [error]}))
    await stage.enroll()
    assert stage.fake.heard == [None]


def changed_by_another_rollout(first: Facts) -> Stage:
    """A host that another controller, with another state directory, is at work on and then done with."""
    locked = replace(first, lock_owner="20261123T000000-zzzzzz")
    return Stage((locked, converged(BUNDLE, nonce="eeeeeeeeeeee")))


@pytest.mark.parametrize("first", [BARE, DRIFTED], ids=["new", "known"])
async def test_host_that_another_rollout_changed_ends_with_7(first: Facts) -> None:
    """The second of two controllers waits for the lock, looks again, and ends with the code for a lock."""
    outcome = await changed_by_another_rollout(first).enroll(first, Mark.NEW)
    assert outcome.problem is not None
    assert (ending(outcome), outcome.problem.exit_code) == (("failed", "host_changed", "apply"), 7)


@pytest.mark.parametrize("first", [BARE, DRIFTED], ids=["new", "known"])
async def test_plan_from_before_another_rollout_is_not_carried_out(first: Facts) -> None:
    """Nothing is sent to the host, and no token is minted for it."""
    stage = changed_by_another_rollout(first)
    await stage.enroll(first, Mark.NEW)
    assert (stage.fake.payloads, stage.region.minted) == ([], [])


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ({}, ("unverified", "not_registered", "confirm")),
        ({"nodes": [RegionError("region_silent", "m")]}, ("unverified", "region_silent", "region")),
    ],
)
async def test_node_is_recorded_as_soon_as_it_runs(
    tmp_path: Path, errors: dict[str, list[BaseException]], expected: tuple[str, str, str]
) -> None:
    """A new node that its region does not confirm stands there all the same, with this id and this stamp."""
    apply = (*WITH_TOKEN[:-2], *VERDICT, *VERDICT)
    stage = Stage((BARE,), (apply,), region=FakeRegion(is_hidden=True, errors=errors))
    stage.pipeline = Pipeline(replace(stage.dependencies, subject_of=small_programs(tmp_path)))
    outcome = await stage.enroll(BARE, Mark.NEW)
    assert (ending(outcome), outcome.node_id) == (expected, NODE_ID)
    assert outcome.stamp.endswith(f"-{NEW_NONCE}")


@pytest.mark.parametrize(
    ("facts", "expected"), [(BARE, ("skipped", None, "")), (DRIFTED, ("unverified", NODE_ID, None))]
)
async def test_region_that_fails_before_the_apply_leaves_what_was_there(
    tmp_path: Path, facts: Facts, expected: tuple[str, str | None, str | None]
) -> None:
    """No token, no node: nothing was installed. What ran before goes on with the stamp that it has."""
    region = FakeRegion(errors={"introduce": [RegionError("region_forbidden", "m")]})
    stage = Stage((facts,), (WITH_TOKEN,), region=region)
    stage.pipeline = Pipeline(replace(stage.dependencies, subject_of=small_programs(tmp_path)))
    outcome = await stage.enroll(facts, Mark.NEW)
    result, node_id, stamp = expected
    assert (outcome.result, outcome.node_id) == (result, node_id)
    assert outcome.stamp == (DRIFTED.nomad.stamp if stamp is None else stamp)


def without_a_certificate_to_be_had() -> Stage:
    """A host that needs a certificate of a CA that has expired."""
    error = ConfigurationError("ca_expired", "it ended")
    return Stage((replace(DRIFTED, node_certificate=None),), issuer=FakeIssuer(error=error))


async def test_certificate_that_cannot_be_issued_fails_the_host() -> None:
    """What is wrong with the CA by now is the host's failure."""
    outcome = await without_a_certificate_to_be_had().enroll()
    assert ending(outcome) == ("failed", "ca_expired", "apply")


async def test_host_without_its_certificate_is_sent_nothing() -> None:
    """The certificate is issued before anything is sent."""
    stage = without_a_certificate_to_be_had()
    await stage.enroll()
    assert stage.fake.payloads == []


async def test_release_that_vanished_fails_the_host() -> None:
    """A program that is gone from the cache is told as the host's failure."""
    stage = Stage((BARE,), (WITH_TOKEN,))
    assert ending(await stage.enroll(BARE)) == ("failed", "artifact_missing", "apply")


async def test_node_that_is_denied_is_unverified() -> None:
    """Installed, and the region's refusal explained by the node's own log."""
    region = FakeRegion(is_hidden=True)
    script = (*RECEIVE, *START, *VERDICT, *DENIED, *VERDICT, *FINISH)
    outcome = await Stage(applies=(script,), introduces=False, region=region).enroll()
    assert ending(outcome) == ("unverified", "introduction_denied", "confirm")


async def cancelled_enrolment() -> Stage:
    """A host whose enrolment was cancelled while its region was asked."""
    stage = Stage()
    stage.region.at_look = cancel_current_task
    with pytest.raises(asyncio.CancelledError):
        await stage.enroll()
    return stage


async def test_cancelled_enrolment_closes_its_session() -> None:
    """Cancellation leaves no connection behind."""
    assert (await cancelled_enrolment()).connector.open == 0


async def test_cancelled_enrolment_confirms_nothing() -> None:
    """Cancellation leaves no outcome."""
    assert "HostConfirmed" not in (await cancelled_enrolment()).emit.names


async def test_deadlines_of_the_apply_leave_room_for_the_regions_answer() -> None:
    """The silence while the region is asked is longer than the silence that ends a session."""
    limits = Deadlines()
    stage = Stage()
    await stage.enroll()
    (apply,) = [command for command in stage.fake.commands if command.argv[2] == "# receive.sh\n"]
    assert (apply.idle_s > 2 * limits.step_s, apply.timeout_s) == (True, limits.apply_s)


def test_results_are_those_of_the_contract() -> None:
    """The words that ``ending`` compares are the contract's."""
    assert {result.value for result in Result} == {
        "enrolled",
        "done",
        "unchanged",
        "failed",
        "unreachable",
        "unverified",
        "skipped",
    }
    assert Result.DONE not in results_of("enroll")
    assert Result.ENROLLED not in results_of("exclude")


# --- preparations ----------------------------------------------------------------------------------------------------

ASKING = replace(HOST, prepare=Prepare(docker=True, cni=True))
PREPARED = replace(
    CONVERGED, machine=MachineFacts(docker=Docker("27.3.1"), cni_plugins=tuple(sorted(CNI_PLUGINS)))
)
PREPARE: tuple[Line, ...] = ("ready\tNONCE", "step\treceive", "changed\tdocker\tinstalled docker.io", "done")


def preparations(stage: Stage) -> list[list[str]]:
    """What the plans announced as preparations."""
    plans = [event for event in stage.emit.events if isinstance(event, HostPlanned)]
    return [[change.path for change in plan.changes if change.action is Action.PREPARE] for plan in plans]


async def test_preparations_are_planned_before_all_else() -> None:
    """A host that differs in nothing else has a plan all the same."""
    stage = Stage(host=ASKING)
    await Planner(stage.dependencies).announce(stage.plan(CONVERGED))
    assert preparations(stage) == [["docker", "cni"]]


async def test_prepared_host_has_no_plan() -> None:
    """The control: what is there is not planned."""
    assert Stage(host=ASKING).plan(PREPARED).plan.is_empty


def prepared_and_enrolled() -> Stage:
    """A host that is prepared and then drifted still."""
    drifted_too = replace(DRIFTED, machine=PREPARED.machine)
    return Stage((DRIFTED, drifted_too), (PREPARE, WITHOUT_TOKEN), host=ASKING)


async def test_host_is_prepared_and_then_enrolled() -> None:
    """First the preparations are sent, then the apply of what the look after them shows."""
    stage = prepared_and_enrolled()
    outcome = await stage.enroll()
    assert (ending(outcome), len(stage.fake.payloads)) == (("enrolled", None, None), 2)


async def test_preparation_and_apply_share_one_connection() -> None:
    """The host is connected to once."""
    stage = prepared_and_enrolled()
    await stage.enroll()
    assert stage.connector.connections == [HOST.name]


async def test_only_preparations_are_a_change_too() -> None:
    """The host was changed by us, even where its Nomad is as it should be; the agent that runs is left alone."""
    asking = replace(HOST, prepare=Prepare(docker=True))
    stage = Stage((CONVERGED, PREPARED), (PREPARE,), host=asking)
    stage.region.show(view(), CONVERGED.nomad.stamp or "")
    assert ending(await stage.enroll(CONVERGED)) == ("enrolled", None, None)
    assert len(stage.fake.payloads) == 1


async def test_agent_is_restarted_for_what_it_sees_only_at_its_start() -> None:
    """CNI plugins, modules, driver and runtime are looked at once."""
    stage = Stage((CONVERGED, PREPARED), (PREPARE, WITHOUT_TOKEN), host=ASKING)
    assert ending(await stage.enroll(CONVERGED)) == ("enrolled", None, None)
    assert ["start", "restart"] in stage.fake.steps


def failing_to_prepare() -> Stage:
    """A host whose package manager is locked."""
    failing: tuple[Line, ...] = ("ready\tNONCE", "error\tpackages_locked\tdocker: Could not get lock")
    return Stage((DRIFTED,), (failing,), host=ASKING)


async def test_failed_preparation_is_the_outcome() -> None:
    """The host fails in that step, with the exit code of a failed host."""
    outcome = await failing_to_prepare().enroll()
    assert ending(outcome) == ("failed", "packages_locked", "prepare")
    assert outcome.problem is not None
    assert outcome.problem.exit_code == 5


async def test_failed_preparation_is_followed_by_no_apply() -> None:
    """Only the preparation was sent: nothing of Nomad is touched."""
    stage = failing_to_prepare()
    await stage.enroll()
    assert len(stage.fake.payloads) == 1


async def test_what_no_preparation_mends_keeps_the_host_out() -> None:
    """A driver that is too old is forgiven while one may come, and no longer once nothing is left to prepare."""
    asking = replace(HOST, prepare=Prepare(driver="390"), gpus=GpuPromise(None, 2))
    old = replace(DRIFTED, machine=MachineFacts(driver=Driver(module_version="390.157")))
    stage = Stage((old,), host=asking)
    assert [finding.severity for finding in (await stage.survey()).findings if finding.declared] == ["info"]
    assert ending(await stage.enroll(old)) == ("failed", "driver_old", "apply")
    assert stage.fake.payloads == []
