"""An enrolled host changed by a word: what is planned from the record, what is refused, and that the region has to confirm it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import (
    ConfigurationError,
    HostFailedError,
    HostLockedError,
    HostUnreachableError,
    HostUnverifiedError,
    RegionError,
)
from ionetctl.core.events import HostInstalled, Warned
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.node import LastDrain, RunningAllocation
from ionetctl.core.model.plan import Fate
from ionetctl.maintenance.node_actions import NodeWork
from ionetctl.maintenance.node_state import look
from ionetctl.maintenance.system_jobs import SystemJobs
from ionetctl.maintenance.update import Courier, Update
from ionetctl.plan.bundle import build_bundle
from ionetctl.plan.installation import installation
from tests.support.fakes import Emitted, FakeRegion
from tests.support.sample import (
    EU_NORTH,
    HOST,
    NODE_ID,
    NOMAD,
    REGION,
    SIGNERS,
    VERIFYING,
    converged,
    subject,
    view,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.installed import Installed
    from ionetctl.core.model.inventory import RegionSettings
    from ionetctl.core.model.names import HostName, NodeId, RegionName
    from ionetctl.core.model.node import Device
    from ionetctl.core.model.plan import Form, Program
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.plan.bundle import Subject

CHANGED = replace(HOST, meta={"power": "two"})
DOOR = RunningAllocation(
    "ionet-door.door[0]", frozenset({"exec"}), "ionet-door", "ionet-maintenance", "system"
)
EXEC = RunningAllocation("batch.run[0]", frozenset({"exec"}), "batch", "default", "batch")


@dataclass
class Fleet:
    """One host that has its bundle; ``outcome`` is what its door answers, and ``carries`` whether the region shows the change then."""

    region: FakeRegion = field(default_factory=FakeRegion)
    emit: Emitted = field(default_factory=Emitted)
    settings: RegionSettings = REGION
    ca_pem: bytes = b"CA PEM\n"
    nomad: Program = NOMAD
    signers: tuple[str, ...] = SIGNERS
    source: str | None = None
    lose_jobs: bool = False
    answers_with: str = "applied\tabc\tSHA256:x"
    carries: bool = True
    purges: bool = False
    shows: Sequence[Device] | None = None
    """What the region shows of devices once the change was carried, where that is something else."""
    put_error: RegionError | None = None
    take_back_error: RegionError | None = None
    words: list[str] = field(default_factory=list)
    recorded: dict[str, Installed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = subject(HOST, VERIFYING, signers=SIGNERS)
        bundle = build_bundle(wanted)
        has = converged(bundle, VERIFYING)
        self.stamp = has.nomad.stamp or ""
        self.recorded[self.stamp] = installation(bundle, has, has.manifest, wanted.drivers)
        self.show(self.stamp)
        self.region.jobs[NODE_ID] = (DOOR,)

    def show(self, stamp: str, **changes: Any) -> None:
        self.region.show(replace(view(), **changes), stamp)
        self.region.static[NODE_ID] = {host_paths.STAMP_KEY: stamp}

    # --- what is recorded ---

    def had_java(self) -> None:
        """Record a driver that it loses by the next change."""
        recorded = self.recorded[self.stamp]
        self.recorded[self.stamp] = msgspec.structs.replace(recorded, drivers=("docker", "exec", "java"))

    def knows(self, region: RegionName, host: HostName) -> bool:
        return (region, host) == (EU_NORTH, HOST.name) and bool(self.recorded)

    def of(self, _region: RegionName, _host: HostName, stamp: str) -> Installed | None:
        return self.recorded.get(stamp)

    # --- the door ---

    async def put_word(self, _node: NodeId, word: bytes) -> int:
        if self.put_error:
            raise self.put_error
        self.words.append(word.decode())
        if self.purges:
            self.region.shown.clear()
        if self.carries:
            eligibility = self.region.shown[NODE_ID][0].eligibility
            devices = {} if self.shows is None else {"devices": tuple(self.shows)}
            self.show(self.pending, eligibility=eligibility, **devices)
        return 7

    async def take_back(self, _node: NodeId, _index: int) -> None:
        if self.take_back_error:
            raise self.take_back_error

    async def answers(self, _node: NodeId) -> str:
        answered = self.words and self.answers_with
        return f"1\t{self.said('serial')}\t{self.answers_with}\n" if answered else ""

    def said(self, key: str) -> str:
        """What the last word says for a key of its header."""
        found = re.search(rf"^{key} (.*)$", self.words[-1], re.MULTILINE)
        return found[1] if found else ""

    @property
    def pending(self) -> str:
        """The stamp of the last record."""
        last = [event.stamp for event in self.emit.events if isinstance(event, HostInstalled)]
        return last[-1] if last else self.stamp

    # --- the update ---

    def subject_of(self, host: Host, _name: str, facts: Facts) -> Subject:
        made = subject(host, facts, region=self.settings, signers=self.signers)
        return replace(made, ca_pem=self.ca_pem, nomad=self.nomad)

    @property
    def update(self) -> Update:
        async def sign(_: bytes) -> bytes:
            return b"-----BEGIN SSH SIGNATURE-----\n"

        async def pack(program: Program, _form: Form) -> Program:
            return program

        courier = Courier(RolloutId("r-1"), b"#!/bin/sh\n", {EU_NORTH: self}, sign, pack, self.source)
        return Update(self, self.subject_of, "as-written", courier, self.lose_jobs)

    async def state(self, host: Host = CHANGED) -> NodeState:
        return await look(self.region, host, NODE_ID, at_jobs=True)

    async def planned(self, host: Host = CHANGED) -> list[tuple[str, str]]:
        return [(one.action.value, one.path) for one in self.update.plan(await self.state(host))]

    async def refusal(self, host: Host = CHANGED) -> str:
        with pytest.raises((HostFailedError, HostUnreachableError)) as caught:
            await self.planned(host)
        return caught.value.code

    async def work(self, host: Host = CHANGED) -> NodeWork:
        jobs = SystemJobs(EU_NORTH, self.region, self.emit)
        clock = self.region.clock
        return NodeWork(self.region, await self.state(host), self.emit, clock, 60.0, jobs, lambda: False, ())

    async def carry_out(self, host: Host = CHANGED) -> None:
        await self.update.carry_out(await self.work(host))

    @property
    def records(self) -> list[tuple[str, str | None]]:
        return [
            (event.stamp, event.replaces) for event in self.emit.events if isinstance(event, HostInstalled)
        ]


async def test_what_differs_is_planned_from_the_record() -> None:
    """Nothing where nothing does; the configuration and a restart for another value in its meta."""
    fleet = Fleet()
    assert await fleet.planned(HOST) == []
    assert await fleet.planned() == [("update", host_paths.CLIENT_CONFIG), ("restart", host_paths.UNIT_NAME)]


async def test_change_is_carried_and_recorded_before_anything_is_sent() -> None:
    """So that the host is known again by whoever plans next, whatever becomes of this process; once it is confirmed nothing else counts."""
    fleet = Fleet()
    await fleet.carry_out()
    [(stamp, replaces), confirmed] = fleet.records
    assert confirmed == (stamp, None)
    assert (replaces, fleet.said("from"), fleet.said("when"), fleet.said("confirm")) == (
        fleet.stamp,
        fleet.stamp,
        "any",
        "180",
    )
    assert stamp != fleet.stamp
    fleet.recorded = {
        event.stamp: event.installed for event in fleet.emit.events if isinstance(event, HostInstalled)
    }
    assert await fleet.planned() == []


async def test_same_change_has_the_same_stamp() -> None:
    """A run that is killed between word and answer leaves a host that the next one knows."""
    stamps = [plan.stamp for plan in [Fleet().update.whole_plan(await Fleet().state()) for _ in range(2)]]
    assert stamps[0] == stamps[1] != Fleet().stamp


async def test_change_that_restarts_nothing_is_recorded_when_it_is_done() -> None:
    """Its stamp stays, so a record before it would say of the host what it does not have yet; the region has nothing to confirm."""
    fleet = Fleet(signers=SIGNERS[:1])
    assert await fleet.planned(HOST) == [("update", host_paths.ALLOWED_SIGNERS)]
    fleet.answers_with = "refused\tword_old\tit is old"
    with pytest.raises(HostFailedError):
        await fleet.carry_out(HOST)
    assert (fleet.records, fleet.said("confirm")) == ([], "0")
    fleet.answers_with = "applied\tabc\tSHA256:x"
    await fleet.carry_out(HOST)
    assert fleet.records == [(fleet.stamp, fleet.stamp)]


async def test_hosts_that_nobody_can_plan_for_are_named() -> None:
    """Without a record, with another configuration than is recorded, and away from its region."""
    unknown, changed, away = Fleet(), Fleet(), Fleet()
    unknown.recorded.clear()
    changed.show("0000000000000000-other")
    away.show(away.stamp, status="down")
    codes = [await fleet.refusal() for fleet in (unknown, changed, away)]
    assert codes == ["host_unrecorded", "host_changed", "node_disconnected"]


async def test_word_says_which_signers_it_was_made_for() -> None:
    """By the record, beside those that it brings; without them no word is made."""
    fleet = Fleet(signers=SIGNERS[:1])
    (before,) = [
        file.digest for file in fleet.recorded[fleet.stamp].files if file.path == host_paths.ALLOWED_SIGNERS
    ]
    await fleet.carry_out(HOST)
    named = fleet.said("signers").split(",")
    assert (len(set(named)), named[0]) == (2, before)
    has = fleet.recorded[fleet.stamp]
    left = tuple(file for file in has.files if file.path != host_paths.ALLOWED_SIGNERS)
    fleet.recorded[fleet.stamp] = msgspec.structs.replace(has, files=left)
    assert await fleet.refusal() == "host_unrecorded"


async def test_what_no_word_carries_needs_an_enrolment() -> None:
    """A new CA, a program without a place to fetch it from, and the end of the door itself."""
    newer = replace(NOMAD, version="2.0.6")
    fleets = [Fleet(ca_pem=b"NEW CA\n"), Fleet(nomad=newer), Fleet(signers=())]
    assert [await fleet.refusal() for fleet in fleets] == [
        "word_needs_dialogue",
        "word_needs_dialogue",
        "door_would_close",
    ]
    mirrored = Fleet(nomad=newer, source="http://mirror.example/programs")
    assert ("create", host_paths.nomad_program("2.0.6")) in await mirrored.planned(HOST)
    await mirrored.carry_out(HOST)
    assert (mirrored.said("source"), mirrored.said("programs")) == (
        "http://mirror.example/programs",
        f"{NOMAD.packed_digest}:{NOMAD.packed_bytes}",
    )


async def test_host_whose_door_nobody_serves_is_not_written_to() -> None:
    """Without the door's job no word would arrive; a host where nothing differs needs none."""
    fleet = Fleet()
    fleet.region.jobs[NODE_ID] = (replace(DOOR, namespace="default"), EXEC)
    assert (await fleet.refusal(), await fleet.planned(HOST)) == ("door_job_missing", [])


