"""What keeps jobs from a node and lets it have them again: planned from its state, carried out at its region."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError, HostUnreachableError, HostUnverifiedError, RegionError
from ionetctl.core.events import Warned
from ionetctl.core.model.node import LastDrain, NodeView, RunningAllocation, SystemJob
from ionetctl.maintenance.meta_changes import SetMeta, UnsetMeta
from ionetctl.maintenance.node_actions import Exclude, Include, NodeWork
from ionetctl.maintenance.node_state import look
from ionetctl.maintenance.system_jobs import SystemJobs
from tests.support.fakes import Emitted, FakeRegion
from tests.support.sample import EU_NORTH, HOST, view

if TYPE_CHECKING:
    from ionetctl.maintenance.node_actions import NodeAction
    from ionetctl.maintenance.node_state import NodeState

BY = Exclude("ops@ctl", "2026-11-27T12:00:00Z", "fan noise")
MARK = {
    host_paths.EXCLUDED_BY_KEY: "ops@ctl",
    host_paths.EXCLUDED_AT_KEY: "2026-11-27T12:00:00Z",
    host_paths.EXCLUDED_REASON_KEY: "fan noise",
}
GATEWAY = SystemJob("gateway", "default", ("rey*",), "all")


@dataclass
class Node:
    """One node in a region of its own; ``view`` is how it is at first."""

    view: NodeView = field(default_factory=view)
    region: FakeRegion = field(default_factory=FakeRegion)
    emit: Emitted = field(default_factory=Emitted)
    is_stopped: bool = False
    agreed: frozenset[tuple[str, str]] = frozenset({("default", "web"), ("default", "gateway")})

    def __post_init__(self) -> None:
        self.region.show(self.view, "stamp")

    async def state(self) -> NodeState:
        return await look(self.region, HOST, self.view.id, at_jobs=True)

    async def planned(self, action: NodeAction) -> list[tuple[str, str, str]]:
        return [(one.action.value, one.path, one.reason) for one in action.plan(await self.state())]

    async def work(self) -> NodeWork:
        jobs = SystemJobs(EU_NORTH, self.region, self.emit)
        clock = self.region.clock
        state = await self.state()
        return NodeWork(
            self.region, state, self.emit, clock, 60.0, jobs, lambda: self.is_stopped, self.agreed
        )

    async def carry_out(self, action: NodeAction) -> None:
        await action.carry_out(await self.work())

    @property
    def now(self) -> NodeView:
        return self.region.shown[self.view.id][0]

    @property
    def meta(self) -> dict[str, str]:
        return self.region.meta.get(self.view.id, {})

    @property
    def warnings(self) -> list[str]:
        return [event.code for event in self.emit.events if isinstance(event, Warned)]


async def test_exclusion_says_what_it_changes_and_what_goes_on() -> None:
    """Eligibility and mark, and the allocations that stay."""
    node = Node()
    node.region.jobs[node.view.id] = (RunningAllocation("web.cache[0]"), RunningAllocation("web.cache[1]"))
    assert await node.planned(BY) == [
        ("exclude", "eligibility", "no new jobs; 2 allocations go on there"),
        ("annotate", "exclusion", "fan noise"),
    ]


def test_details_tell_an_action_from_others_of_its_name() -> None:
    """Who and when are no part of them."""
    assert BY.details == replace(BY, by="eve@ctl", at="").details == ("reason=fan noise",)
    assert (replace(BY, reason="").details, Include().details, Include(force=True).details) == (
        (),
        (),
        ("force",),
    )
    assert SetMeta({"b": "2", "a": "1"}).details == ("a=1", "b=2")
    assert UnsetMeta(("b", "a")).details == ("a", "b")


async def test_excluded_node_is_ineligible_and_says_by_whom() -> None:
    """And the next plan is empty."""
    node = Node()
    await node.carry_out(BY)
    assert (node.now.eligibility, node.meta) == ("ineligible", MARK)
    later = replace(BY, at="2026-11-28T12:00:00Z")
    assert (await node.planned(later), await node.planned(replace(later, reason=""))) == ([], [])


async def test_another_reason_replaces_the_one_that_stands() -> None:
    """Who, when and why are those of the later one."""
    node = Node()
    await node.carry_out(BY)
    later = Exclude("eve@ctl", "2026-11-28T12:00:00Z", "smoke")
    assert await node.planned(later) == [
        (
            "annotate",
            "exclusion",
            "smoke instead of: excluded by ops@ctl at 2026-11-27T12:00:00Z: fan noise",
        )
    ]
    await node.carry_out(later)
    assert node.meta[host_paths.EXCLUDED_BY_KEY] == "eve@ctl"


async def test_exclusion_that_was_cut_off_is_completed() -> None:
    """Eligibility is changed first: the mark is what is missing then, and what the next plan has."""
    node = Node(replace(view(), eligibility="ineligible"))
    assert await node.planned(replace(BY, reason="")) == [("annotate", "exclusion", "no reason given")]


async def test_ineligible_node_that_cannot_be_asked_is_not_taken_for_excluded() -> None:
    """Whoever keeps jobs from it may let it have them again, since nothing says that it is excluded."""
    node = Node(replace(view(), eligibility="ineligible", status="down"))
    with pytest.raises(HostUnreachableError, match="cannot be asked"):
        await node.planned(BY)


@pytest.mark.parametrize("code", ["node_disconnected", "node_silent", "node_failing"])
async def test_mark_of_a_node_that_cannot_be_asked_is_a_warning(code: str) -> None:
    """Jobs are kept away all the same; while it is away, the next run says that the mark is missing."""
    node = Node()
    gone = RegionError(code, "no way to the node")
    node.region.errors["annotate"] = [gone]
    await node.carry_out(BY)
    assert (node.now.eligibility, node.warnings) == ("ineligible", ["mark_unwritten"])
    node.region.errors["metadata"] = [gone]
    with pytest.raises(HostUnreachableError):
        await node.planned(BY)


async def test_metadata_of_a_node_that_is_down_is_the_servers_own() -> None:
    """Its agent is not asked."""
    node = Node(replace(view(), status="down"))
    node.region.meta[node.view.id] = dict(MARK)
    node.region.errors["metadata"] = [AssertionError()]
    exclusion = (await node.state()).exclusion
    assert exclusion is not None
    assert exclusion.meta == MARK


async def test_region_that_refuses_otherwise_is_no_mark_unwritten() -> None:
    """Only a node without a connection is."""
    node = Node()
    node.region.errors["annotate"] = [RegionError("region_forbidden", "403")]
    with pytest.raises(RegionError):
        await node.carry_out(BY)
    node.region.errors["metadata"] = [RegionError("region_forbidden", "403")]
    with pytest.raises(RegionError):
        await node.state()


async def test_inclusion_takes_the_exclusion_back() -> None:
    """The plan says whose it was."""
    node = Node()
    await node.carry_out(BY)
    was = "excluded by ops@ctl at 2026-11-27T12:00:00Z: fan noise"
    assert await node.planned(Include()) == [
        ("include", "eligibility", was),
        ("annotate", "exclusion", f"taken back: {was}"),
    ]
    await node.carry_out(Include())
    assert (node.now.eligibility, node.meta, await node.planned(Include())) == ("eligible", {}, [])


async def test_node_that_somebody_else_made_ineligible_is_included() -> None:
    """Without a mark there is none to take back."""
    node = Node(replace(view(), eligibility="ineligible"))
    assert await node.planned(Include()) == [("include", "eligibility", "somebody made it ineligible")]
    await node.carry_out(Include())
    assert (node.now.eligibility, node.meta) == ("eligible", {})


async def test_node_that_ionetctl_holds_is_included_by_force_alone() -> None:
    """Then it is another's decision, which no enrolment takes back."""
    node = Node(replace(view(), eligibility="ineligible"))
    node.region.meta[node.view.id] = {
        host_paths.ADMISSION_KEY: "flawed: gpu_lost",
        host_paths.ADMISSION_REASON_KEY: "GPU 2 is lost",
    }
    with pytest.raises(HostFailedError) as caught:
        await node.planned(Include())
    assert (caught.value.code, caught.value.message) == (
        "node_unproved",
        "ionetctl holds the node: GPU 2 is lost",
    )
    force = Include(force=True)
    assert await node.planned(force) == [
        ("include", "eligibility", "held by ionetctl: GPU 2 is lost"),
        ("annotate", "hold", "taken back: GPU 2 is lost"),
    ]
    await node.carry_out(force)
    assert (node.now.eligibility, node.meta) == ("eligible", {host_paths.ADMISSION_KEY: "released"})


