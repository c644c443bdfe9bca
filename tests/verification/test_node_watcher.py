"""Waiting for nodes: when the region is polled, who shares a poll, and how the waiting ends."""

from __future__ import annotations

import asyncio

import pytest

from ionetctl.core.errors import HostUnverifiedError, RegionError, TrustError
from ionetctl.core.model.names import NodeId
from ionetctl.verification.node_watcher import FIRST_POLL_S, POLL_S, NodeWatcher
from tests.support.clock import ManualClock
from tests.support.stamped_region import EIGHT, GPU, NONCE, OTHER_STAMP, STAMP, StampedRegion, node


@pytest.fixture
def region() -> StampedRegion:
    return StampedRegion()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_node_with_its_stamp_is_confirmed(region: StampedRegion, clock: ManualClock) -> None:
    """At the first look, without waiting."""
    region.stamped[STAMP] = [node()]
    view = await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    assert (view, clock.slept) == (node(), [])


async def test_node_is_waited_for(region: StampedRegion, clock: ManualClock) -> None:
    """It comes at the third look."""

    def appear(question: int) -> None:
        if question == 3:
            region.stamped[STAMP] = [node()]

    region.on_question = appear
    view = await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    assert (view.id, clock.slept) == ("n-1", [FIRST_POLL_S, 2 * FIRST_POLL_S])


async def test_node_that_takes_its_time_is_asked_for_less_often(
    region: StampedRegion, clock: ManualClock
) -> None:
    """Soon at first, then at the poll's pace, so that a slow start costs no storm of questions."""
    with pytest.raises(HostUnverifiedError):
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert clock.slept[:5] == [0.25, 0.5, 1.0, POLL_S, POLL_S]


async def test_slow_region_gets_a_rest(region: StampedRegion, clock: ManualClock) -> None:
    """A region that takes long to answer is not asked again at once."""

    def dawdle(_: int) -> None:
        clock.advance(0.2)

    region.on_question = dawdle
    with pytest.raises(HostUnverifiedError):
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 4)
    assert len(region.asked) <= 3


async def test_ready_with_an_old_stamp_does_not_count(region: StampedRegion, clock: ManualClock) -> None:
    """A stopped agent stays ready for a while: what is shown may be a memory."""
    region.stamped[OTHER_STAMP] = [node()]
    with pytest.raises(HostUnverifiedError) as caught:
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert (caught.value.code, clock.monotonic()) == ("not_registered", 10)


async def test_another_node_with_the_stamp_does_not_count(region: StampedRegion, clock: ManualClock) -> None:
    """A wave shares its nonce; the id tells the hosts apart."""
    region.stamped[STAMP] = [node("n-2")]
    with pytest.raises(HostUnverifiedError, match="does not show"):
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)


async def test_patience_that_is_no_multiple_of_the_poll_is_kept(
    region: StampedRegion, clock: ManualClock
) -> None:
    """The last sleep is as long as what is left."""
    with pytest.raises(HostUnverifiedError):
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, GPU, 3)
    assert clock.slept == [0.25, 0.5, 1, 1.25]


async def test_waiters_share_one_question(region: StampedRegion, clock: ManualClock) -> None:
    """A thousand hosts of a wave cost one query a poll."""
    ids = [NodeId(f"n-{index}") for index in range(1000)]
    region.stamped[STAMP] = [node(name) for name in ids]
    watcher = NodeWatcher(region, clock)
    views = await asyncio.gather(*(watcher.confirm(name, STAMP, EIGHT, 60) for name in ids))
    assert ([view.id for view in views], len(region.asked)) == (ids, 1)


async def test_latecomer_of_another_wave_is_asked_for_at_once(
    region: StampedRegion, clock: ManualClock
) -> None:
    """What a recent look did not ask for, it cannot tell."""
    region.stamped = {STAMP: [node("n-1")], OTHER_STAMP: [node("n-2")]}
    watcher = NodeWatcher(region, clock)
    await watcher.confirm(NodeId("n-1"), STAMP, GPU, 60)
    await watcher.confirm(NodeId("n-2"), OTHER_STAMP, GPU, 60)
    expected = [f'Meta["unique.ionet_bundle"] matches "-({nonce})$"' for nonce in (NONCE, "f" * 12)]
    assert ([expression for expression, _ in region.asked], clock.slept) == (expected, [])


async def test_devices_are_asked_for_only_where_needed(region: StampedRegion, clock: ManualClock) -> None:
    """Lists with devices weigh five times as much."""
    region.stamped = {STAMP: [node("n-1"), node("n-2")], OTHER_STAMP: [node("n-3")]}
    watcher = NodeWatcher(region, clock)
    await asyncio.gather(
        watcher.confirm(NodeId("n-1"), STAMP, EIGHT, 60),
        watcher.confirm(NodeId("n-2"), STAMP, GPU, 60),
        watcher.confirm(NodeId("n-3"), OTHER_STAMP, GPU, 60),
    )
    assert [(expression[-16:-3], needed) for expression, needed in region.asked] == [
        (f"({NONCE}", True),
        (f"({'f' * 12}", False),
    ]


