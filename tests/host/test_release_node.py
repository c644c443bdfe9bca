"""Who may have jobs: what ionetctl holds, what it lets go, and what it leaves to others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostError, HostFailedError, HostUnverifiedError, RegionError
from ionetctl.core.events import NodeHeld, NodeReleased, Warned
from ionetctl.core.model.host import GpuPromise
from ionetctl.core.model.names import NodeId, RolloutId
from ionetctl.core.model.node import LastDrain
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.model.plan import Plan
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.release_node import Admission, held, marks, release
from ionetctl.host.survey import Surveyed
from tests.support.fakes import Emitted, FakeConnector, FakeIssuer, FakeRegion, dependencies
from tests.support.sample import BARE, EU_NORTH, HOST, NODE_ID, bundle, view

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ionetctl.core.model.node import NodeView

PROMISED = replace(HOST, gpus=GpuPromise("rtx-4090", 2))
STAMP = "0123456789abcdef-0123456789ab"
PATIENCE_S = 60.0
HELD = view(eligibility="ineligible")
BLIND = view(eligibility="ineligible", devices=())
GONE = RegionError("region_not_found", "No path to node", "wait")
LOST = Finding("gpu_lost", Severity.BLOCK, "no answer any more from GPU 1", "reseat it")


@dataclass
class Stage:
    """A region that shows one node, whose admission is ``meta``."""

    shown: NodeView = HELD
    mark: Mark = Mark.NEW
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        self.emit = Emitted()
        self.region = FakeRegion(errors=self.errors)
        self.region.show(self.shown, STAMP)
        self.region.meta[NODE_ID] = {host_paths.ADMISSION_KEY: host_paths.HELD}
        connector = FakeConnector({})
        deps = dependencies(RolloutId("r-1"), connector, self.region, FakeIssuer(), self.emit)
        self.admission = Admission(deps.regions[EU_NORTH], self.emit)

    async def hold(self) -> NodeView:
        return await self.admission.hold(PROMISED, self.shown, self.mark)

    async def admit(self) -> NodeView:
        surveyed = Surveyed(PROMISED, PROMISED.name, BARE, self.findings)
        planned = PlannedHost(surveyed, bundle(), Plan(HOST.name, STAMP, ()), self.mark)
        return await self.admission.admit(planned, self.shown, PATIENCE_S)

    async def refusal(self) -> HostError:
        with pytest.raises(HostError) as caught:
            await self.admit()
        return caught.value

    @property
    def standing(self) -> tuple[str, dict[str, str]]:
        """The node's eligibility and metadata in the region."""
        return self.region.shown[NODE_ID][0].eligibility, self.region.meta[NODE_ID]


def marked(admission: str, reason: str | None = None) -> dict[str, str]:
    meta = {host_paths.ADMISSION_KEY: admission, host_paths.ADMISSION_REASON_KEY: reason}
    return {key: value for key, value in meta.items() if value is not None}


# --- before the proof ------------------------------------------------------------------------------------------------


async def test_new_node_that_came_up_eligible_is_held_at_once() -> None:
    """An older Nomad cannot be configured to come up otherwise."""
    stage = Stage(view())
    assert (await stage.hold()).eligibility == stage.standing[0] == "ineligible"


@pytest.mark.parametrize(
    ("node", "mark"),
    [(HELD, Mark.NEW), (HELD, Mark.HELD), (view(), Mark.HELD), (view(), Mark.RELEASED), (view(), Mark.NONE)],
)
async def test_all_others_are_left_as_they_are(node: NodeView, mark: Mark) -> None:
    """A known node that has jobs is not taken from them."""
    stage = Stage(node, mark)
    assert (await stage.hold(), stage.standing[0]) == (node, node.eligibility)


@pytest.mark.parametrize("mark", [Mark.RELEASED, Mark.NONE])
async def test_what_somebody_else_made_ineligible_is_an_error(mark: Mark) -> None:
    """A node that is not held by us takes no jobs because somebody wants it so."""
    with pytest.raises(HostUnverifiedError) as caught:
        await Stage(HELD, mark).hold()
    assert caught.value.code == "node_ineligible"


