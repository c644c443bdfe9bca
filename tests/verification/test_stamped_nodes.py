"""Which nodes are found by their stamps, and with how many queries."""

from __future__ import annotations

import pytest

from ionetctl.core.model.names import NodeId
from ionetctl.verification.stamped_nodes import MAX_QUERIES, find_stamped
from tests.support.stamped_region import OTHER_STAMP, STAMP, StampedRegion, node


@pytest.fixture
def region() -> StampedRegion:
    return StampedRegion()


async def test_nodes_with_their_stamps_are_found(region: StampedRegion) -> None:
    """Whatever their state; those with another stamp are not among them."""
    region.stamped = {STAMP: [node("n-1"), node("n-2", status="down")], OTHER_STAMP: [node("n-3")]}
    stamps = dict.fromkeys((NodeId("n-1"), NodeId("n-2"), NodeId("n-3")), STAMP)
    found = await find_stamped(region, stamps)
    assert {name: view.status for name, view in found.items()} == {"n-1": "ready", "n-2": "down"}


async def test_other_nodes_of_the_same_wave_are_left_out(region: StampedRegion) -> None:
    """Only those who were asked about."""
    region.stamped[STAMP] = [node("n-1"), node("n-2")]
    assert list(await find_stamped(region, {NodeId("n-1"): STAMP})) == ["n-1"]


async def test_devices_come_along_where_wanted(region: StampedRegion) -> None:
    """For those who compare GPUs."""
    region.stamped[STAMP] = [node()]
    found = await find_stamped(region, {NodeId("n-1"): STAMP}, with_devices=True)
    assert found[NodeId("n-1")].gpu_count == 8


async def test_nobody_to_ask_about_asks_nothing(region: StampedRegion) -> None:
    """An empty fleet costs no query."""
    assert (await find_stamped(region, {}), region.asked) == ({}, [])


@pytest.mark.parametrize(
    ("nonces", "expected"), [(1, 1), (MAX_QUERIES, MAX_QUERIES), (MAX_QUERIES + 1, 17), (1000, 32)]
)
async def test_many_nonces_share_queries(region: StampedRegion, nonces: int, expected: int) -> None:
    """One query each up to 32; beyond that they are asked for together, and all are found."""
    stamps = {NodeId(f"n-{index}"): f"0123456789abcdef-{index:012x}" for index in range(nonces)}
    region.stamped = {stamp: [node(name)] for name, stamp in stamps.items()}
    assert (len(await find_stamped(region, stamps)), len(region.asked)) == (nonces, expected)