async def test_nobody_waiting_means_nobody_asking(region: StampedRegion, clock: ManualClock) -> None:
    """Those who are done are not asked about any more, those who gave up neither."""
    region.stamped[OTHER_STAMP] = [node("n-2")]
    watcher = NodeWatcher(region, clock)
    with pytest.raises(HostUnverifiedError):
        await watcher.confirm(NodeId("n-1"), STAMP, GPU, 0)
    await watcher.confirm(NodeId("n-2"), OTHER_STAMP, GPU, 60)
    assert [NONCE in expression for expression, _ in region.asked] == [True, False]


FAILURES = pytest.mark.parametrize(
    "failure", [RegionError("region_no_leader", "no", "hint"), TrustError("region_untrusted", "no", "hint")]
)


async def fifty_answers(
    region: StampedRegion, clock: ManualClock, failure: RegionError | TrustError
) -> list[object]:
    """What fifty waiters get of a region that takes 90 s to fail."""
    region.failure = failure
    region.on_question = lambda _: clock.advance(90)
    watcher = NodeWatcher(region, clock)
    return list(
        await asyncio.gather(
            *(watcher.confirm(NodeId(f"n-{index}"), STAMP, GPU, 600) for index in range(50)),
            return_exceptions=True,
        )
    )


@FAILURES
async def test_region_that_cannot_be_asked_fails_all_who_wait(
    region: StampedRegion, clock: ManualClock, failure: RegionError | TrustError
) -> None:
    """Every waiter gets the region's code."""
    results = await fifty_answers(region, clock, failure)
    assert {getattr(result, "code", None) for result in results} == {failure.code}


@FAILURES
async def test_each_waiter_gets_an_error_of_its_own(
    region: StampedRegion, clock: ManualClock, failure: RegionError | TrustError
) -> None:
    """A shared exception would gather the tracebacks of all."""
    results = await fifty_answers(region, clock, failure)
    assert len({id(result) for result in results}) == 50


@FAILURES
async def test_region_that_cannot_be_asked_is_asked_once(
    region: StampedRegion, clock: ManualClock, failure: RegionError | TrustError
) -> None:
    """One round of retries serves all who wait, however long it took."""
    await fifty_answers(region, clock, failure)
    assert len(region.asked) == 1


async def test_region_that_recovers_is_asked_again(region: StampedRegion, clock: ManualClock) -> None:
    """A failed look does not stay."""
    region.failure = RegionError("region_no_leader", "no")
    region.stamped[STAMP] = [node()]
    watcher = NodeWatcher(region, clock)
    with pytest.raises(RegionError):
        await watcher.confirm(NodeId("n-1"), STAMP, EIGHT, 60)
    region.failure = None
    clock.advance(POLL_S)
    assert (await watcher.confirm(NodeId("n-1"), STAMP, EIGHT, 60)).id == "n-1"


async def test_cancelled_waiter_leaves_the_others_alone(region: StampedRegion, clock: ManualClock) -> None:
    """Even when it was the one who was asking."""
    region.stamped[STAMP] = [node("n-1"), node("n-2")]
    watcher = NodeWatcher(region, clock)
    first = asyncio.create_task(watcher.confirm(NodeId("n-1"), STAMP, EIGHT, 60))
    second = asyncio.create_task(watcher.confirm(NodeId("n-2"), STAMP, EIGHT, 60))

    def cancel(question: int) -> None:
        if question == 1:
            first.cancel()

    region.on_question = cancel
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert (type(results[0]), getattr(results[1], "id", None)) == (asyncio.CancelledError, "n-2")


@pytest.mark.parametrize("stamp", ["", "0123-", '0123-"or', "0123-.*", "0123-ä"])
async def test_stamp_that_is_none_matches_nothing(
    region: StampedRegion, clock: ManualClock, stamp: str
) -> None:
    """It was read from a host, and goes into a filter: neither quotes nor patterns come through."""
    region.stamped[STAMP] = [node()]
    with pytest.raises(HostUnverifiedError):
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), stamp, GPU, 0)
    assert [expression for expression, _ in region.asked] == [
        'Meta["unique.ionet_bundle"] matches "-(none)$"'
    ]


async def test_reason_of_the_last_poll_is_raised(region: StampedRegion, clock: ManualClock) -> None:
    """A node that registered and lost a card on the way."""
    region.stamped[STAMP] = [node(gpus=7)]
    with pytest.raises(HostUnverifiedError, match="sees 7 GPUs, not 8") as caught:
        await NodeWatcher(region, clock).confirm(NodeId("n-1"), STAMP, EIGHT, 10)
    assert caught.value.code == "gpu_count_mismatch"
