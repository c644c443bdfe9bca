"""Closing a host to the key that logged in, as one more step of its pipeline: only a refused login counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostUnreachableError, LockedError
from ionetctl.core.events import HostConfirmed, KeyClosed, KeyClosing, SshOpened, StepRetried
from ionetctl.core.model.login_key import AccountLogin, LoginMethod
from ionetctl.core.model.names import RolloutId
from ionetctl.host.access.close_key import BegunClosing
from ionetctl.host.pipeline import Blocked, Pipeline
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.survey import Surveyed
from tests.support.fakes import (
    KEYS_FILE,
    LOGIN,
    WITHOUT_TOKEN,
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakeRegion,
    Line,
    dependencies,
)
from tests.support.sample import HOST, bundle, converged, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.outcome import Outcome

CONVERGED = converged(bundle(HOST))
CLOSING_HOST = replace(HOST, ssh=replace(HOST.ssh, close="key"))
LOST = HostUnreachableError("connection_lost", "the connection was lost", transient=True)
BUSY = "refused\tbusy\tanother run is at work on it"
ROOTS_FILE = "/etc/ssh/keys/miner"
assert LOGIN.key is not None
FINGERPRINT = LOGIN.key.fingerprint


@dataclass
class Stage:
    """A host whose agent is as planned already, and that is to be closed."""

    closing: Sequence[Line | None] = ()
    trial_refusals: Sequence[BaseException] = ()
    login: AccountLogin = LOGIN
    is_let_in_anyhow: bool = False
    emit: Emitted = field(default_factory=Emitted)
    region: FakeRegion = field(default_factory=FakeRegion)

    def __post_init__(self) -> None:
        self.region.show(view(), str(CONVERGED.nomad.stamp))
        self.fake = FakeHost((CONVERGED,), (WITHOUT_TOKEN,), self.region, login=self.login)
        self.fake.closing = list(self.closing)
        self.fake.is_let_in_anyhow = self.is_let_in_anyhow
        trials = {HOST.name: list(self.trial_refusals)}
        self.connector = FakeConnector({HOST.name: self.fake}, trial_refusals=trials)
        rollout = RolloutId("20261123T011226-k3f9qa")
        self.deps = dependencies(rollout, self.connector, self.region, FakeIssuer(), self.emit)
        self.pipeline = Pipeline(self.deps)

    def plan(self) -> PlannedHost:
        surveyed = Surveyed(CLOSING_HOST, CLOSING_HOST.name, CONVERGED, ())
        return Planner(self.deps).plan_host(surveyed, "aaaaaaaaaaaa", Mark.RELEASED).with_closing()

    async def enroll(self) -> Outcome:
        return await self.pipeline.enroll(self.plan(), "bbbbbbbbbbbb")

    async def refused_in_the_survey(self) -> Outcome:
        """The outcome of a host that was surveyed, and counts in the fleet's checks, but cannot be closed."""
        found = await self.pipeline.survey(CLOSING_HOST)
        assert isinstance(found, Blocked)
        assert found.surveyed.facts.nomad.node_id == CONVERGED.nomad.node_id
        assert "HostSurveyed" in self.emit.names
        assert (found.outcome.attempts, found.outcome.node_id) == (1, CONVERGED.nomad.node_id)
        return found.outcome

    @property
    def told(self) -> list[str]:
        """What was recorded of the closing, and of the confirmation before it."""
        kinds = (HostConfirmed, KeyClosing, KeyClosed, SshOpened, StepRetried)
        return [type(event).__name__ for event in self.emit.events if isinstance(event, kinds)]


def ending(outcome: Outcome) -> tuple[str, str | None, str | None]:
    problem = outcome.problem
    return (outcome.result.value, problem.code if problem else None, problem.step if problem else None)


async def test_key_is_taken_out_once_the_region_has_confirmed_the_node() -> None:
    """What is about to be done is recorded first, then the refused login; the node stays what it is."""
    stage = Stage()
    outcome = await stage.enroll()
    assert ending(outcome) == ("enrolled", None, None)
    assert stage.fake.key_lines == {KEYS_FILE: 0}
    assert stage.told == ["HostConfirmed", "KeyClosing", "KeyClosed"]
    assert stage.connector.trials == [HOST.name]
    assert KeyClosed(host=HOST.name, account="miner", fingerprint=FINGERPRINT) in stage.emit.events