@pytest.mark.parametrize(("mark", "meta"), [(Mark.RELEASED, marked("held")), (Mark.NONE, marked("released"))])
async def test_what_somebody_else_made_ineligible_bears_the_mark(mark: Mark, meta: dict[str, str]) -> None:
    """A node that was there before is marked, so that the next run does not take it for one of ours."""
    stage = Stage(HELD, mark)
    with pytest.raises(HostUnverifiedError):
        await stage.hold()
    assert stage.standing == ("ineligible", meta)


async def test_node_whose_release_does_not_show_yet_is_somebody_elses() -> None:
    """The region shows a mark seconds late; the agent has it, so that an admin's will in between is not undone."""
    stage = Stage(HELD, Mark.HELD)
    stage.region.meta[NODE_ID] = marked("released")
    with pytest.raises(HostUnverifiedError) as caught:
        await stage.hold()
    assert caught.value.code == "node_ineligible"
    assert stage.standing == ("ineligible", marked("released"))


# --- the proof -------------------------------------------------------------------------------------------------------


def proved(mark: Mark) -> Stage:
    """A node that fell short in an earlier run and does no longer."""
    stage = Stage(mark=mark)
    stage.region.meta[NODE_ID] = marked("short: gpu_count_mismatch", "too few")
    return stage


async def test_proved_node_that_an_admin_excluded_is_not_released() -> None:
    """Ionetctl holds it no longer, and it stays ineligible: who wants that says so in the same metadata."""
    stage, excluded = proved(Mark.HELD), {host_paths.EXCLUDED_BY_KEY: "ops@ctl"}
    stage.region.meta[NODE_ID] |= excluded
    assert (await stage.refusal()).code == "node_ineligible"
    assert stage.standing == ("ineligible", marked("released") | excluded)


DRAINED = LastDrain("complete", "2026-11-27T12:00:00Z", {})


async def test_proved_node_that_an_admin_drained_is_not_released() -> None:
    """Ionetctl holds it no longer, so that `nodes include` lets it have jobs; the error says what keeps them from it."""
    stage = proved(Mark.HELD)
    stage.region.drains[NODE_ID] = DRAINED
    error = await stage.refusal()
    assert (error.code, error.message) == (
        "node_ineligible",
        "the node is not eligible for jobs: it was drained at 2026-11-27T12:00:00Z",
    )
    assert stage.standing == ("ineligible", marked("released"))


async def test_proved_node_that_is_being_drained_is_left_as_it_is() -> None:
    """Once the drain has ended otherwise, the next run releases it."""
    stage = proved(Mark.HELD)
    before = stage.standing
    stage.region.drains[NODE_ID] = replace(DRAINED, status="draining")
    assert (await stage.refusal()).code == "node_draining"
    assert (stage.standing, stage.emit.events) == (before, [])
    stage.region.drains[NODE_ID] = replace(DRAINED, status="canceled")
    await stage.admit()
    assert stage.standing == ("eligible", marked("released"))


@dataclass
class Hasty(FakeRegion):
    """A region in which an admin is quicker: ``at_release`` runs before the node is made eligible."""

    at_release: Callable[[], Awaitable[None]] | None = None

    async def set_eligibility(self, node: NodeId, *, is_eligible: bool) -> None:
        if is_eligible and self.at_release is not None:
            await self.at_release()
        await super().set_eligibility(node, is_eligible=is_eligible)


async def test_admin_who_excludes_meanwhile_has_the_last_word() -> None:
    """Release and exclusion race within a second: the answer to the mark shows it."""
    stage = Stage()
    stage.region = region = Hasty(meta=stage.region.meta, shown=stage.region.shown)

    async def exclude() -> None:
        await region.annotate(NODE_ID, {host_paths.EXCLUDED_BY_KEY: "ops@ctl"})

    region.at_release = exclude
    reason = await release(region, HELD)
    assert reason is not None
    assert (reason.code, stage.standing[0]) == ("node_ineligible", "ineligible")


async def test_drain_that_begins_meanwhile_has_the_last_word() -> None:
    """Nomad refuses to make its node eligible, and ionetctl holds it as before."""
    stage = Stage()
    stage.region = region = Hasty(meta=stage.region.meta, shown=stage.region.shown)
    before = stage.standing

    async def drain() -> None:
        raise RegionError("node_draining", "can not set it while it is draining")

    region.at_release = drain
    with pytest.raises(RegionError, match="draining"):
        await release(region, HELD)
    assert stage.standing == before


