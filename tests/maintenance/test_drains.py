"""Drains: what they plan, how their ends are told apart, and what ending one makes of a node."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError, HostUnreachableError, HostUnverifiedError, UsageError
from ionetctl.core.events import NodeProgressed
from ionetctl.core.model.node import DrainSpec, LastDrain, RunningAllocation
from ionetctl.maintenance.drains import CancelDrain, Drain, parse_deadline
from tests.maintenance.test_node_actions import MARK, Node
from tests.support.fakes import FakeRegion
from tests.support.sample import view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.names import NodeId

HOUR = Drain("ops@ctl", "new fans", DrainSpec(3600.0))
WEB = RunningAllocation("web.g[0]", job="web", namespace="default", job_type="service")
GATEWAY = RunningAllocation("gateway.g[0]", job="gateway", namespace="default", job_type="system")
COMPLETE = LastDrain("complete", "2026-11-27T12:00:00Z", {})


@dataclass
class Draining(FakeRegion):
    """A region in which a drain goes on with each look at the jobs: ``steps`` are what runs there then, and how the node stands."""

    steps: list[tuple[Sequence[RunningAllocation], str]] = field(default_factory=list)

    async def allocations(self, node: NodeId) -> Sequence[RunningAllocation]:
        if self.steps and node in self.drains:
            running, status = self.steps.pop(0)
            self.jobs[node] = running
            before, (shown, stamp) = self.drains[node], self.shown[node]
            if status == "down":
                self.shown[node] = (replace(shown, status="down"), stamp)
            elif status != "draining":
                is_late = status == "late"
                ended = replace(
                    before, status="complete" if is_late else status, spec=None, deadline_passed=is_late
                )
                self.drains[node] = ended
                self.shown[node] = (replace(shown, is_draining=False), stamp)
        return self.jobs.get(node, ())


def node_with(*steps: tuple[Sequence[RunningAllocation], str]) -> Node:
    """A node with two allocations, in a region that goes through these steps once it drains."""
    node = Node()
    node.region = Draining(node.region.clock, steps=list(steps))
    node.region.show(node.view, "stamp")
    node.region.jobs[node.view.id] = (WEB, GATEWAY)
    return node


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600.0),
        ("90m", 5400.0),
        ("1h30m", 5400.0),
        ("45s", 45.0),
        ("45", 45.0),
        ("none", 0.0),
        ("now", -1.0),
    ],
)
def test_deadlines_are_read(text: str, seconds: float) -> None:
    """As Nomad has them: 0 waits for ever, below 0 stops at once."""
    assert parse_deadline(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0h", "1d", "-5", "soon"])
def test_other_words_are_no_deadline(text: str) -> None:
    """An empty one is a mistake, not no deadline."""
    with pytest.raises(UsageError, match="--deadline"):
        parse_deadline(text)


def test_details_of_a_drain_tell_it_from_others() -> None:
    """Who began it is no part of them."""
    bare = Drain("ops@ctl", "", DrainSpec(3600.0))
    assert bare.details == replace(bare, by="eve@ctl").details == ("deadline=3600",)
    spec = DrainSpec(-1.0, ignores_system_jobs=True)
    full = replace(HOUR, spec=spec, waits=False)
    assert full.details == ("deadline=-1", "ignore-system", "no-wait", "reason=new fans")
    assert CancelDrain().details == ()


async def test_drain_is_waited_for_until_what_it_moves_has_ended() -> None:
    """The region says that it is complete before the last task has ended; what is left is counted."""
    node = node_with(((WEB, GATEWAY), "draining"), ((GATEWAY,), "complete"), ((), "complete"))
    assert await node.planned(HOUR) == [("drain", "drain", "2 allocations, stopped after 3600 s")]
    await node.carry_out(HOUR)
    left = [event.left for event in node.emit.events if isinstance(event, NodeProgressed)]
    assert (left, node.now.eligibility, node.warnings) == ([2, 1], "ineligible", [])
    assert node.region.drains[node.view.id].meta == {
        "ionetctl_by": "ops@ctl",
        "ionetctl_eligibility": "eligible",
        "message": "new fans",
    }
    assert await node.planned(HOUR) == []


async def test_job_that_was_placed_since_the_plan_is_not_ended() -> None:
    """Nobody was asked about it, and no drain is begun; its allocations elsewhere count as well, and system jobs come back."""
    node = node_with(((), "complete"))
    node.region.jobs[node.view.id] = (WEB, replace(WEB, name="train.g[0]", job="train"), GATEWAY)
    node.agreed = frozenset({("default", "web")})
    with pytest.raises(HostFailedError, match=r"^train\.g\[0\] was placed there since the plan") as caught:
        await node.carry_out(HOUR)
    assert (caught.value.code, node.region.drains) == ("jobs_placed_since", {})
    await node.carry_out(replace(HOUR, loses_jobs=True))
    assert node.region.drains[node.view.id].status == "complete"


async def test_drain_that_is_on_its_way_is_waited_for_whatever_runs_there() -> None:
    """Nothing is begun."""
    node = node_with(((), "complete"))
    await node.carry_out(replace(HOUR, waits=False))
    node.agreed = frozenset()
    await node.carry_out(HOUR)
    assert node.region.drains[node.view.id].status == "complete"


async def test_system_jobs_that_stay_are_not_waited_for() -> None:
    """Nor do they make a drained node one that is to be drained."""
    spares = replace(HOUR, spec=DrainSpec(60.0, ignores_system_jobs=True))
    node = node_with(((GATEWAY,), "complete"))
    assert await node.planned(spares) == [
        ("drain", "drain", "1 allocation, stopped after 60 s, system jobs stay")
    ]
    await node.carry_out(spares)
    assert await node.planned(spares) == []
    assert await node.planned(HOUR) == [("drain", "drain", "1 allocation, stopped after 3600 s")]


async def test_deadline_that_passes_is_a_warning() -> None:
    """The node is drained, and some jobs were stopped; not where that was asked for."""
    node = node_with(((), "late"))
    await node.carry_out(HOUR)
    assert node.warnings == ["drain_deadline_passed"]
    at_once = node_with(((), "late"))
    await at_once.carry_out(replace(HOUR, spec=DrainSpec(-1.0)))
    assert at_once.warnings == []


async def test_node_that_goes_down_meanwhile_is_unreachable() -> None:
    """With what ran there."""
    with pytest.raises(HostUnreachableError, match=r"web\.g\[0\], gateway\.g\[0\] were on it") as caught:
        await node_with(((WEB, GATEWAY), "down")).carry_out(HOUR)
    assert caught.value.code == "node_down"


async def test_node_that_goes_down_with_many_allocations_names_some() -> None:
    """Or none, where all had ended."""
    many = tuple(replace(WEB, name=f"web.g[{number}]") for number in range(7))
    with pytest.raises(HostUnreachableError, match=r"web\.g\[4\] and 2 more were on it"):
        await node_with((many, "down")).carry_out(HOUR)
    with pytest.raises(HostUnreachableError, match="no allocation was on it"):
        await node_with(((), "down")).carry_out(HOUR)


async def test_drain_that_somebody_ends_has_failed() -> None:
    """The node was not drained."""
    with pytest.raises(HostFailedError, match="somebody ended the drain"):
        await node_with(((WEB,), "canceled")).carry_out(HOUR)


async def test_allocation_that_does_not_end_is_named() -> None:
    """After the timeout of a step."""
    node = node_with(((WEB,), "complete"))
    with pytest.raises(HostFailedError, match=r"web\.g\[0\] was still there") as caught:
        await node.carry_out(HOUR)
    assert caught.value.code == "allocation_not_ended"


async def test_end_that_is_asked_for_leaves_the_drain_to_the_region() -> None:
    """The next run waits for it, and does not begin it anew."""
    node = node_with()
    node.is_stopped = True
    with pytest.raises(HostUnverifiedError, match="goes on in the region"):
        await node.carry_out(HOUR)
    assert await node.planned(HOUR) == [("drain", "drain", "it is on its way; waited for")]
    assert await node.planned(replace(HOUR, waits=False)) == []
    began = node.region.drains[node.view.id]
    with pytest.raises(HostUnverifiedError):
        await node.carry_out(HOUR)
    assert node.region.drains[node.view.id] is began


async def test_another_deadline_replaces_that_of_a_drain_on_its_way() -> None:
    """What the node was before the first one is remembered."""
    node = node_with()
    await node.carry_out(replace(HOUR, waits=False))
    endless = replace(HOUR, spec=DrainSpec(0.0), waits=False)
    assert await node.planned(endless) == [
        ("drain", "drain", "2 allocations, without a deadline instead of the drain that is on its way")
    ]
    await node.carry_out(endless)
    assert node.region.drains[node.view.id].meta["ionetctl_eligibility"] == "eligible"


async def test_node_whose_jobs_cannot_be_seen_is_drained_all_the_same() -> None:
    """A token that may not read jobs sees none: only a drain that was through says that nothing is left."""
    node = Node(replace(view(), eligibility="ineligible"))
    assert await node.planned(replace(HOUR, spec=DrainSpec(-1.0))) == [
        ("drain", "drain", "no allocation, at once")
    ]
    node.region.drains[node.view.id] = COMPLETE
    assert await node.planned(HOUR) == []


# --- ending one ------------------------------------------------------------------------------------------------------


async def test_drain_that_is_ended_makes_the_node_what_it_was() -> None:
    """Eligible, where it was; what is not drained is unchanged."""
    node = node_with()
    await node.carry_out(replace(HOUR, waits=False))
    assert await node.planned(CancelDrain()) == [
        ("cancel-drain", "drain", "what was not moved yet stays"),
        ("include", "eligibility", "as before the drain"),
    ]
    await node.carry_out(CancelDrain())
    assert (node.now.eligibility, node.now.is_draining) == ("eligible", False)
    assert await node.planned(CancelDrain()) == []


@pytest.mark.parametrize("meta", [MARK, {host_paths.ADMISSION_KEY: "held"}], ids=["excluded", "held"])
async def test_node_that_is_kept_from_jobs_stays_so(meta: dict[str, str]) -> None:
    """An exclusion, or that ionetctl holds it, outlives the drain."""
    node = node_with()
    await node.carry_out(replace(HOUR, waits=False))
    node.region.meta[node.view.id] = dict(meta)
    assert [change for change, _, _ in await node.planned(CancelDrain())] == ["cancel-drain"]
    await node.carry_out(CancelDrain())
    assert node.now.eligibility == "ineligible"


async def test_node_that_was_ineligible_before_stays_so() -> None:
    """Whoever made it so."""
    node = node_with()
    await node.region.set_eligibility(node.view.id, is_eligible=False)
    await node.carry_out(replace(HOUR, waits=False))
    await node.carry_out(CancelDrain())
    assert node.now.eligibility == "ineligible"