async def test_mark_of_a_held_node_that_was_included_while_it_was_down_is_taken_back_later() -> None:
    """By the same command, once its agent can be asked; without force it is ionetctl's to note."""
    node = Node(replace(view(), eligibility="ineligible", status="down"))
    node.region.meta[node.view.id] = {host_paths.ADMISSION_KEY: "flawed: gpu_lost"}
    node.region.errors["annotate"] = [RegionError("node_disconnected", "no way to the node")]
    force = Include(force=True)
    await node.carry_out(force)
    assert (node.now.eligibility, node.warnings) == ("eligible", ["mark_unwritten"])
    assert await node.planned(force) == []
    node.region.show(replace(node.now, status="ready"), "stamp")
    assert await node.planned(Include()) == []
    assert await node.planned(force) == [("annotate", "hold", "taken back: flawed: gpu_lost")]
    await node.carry_out(force)
    assert (node.meta, await node.planned(force)) == ({host_paths.ADMISSION_KEY: "released"}, [])


async def test_node_that_is_drained_is_not_included() -> None:
    """Nomad refuses that too; the plan says what to do."""
    node = Node(replace(view(), is_draining=True, eligibility="ineligible"))
    with pytest.raises(HostFailedError, match="being drained"):
        await node.planned(Include())


async def test_region_that_does_not_show_the_change_is_waited_for() -> None:
    """Until the timeout: then the node is unverified."""
    node = Node()

    class Deaf(FakeRegion):
        async def set_eligibility(self, node: object, *, is_eligible: bool) -> None: ...

    node.region = Deaf(node.region.clock)
    node.region.show(node.view, "stamp")
    began = node.region.clock.monotonic()
    with pytest.raises(HostUnverifiedError, match="still lets the node have jobs"):
        await node.carry_out(BY)
    assert node.region.clock.monotonic() - began >= 60.0