async def test_host_that_is_not_to_be_closed_keeps_its_key() -> None:
    """The control: without ``close: key`` nothing is planned, and no login is tried."""
    stage = Stage()
    planned = stage.plan()
    planned = replace(planned, surveyed=replace(planned.surveyed, host=HOST))
    await stage.pipeline.enroll(planned, "bbbbbbbbbbbb")
    assert stage.fake.key_lines == {KEYS_FILE: 1}
    assert (stage.told, stage.connector.trials) == (["HostConfirmed"], [])


async def test_key_that_still_logs_in_is_said_loudly() -> None:
    """The host is not closed, whatever was removed: it fails, with its node, and the record says that it is open."""
    stage = Stage(is_let_in_anyhow=True)
    outcome = await stage.enroll()
    assert ending(outcome) == ("failed", "still_open", "close")
    assert outcome.node_id == view().id
    assert outcome.problem is not None
    assert "none of the files that sshd reads" in outcome.problem.message
    assert stage.told == ["HostConfirmed", "KeyClosing", "SshOpened"]


async def test_key_that_stands_there_again_is_named() -> None:
    """Where something wrote it back, the file is said."""
    stage = Stage(closing=["removed\t1\tx"])
    outcome = await stage.enroll()
    assert outcome.problem is not None
    assert ending(outcome) == ("failed", "still_open", "close")
    assert f"it stands in {KEYS_FILE}" in outcome.problem.message


@pytest.mark.parametrize(
    ("login", "reason"),
    [
        (AccountLogin("miner", LoginMethod.CERTIFICATE), "a certificate of a CA logged in"),
        (AccountLogin("miner", LoginMethod.PASSWORD), "a password logged in"),
        (AccountLogin("miner", LoginMethod.OTHER), "the server asked for no key"),
    ],
)
async def test_login_without_a_key_is_refused_before_anything_is_changed(
    login: AccountLogin, reason: str
) -> None:
    """The survey says so: no host is planned that cannot be closed as asked."""
    stage = Stage(login=login)
    outcome = await stage.refused_in_the_survey()
    assert ending(outcome) == ("failed", "close_refused", "close")
    assert outcome.problem is not None
    assert reason in outcome.problem.message


async def test_key_in_no_file_is_refused_in_the_survey() -> None:
    """Whatever lets it in, it is no line that could be taken out."""
    stage = Stage()
    stage.fake.key_lines = {}
    outcome = await stage.refused_in_the_survey()
    assert ending(outcome) == ("failed", "close_refused", "close")


async def test_host_that_says_nothing_is_refused() -> None:
    """Neither a file nor a reason: there is nothing to take out."""
    stage = Stage()
    stage.fake.key_lines = {}
    stage.fake.says_why = False
    outcome = await stage.refused_in_the_survey()
    assert ending(outcome) == ("failed", "close_refused", "close")


async def test_survey_of_a_host_that_can_be_closed_goes_on() -> None:
    """Looking changes nothing."""
    stage = Stage()
    assert isinstance(await stage.pipeline.survey(CLOSING_HOST), Surveyed)
    assert stage.fake.key_lines == {KEYS_FILE: 1}


@pytest.mark.parametrize(
    ("said", "code"),
    [("refused\tkeys_file\tit is immutable", "close_refused"), ("removed\tmany\tx", "close_malformed")],
    ids=["refused", "malformed"],
)
async def test_files_that_were_changed_before_roots_is_refused_are_named(said: str, code: str) -> None:
    """Each owner's are changed with that owner's rights, so that they cannot be changed together."""
    stage = Stage(closing=[None, BUSY, said])
    stage.fake.key_lines[ROOTS_FILE] = 1
    outcome = await stage.enroll()
    assert ending(outcome) == ("failed", code, "close")
    assert outcome.problem is not None
    assert f"; it is out of {KEYS_FILE} by now" in outcome.problem.message
    assert stage.fake.key_lines == {KEYS_FILE: 0, ROOTS_FILE: 1}


async def test_refusal_of_the_first_files_names_none() -> None:
    """The control: nothing was changed."""
    stage = Stage(closing=["refused\tkeys_file\tit is immutable"])
    stage.fake.key_lines[ROOTS_FILE] = 1
    outcome = await stage.enroll()
    assert outcome.problem is not None
    assert "it is immutable" in outcome.problem.message
    assert "by now" not in outcome.problem.message
    assert stage.fake.key_lines == {KEYS_FILE: 1, ROOTS_FILE: 1}