async def test_answer_alone_proves_nothing() -> None:
    """Whoever carries it could have made it: without the region's confirmation the host is unverified."""
    fleet = Fleet(carries=False)
    with pytest.raises(HostUnverifiedError, match="the region does not show the node with this"):
        await fleet.carry_out()
    assert [replaces for _, replaces in fleet.records] == [fleet.stamp]


async def test_cards_that_were_proved_have_to_come_back() -> None:
    """A device plugin that no longer shows them is no success; a node that was held for them need not show them."""
    lost, held = Fleet(shows=()), Fleet(shows=())
    held.region.meta[NODE_ID] = {host_paths.ADMISSION_KEY: host_paths.HELD}
    held.show(held.stamp, eligibility="ineligible")
    with pytest.raises(HostUnverifiedError) as caught:
        await lost.carry_out()
    assert caught.value.code == "gpu_count_mismatch"
    await held.carry_out()


async def test_node_that_goes_meanwhile_is_unverified() -> None:
    """It was purged while its host carried the word out."""
    fleet = Fleet(carries=False, purges=True)
    with pytest.raises(HostUnverifiedError, match="gone meanwhile"):
        await fleet.carry_out()


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            "refused\thost_changed\tthe host is not at a",
            "host_changed",
            "refused the word: the host is not at a",
        ),
        (
            "failed\tnot_confirmed\tthe region did not show it",
            "not_confirmed",
            "put back what it had: the region",
        ),
        ("failed\tstart_failed\t", "start_failed", "put back what it had: start_failed"),
    ],
    ids=["refused", "failed", "without text"],
)
async def test_host_says_why_nothing_came_of_it(answer: str, code: str, said: str) -> None:
    """Its own code, and what it has now."""
    fleet = Fleet(carries=False, answers_with=answer)
    with pytest.raises(HostFailedError, match=said) as caught:
        await fleet.carry_out()
    assert caught.value.code == code