async def test_node_that_was_released_before_is_somebody_elses() -> None:
    """The list of the region's nodes is some seconds old, what the agent has is not."""
    stage = Stage()
    stage.region.meta[NODE_ID] = marked("released")
    reason = await release(stage.region, HELD)
    assert reason is not None
    assert (reason.code, stage.standing) == ("node_ineligible", ("ineligible", marked("released")))


@pytest.mark.parametrize("mark", [Mark.NEW, Mark.HELD])
async def test_proved_node_is_released(mark: Mark) -> None:
    """It is eligible and marked as released."""
    stage = proved(mark)
    assert await stage.admit() == view()
    assert stage.standing == ("eligible", marked("released"))


@pytest.mark.parametrize("mark", [Mark.NEW, Mark.HELD])
async def test_release_is_told(mark: Mark) -> None:
    """One event names the node."""
    stage = proved(mark)
    await stage.admit()
    assert stage.emit.events == [NodeReleased(host=HOST.name, node_id=NODE_ID)]


async def test_released_node_is_not_written_to() -> None:
    """What was released once is only looked at, and keeps the mark that it has."""
    stage = Stage(view(), Mark.RELEASED)
    assert await stage.admit() == view()
    assert stage.standing[1] == marked("held")


async def test_node_that_was_released_before_is_not_told_again() -> None:
    """No event is sent."""
    stage = Stage(view(), Mark.RELEASED)
    await stage.admit()
    assert stage.emit.events == []


@pytest.mark.parametrize("mark", [Mark.HELD, Mark.NONE])
async def test_eligible_node_without_the_mark_gets_it(mark: Mark) -> None:
    """A release that was cut off is completed."""
    stage = Stage(view(), mark)
    await stage.admit()
    assert stage.standing == ("eligible", marked("released"))


@pytest.mark.parametrize("mark", [Mark.HELD, Mark.NONE])
async def test_completed_release_is_not_told(mark: Mark) -> None:
    """The node was eligible already."""
    stage = Stage(view(), mark)
    await stage.admit()
    assert stage.emit.events == []


async def test_cards_that_show_late_are_waited_for() -> None:
    """The device plugin may need longer than the agent."""
    stage = Stage(BLIND)

    def show() -> None:
        if stage.region.clock.monotonic() >= PATIENCE_S / 2:
            stage.region.show(HELD, STAMP)

    stage.region.at_look = show
    assert await stage.admit() == view()


async def test_node_that_the_region_shows_short_is_unverified_after_its_patience() -> None:
    """The region is asked until the patience ends."""
    stage = Stage(BLIND)
    error = await stage.refusal()
    assert (type(error), error.code, stage.region.clock.monotonic()) == (
        HostUnverifiedError,
        "gpu_count_mismatch",
        PATIENCE_S,
    )


async def test_node_that_the_region_shows_short_stays_held() -> None:
    """The reason stands in the node's metadata."""
    stage = Stage(BLIND)
    error = await stage.refusal()
    assert stage.standing == ("ineligible", marked("short: gpu_count_mismatch", error.message))


async def test_node_that_stays_held_is_told() -> None:
    """One event names the node and the reason."""
    stage = Stage(BLIND)
    error = await stage.refusal()
    assert stage.emit.events == [
        NodeHeld(host=HOST.name, node_id=NODE_ID, code="gpu_count_mismatch", message=error.message)
    ]


async def test_cards_that_are_not_the_probed_ones_hold_the_node() -> None:
    """What only the UUIDs tell is compared once the count is right."""
    [card] = view().devices or ()
    stage = Stage(view(eligibility="ineligible", devices=(replace(card, ids=("GPU-1", "GPU-9")),)))
    assert ((await stage.refusal()).code, stage.standing[0]) == ("gpu_uuid_mismatch", "ineligible")


async def test_host_that_falls_short_itself_is_not_waited_for() -> None:
    """A probe is enough: the region is not asked, since nothing that it shows can clear the host."""
    stage = Stage(findings=(LOST,))
    error = await stage.refusal()
    assert (type(error), error.code, error.step) == (HostFailedError, LOST.code, "confirm")
    assert stage.region.queries == []