async def test_another_run_at_work_on_the_file_is_waited_for() -> None:
    """The step is tried again."""
    stage = Stage(closing=[BUSY])
    outcome = await stage.enroll()
    assert ending(outcome) == ("enrolled", None, None)
    assert stage.told.count("StepRetried") == 1


async def test_another_run_at_work_on_the_file_is_waited_for_in_the_survey_too() -> None:
    """It says nothing of the host."""
    stage = Stage()
    stage.fake.looking = [BUSY]
    assert isinstance(await stage.pipeline.survey(CLOSING_HOST), Surveyed)
    assert stage.told == ["StepRetried"]


async def test_run_whose_lease_was_lost_meanwhile_removes_nothing() -> None:
    """Another one has the host by then, and would not get in any more: the catalog is asked after the apply."""
    stage = Stage()

    async def lost() -> None:
        raise LockedError("lease_lost", "rollout x has taken over rig-001")

    stage.pipeline = Pipeline(replace(stage.deps, require_lease=lost))
    outcome = await stage.enroll()
    assert ending(outcome) == ("failed", "lease_lost", "close")
    assert (outcome.node_id, outcome.problem and outcome.problem.exit_code) == (view().id, 7)
    assert stage.fake.key_lines == {KEYS_FILE: 1}
    assert (stage.told, stage.connector.trials) == (["HostConfirmed"], [])


async def test_host_on_which_another_run_is_at_work_is_not_asked_for_its_key() -> None:
    """The survey names that run; a retry would only say that the key cannot be looked for."""
    stage = Stage()
    stage.fake.facts = [replace(CONVERGED, lock_owner="bob@ops (rollout x)")]
    stage.fake.looking = [BUSY] * 9
    outcome = await stage.refused_in_the_survey()
    assert ending(outcome) == ("failed", "host_locked", "survey")


async def test_connection_that_is_lost_after_the_removal_is_no_failure() -> None:
    """The next attempt finds the key refused, and need not remove anything."""
    stage = Stage(trial_refusals=[LOST])
    outcome = await stage.enroll()
    assert ending(outcome) == ("enrolled", None, None)
    assert stage.told == ["HostConfirmed", "KeyClosing", "StepRetried", "KeyClosed"]
    assert len(stage.connector.connections) == 1


@pytest.mark.parametrize(
    ("lines", "told"), [(0, ["KeyClosed"]), (1, ["KeyClosing", "KeyClosed"])], ids=["gone", "there"]
)
async def test_closing_that_another_process_had_begun_is_ended(lines: int, told: list[str]) -> None:
    """Where that had taken the key out, nobody can log in to survey the host: the refused login proves it all the same."""
    stage = Stage()
    stage.fake.key_lines = {KEYS_FILE: lines}
    assert LOGIN.key is not None
    key = f"{LOGIN.key.type} {LOGIN.key.blob}"
    begun = BegunClosing(
        HostConfirmed(host=HOST.name, node_id=view().id, stamp="digest-aaaaaaaaaaaa", gpus_seen=8),
        KeyClosing(host=HOST.name, account="miner", key=key, files=(KEYS_FILE,)),
    )
    outcome = await stage.pipeline.enroll(stage.plan(), "bbbbbbbbbbbb", begun)
    assert ending(outcome) == ("enrolled", None, None)
    assert (outcome.node_id, outcome.stamp, outcome.gpus_seen) == (view().id, "digest-aaaaaaaaaaaa", 8)
    assert stage.told == told
    assert stage.fake.key_lines == {KEYS_FILE: 0}
    assert KeyClosed(host=HOST.name, account="miner", fingerprint=FINGERPRINT) in stage.emit.events


async def test_connection_that_is_lost_before_the_removal_is_tried_again() -> None:
    """The key logs in still, so it is taken out."""
    stage = Stage(closing=[LOST])
    outcome = await stage.enroll()
    assert ending(outcome) == ("enrolled", None, None)
    assert stage.told == ["HostConfirmed", "KeyClosing", "StepRetried", "KeyClosing", "KeyClosed"]


async def test_login_that_cannot_be_tried_leaves_the_host_unproven() -> None:
    """The node is enrolled; the host is not said to be closed."""
    stage = Stage(trial_refusals=[LOST] * 5)
    outcome = await stage.enroll()
    assert ending(outcome) == ("unreachable", "connection_lost", "close")
    assert (outcome.node_id, outcome.stamp) == (view().id, CONVERGED.nomad.stamp)
    assert "KeyClosed" not in stage.told