async def test_enrolment_at_work_is_told_as_to_every_other() -> None:
    """It is another's, and not a fault of the host's."""
    with pytest.raises(HostLockedError) as caught:
        await Fleet(carries=False, answers_with="refused\tlocked\tan enrolment is at work").carry_out()
    assert caught.value.code == "host_locked"


async def test_host_that_does_not_answer_is_judged_by_its_region() -> None:
    """It has the change if the region shows that; else nobody knows."""
    await Fleet(answers_with="").carry_out()
    silent = Fleet(answers_with="", carries=False)
    with pytest.raises(HostUnverifiedError) as caught:
        await silent.carry_out()
    assert caught.value.code == "word_unanswered"


async def test_word_that_stays_in_the_region_is_warned_of() -> None:
    """The host is changed, and its next word replaces it."""
    fleet = Fleet(take_back_error=RegionError("region_forbidden", "no right", "variables:destroy"))
    await fleet.carry_out()
    [warned] = [event for event in fleet.emit.events if isinstance(event, Warned)]
    assert (warned.code, warned.hint) == ("word_left", "variables:destroy")
    assert fleet.records[-1] == (fleet.pending, None)


async def test_word_that_came_twice_has_done_its_work() -> None:
    """A controller was killed, and what it had sent came before the word of the next run, which is for the same change."""
    fleet = Fleet(answers_with="refused\thost_changed\tthe host is at another")
    await fleet.carry_out()
    assert len({stamp for stamp, _ in fleet.records}) == 1