async def test_node_that_is_purged_meanwhile_is_named() -> None:
    """Before its change and while the region is waited for."""
    node = Node()
    work = await node.work()
    node.region.shown.clear()
    with pytest.raises(HostUnverifiedError, match="gone meanwhile"):
        await work.detail()
    with pytest.raises(HostFailedError, match="does not know the node"):
        await node.state()


# --- system jobs -----------------------------------------------------------------------------------------------------


async def test_system_job_that_does_not_come_back_is_scheduled() -> None:
    """An evaluation of the node brings it; nothing is warned of then."""
    node = Node(replace(view(), eligibility="ineligible"))

    class Forgetful(FakeRegion):
        async def evaluate(self, node: object) -> None:
            await super().evaluate(node)  # type: ignore[arg-type]
            self.jobs[node] = (RunningAllocation("gateway.g[0]", job="gateway", namespace="default"),)  # type: ignore[index]

    node.region = Forgetful(node.region.clock, of_system=[GATEWAY])
    node.region.show(node.view, "stamp")
    await node.carry_out(Include())
    assert (node.region.evaluated, node.warnings) == ([node.view.id], [])


async def test_system_job_that_runs_is_left_alone() -> None:
    """No evaluation is asked for; of another pool or datacenter none is waited for."""
    node = Node(replace(view(), eligibility="ineligible"))
    node.region.of_system = [
        GATEWAY,
        replace(GATEWAY, id="elsewhere", datacenters=("hel1",)),
        replace(GATEWAY, id="cpu", node_pool="cpu"),
    ]
    node.region.jobs[node.view.id] = (RunningAllocation("g", job="gateway", namespace="default"),)
    await node.carry_out(Include())
    assert (node.region.evaluated, node.warnings) == ([], [])


async def test_system_job_that_stays_away_is_named() -> None:
    """A job of the same name in another namespace is another job."""
    node = Node(replace(view(), eligibility="ineligible"))
    node.region.of_system = [GATEWAY]
    node.region.jobs[node.view.id] = (RunningAllocation("g", job="gateway", namespace="other"),)
    await node.carry_out(Include())
    assert (node.region.evaluated, node.warnings) == ([node.view.id], ["system_jobs_missing"])


async def test_token_that_may_not_list_jobs_is_said_once() -> None:
    """Nodes are included all the same."""
    node = Node(replace(view(), eligibility="ineligible"))
    node.region.errors["system_jobs"] = [RegionError("region_forbidden", "403")]
    work = await node.work()
    await Include().carry_out(work)
    await Include().carry_out(work)
    assert (node.now.eligibility, node.warnings) == ("eligible", ["system_jobs_unknown"])


async def test_inclusion_that_was_cut_off_is_completed() -> None:
    """Or undone: the mark that it left is no second exclusion."""
    node = Node()
    node.region.meta[node.view.id] = dict(MARK)
    assert [path for _, path, _ in await node.planned(Include())] == ["exclusion"]
    assert [path for _, path, _ in await node.planned(BY)] == ["eligibility"]
    await node.carry_out(BY)
    assert (node.now.eligibility, node.meta) == ("ineligible", MARK)
    await node.region.set_eligibility(node.view.id, is_eligible=True)
    await node.carry_out(Include())
    assert (node.now.eligibility, node.meta) == ("eligible", {})


async def test_drained_node_is_included_with_the_time_of_its_drain() -> None:
    """Where nobody has excluded it."""
    node = Node(replace(view(), eligibility="ineligible"))
    node.region.drains[node.view.id] = LastDrain("complete", "2026-11-27T12:00:00Z", {})
    assert await node.planned(Include()) == [("include", "eligibility", "drained at 2026-11-27T12:00:00Z")]