async def test_node_of_a_host_that_falls_short_itself_is_marked() -> None:
    """What the probe found stands in the node's metadata."""
    stage = Stage(findings=(LOST,))
    await stage.refusal()
    assert stage.standing == ("ineligible", marked("flawed: gpu_lost", LOST.message))


@pytest.mark.parametrize("mark", [Mark.HELD, Mark.RELEASED, Mark.NONE])
async def test_node_that_has_jobs_stays_eligible(mark: Mark) -> None:
    """Whatever a known node lacks, neither its eligibility nor its mark is written."""
    stage = Stage(view(devices=()), mark)
    await stage.refusal()
    assert stage.standing == ("eligible", marked("held"))


@pytest.mark.parametrize("mark", [Mark.HELD, Mark.RELEASED, Mark.NONE])
async def test_node_that_has_jobs_is_not_told_as_held(mark: Mark) -> None:
    """The error is all that reports it."""
    stage = Stage(view(devices=()), mark)
    await stage.refusal()
    assert stage.emit.events == []


async def test_cautions_are_told() -> None:
    """A node without Docker's runtime for GPUs is released, and that is said."""
    stage = Stage(replace(HELD, docker_runtimes=("runc",)))
    await stage.admit()
    assert [event.code for event in stage.emit.events if isinstance(event, Warned)] == [
        "nvidia_runtime_missing"
    ]


# --- a region that fails in between ----------------------------------------------------------------------------------


async def test_release_without_its_mark_is_a_release() -> None:
    """The node is eligible; its mark is still ours, and the next run writes it."""
    stage = Stage(errors={"annotate": [GONE]})
    assert (await stage.admit()).eligibility == "eligible"
    assert stage.standing == ("eligible", marked("held"))


async def test_release_without_its_mark_is_told_after_a_warning() -> None:
    """The mark that could not be written is a warning."""
    stage = Stage(errors={"annotate": [GONE]})
    await stage.admit()
    assert stage.emit.names == ["Warned", "NodeReleased"]


async def test_region_that_does_not_release_leaves_the_node_ours() -> None:
    """The error comes out, and nothing was written that says otherwise."""
    stage = Stage(errors={"set_eligibility": [GONE]})
    with pytest.raises(RegionError):
        await stage.admit()
    assert stage.standing == ("ineligible", marked("held"))


async def test_reason_that_cannot_be_written_hides_nothing() -> None:
    """The host's failure comes out as it is."""
    assert (await Stage(BLIND, errors={"annotate": [GONE]}).refusal()).code == "gpu_count_mismatch"


async def test_reason_that_cannot_be_written_is_a_warning() -> None:
    """The node is told as held after it."""
    stage = Stage(BLIND, errors={"annotate": [GONE]})
    await stage.refusal()
    assert stage.emit.names == ["Warned", "NodeHeld"]


# --- what a region says of its nodes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What a node's metadata says, and what that makes of it."""

    admission: str
    mark: Mark | None
    by_region: bool = False


MARKS = {
    "n-held": Told("held", Mark.HELD, by_region=True),
    "n-short": Told("short: gpu_unhealthy", Mark.HELD, by_region=True),
    "n-flawed": Told("flawed: gpu_lost", Mark.HELD),
    "n-released": Told("released", None),
    "n-foreign": Told("", Mark.NONE),
    "n-other": Told("held by nobody", None),
}


async def test_marks_are_read_by_two_queries() -> None:
    """All nodes that bear the usual mark are left out: in most regions every node."""
    region = FakeRegion()
    for name, told in MARKS.items():
        region.show(view(name, NodeId(name)), STAMP)
        region.meta[NodeId(name)] = {host_paths.ADMISSION_KEY: told.admission}
    assert await marks(region) == {NodeId(name): told.mark for name, told in MARKS.items() if told.mark}
    assert len(region.queries) == 2
    assert await held(region, by_region=True) == {name for name, told in MARKS.items() if told.by_region}


async def test_release_by_hand() -> None:
    """What ``verify`` does for a node that its region clears."""
    stage = Stage()
    assert await release(stage.region, HELD) is None
    assert stage.standing == ("eligible", marked("released"))