async def test_unanswered_change_that_no_region_shows_is_unverified() -> None:
    """Its stamp is the same before and after."""
    fleet = Fleet(signers=SIGNERS[:1], answers_with="")
    with pytest.raises(HostUnverifiedError):
        await fleet.carry_out(HOST)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RegionError("region_conflict", "x"), HostLockedError), (RegionError("region_down", "x"), RegionError)],
    ids=["conflict", "down"],
)
async def test_region_that_does_not_take_the_word(error: RegionError, kind: type[Exception]) -> None:
    """Another controller at work is this host's trouble; what else is wrong is the region's."""
    with pytest.raises(kind):
        await Fleet(put_error=error).carry_out()


async def test_word_that_cannot_be_signed_fails_its_host() -> None:
    """The key was there when the rollout began, and an agent may be gone since."""
    fleet = Fleet()

    async def sign(_: bytes) -> bytes:
        raise ConfigurationError("signing_failed", "the agent is gone")

    update = replace(fleet.update, courier=replace(fleet.update.courier, sign=sign))
    with pytest.raises(HostFailedError) as caught:
        await update.carry_out(await fleet.work())
    assert caught.value.code == "signing_failed"


async def test_words_are_signed_one_at_a_time() -> None:
    """Somebody touches a security key for each; the time of the next begins with its turn."""
    fleet = Fleet()
    at_once, left_s = list[int](), list[float]()

    async def sign(text: bytes) -> bytes:
        at_once.append(len(at_once) - len(left_s))
        await fleet.region.clock.sleep(100.0)
        expires = re.search(rb"^expires (.*)$", text, re.MULTILINE)
        assert expires
        left_s.append(int(expires[1]) - fleet.region.clock.now().timestamp())
        return b"-----BEGIN SSH SIGNATURE-----\n"

    update = replace(fleet.update, courier=replace(fleet.update.courier, sign=sign))
    work = await fleet.work()
    await asyncio.gather(*(update.carry_out(work) for _ in range(3)))
    assert (at_once, left_s) == ([0, 0, 0], [200.0] * 3)


DRAINED = LastDrain("complete", "2026-11-27T12:00:00Z", {}, None)
CANCELED = LastDrain("canceled", "2026-11-27T12:00:00Z", {}, None)


@pytest.mark.parametrize(
    ("eligibility", "drain", "lose_jobs", "when"),
    [
        ("eligible", DRAINED, True, "any"),
        ("ineligible", None, False, "ineligible"),
        ("ineligible", CANCELED, False, "ineligible"),
        ("ineligible", DRAINED, False, "drained"),
        ("ineligible", DRAINED, True, "any"),
    ],
    ids=["eligible, jobs may be lost", "held", "drain ended", "drained", "jobs may be lost"],
)
async def test_driver_is_taken_away_only_while_no_job_can_come(
    eligibility: str, drain: LastDrain | None, when: str, *, lose_jobs: bool
) -> None:
    """What was planned for a node without jobs is carried out while it still has none."""
    fleet = Fleet(lose_jobs=lose_jobs)
    fleet.had_java()
    fleet.show(fleet.stamp, eligibility=eligibility)
    if drain:
        fleet.region.drains[NODE_ID] = drain
    await fleet.carry_out()
    assert fleet.said("when") == when


async def test_driver_is_not_taken_from_a_node_that_may_get_jobs() -> None:
    """One could be placed between the look and the change, and would be lost; where nothing changes none is."""
    fleet = Fleet()
    fleet.had_java()
    assert (await fleet.refusal(), await fleet.planned(HOST)) == ("jobs_would_be_lost", [])


async def test_jobs_are_told_with_what_becomes_of_them() -> None:
    """As in the plan of an enrolment."""
    fleet = Fleet()
    fleet.region.jobs[NODE_ID] = (DOOR, EXEC)
    told = fleet.update.whole_plan(await fleet.state()).jobs
    assert [(job.job, job.fate) for job in told] == [("ionet-door", Fate.SURVIVES), ("batch", Fate.SURVIVES)]
    assert fleet.update.whole_plan(await fleet.state(HOST)).jobs == ()
