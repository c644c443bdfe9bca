"""Which region a host joins that leaves the choice to the survey, and that no region is overfilled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.events import HostPlaced
from ionetctl.core.model.host import AUTO_REGION, Host, Placement
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.core.model.outcome import Finding
from ionetctl.core.observed import MachineFacts, Reach
from ionetctl.host.dependencies import RegionTools
from ionetctl.host.survey import Surveyed
from ionetctl.placement.region_choice import (
    CandidateRegion,
    Choice,
    RegionChooser,
    candidates,
    other_region,
    rtt_ms,
)
from ionetctl.rollout.assign_regions import place
from ionetctl.verification.node_watcher import NodeWatcher
from tests.support.fakes import STRICT, Emitted, FakeIssuer, FakeRegion
from tests.support.sample import BARE, EU_NORTH, HOST, NODE_ID, REGION, view

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.inventory import RegionSettings

US_EAST = RegionName("us-east")
AP_SOUTH = RegionName("ap-south")
AUTO = replace(HOST, region=AUTO_REGION)


def settings(name: RegionName, capacity: int = 100) -> RegionSettings:
    return replace(REGION, name=name, servers=(f"{name}-1:4647", f"{name}-2:4647"), capacity=capacity)


def room(
    name: RegionName, nodes: int = 0, capacity: int = 100, pools: frozenset[str] | None = None
) -> CandidateRegion:
    known = frozenset(NodeId(f"{name}-{number}") for number in range(nodes))
    return CandidateRegion(settings(name, capacity), known, pools)


def facts_at(**rtts_ms: float | None) -> Facts:
    """A host that reaches each region's servers in so many milliseconds, or not at all."""
    reaches = tuple(
        Reach(f"{name.replace('_', '-')}-{number}", 4647, rtt_ms=rtt)
        if rtt is not None
        else Reach(f"{name.replace('_', '-')}-{number}", 4647, failure="timeout")
        for name, rtt in rtts_ms.items()
        for number in (1, 2)
    )
    return replace(BARE, machine=MachineFacts(reaches=reaches))


def places(*rooms: CandidateRegion) -> RegionChooser:
    return RegionChooser({one.name: one for one in rooms})


def placed(choice: Choice | Finding) -> str:
    return choice.region if isinstance(choice, Choice) else choice.code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HOST, (EU_NORTH,)),
        (AUTO, (EU_NORTH, US_EAST)),
        (replace(AUTO, placement=Placement(regions=(US_EAST,))), (US_EAST,)),
    ],
)
def test_candidates_are_what_the_inventory_leaves_open(host: Host, expected: tuple[RegionName, ...]) -> None:
    """A named region is the only one; auto means all, or those that are listed."""
    assert candidates(host, (EU_NORTH, US_EAST)) == expected


def test_distance_is_the_median_of_the_servers_that_answer() -> None:
    """Servers of other regions and those that do not answer say nothing; IPv6 addresses are reported apart."""
    reaches = (
        Reach("::1", 4647, rtt_ms=10.0),
        Reach("b", 4647, rtt_ms=30.0),
        Reach("c", 4647, failure="refused"),
        Reach("other", 4647, rtt_ms=1.0),
    )
    region = replace(REGION, servers=("[::1]:4647", "b:4647", "c:4647"))
    assert rtt_ms(region, replace(BARE, machine=MachineFacts(reaches=reaches))) == 20.0
    assert rtt_ms(region, BARE) is None


def test_the_nearest_region_is_chosen_with_its_reasons() -> None:
    """The decisive one first, then what else there was, nearest first."""
    choice = places(room(US_EAST), room(EU_NORTH, 31), room(AP_SOUTH)).place(
        AUTO, facts_at(us_east=95, eu_north=12, ap_south=None)
    )
    assert choice == Choice(
        EU_NORTH,
        (
            "eu-north: 12 ms, 31 of 100 nodes",
            "us-east: 95 ms, 0 of 100 nodes",
            "ap-south: none of its servers can be reached",
        ),
    )


@pytest.mark.parametrize(
    ("rtts_ms", "expected"),
    [
        ({"eu_north": 10, "us_east": 15}, US_EAST),
        ({"eu_north": 10, "us_east": 15.1}, EU_NORTH),
        ({"eu_north": 100, "us_east": 110}, US_EAST),
        ({"eu_north": 100, "us_east": 110.1}, EU_NORTH),
    ],
)
def test_of_regions_about_as_near_the_emptier_is_chosen(
    rtts_ms: dict[str, float], expected: RegionName
) -> None:
    """Within 5 ms, or a tenth, distance does not decide."""
    assert placed(places(room(EU_NORTH, 50), room(US_EAST, 10)).place(AUTO, facts_at(**rtts_ms))) == expected


@pytest.mark.parametrize("rtts_ms", [{"eu_north": 1.0, "us_east": 0.9}, {"eu_north": 0.9, "us_east": 1.0}])
def test_noise_decides_nothing_between_equals(rtts_ms: dict[str, float]) -> None:
    """Two empty regions in one place: the first by name, whichever handshake was quicker."""
    assert placed(places(room(US_EAST), room(EU_NORTH)).place(AUTO, facts_at(**rtts_ms))) == EU_NORTH


def test_hosts_fill_a_region_and_go_on_to_the_next() -> None:
    """Every placed host counts, until the nearest region is full."""
    regions = places(room(EU_NORTH, 8, capacity=10), room(US_EAST))
    chosen = [placed(regions.place(AUTO, facts_at(eu_north=10, us_east=90))) for _ in range(4)]
    assert chosen == [EU_NORTH, EU_NORTH, US_EAST, US_EAST]


def test_a_node_that_the_region_knows_needs_no_room() -> None:
    """A full region takes back what it has already."""
    full = CandidateRegion(settings(EU_NORTH, 1), frozenset({NODE_ID}), None)
    known = replace(facts_at(eu_north=10), nomad=replace(BARE.nomad, node_id=NODE_ID))
    assert (placed(places(full).place(AUTO, known)), full.taken) == (EU_NORTH, 1)


@pytest.mark.parametrize(
    ("limits", "rooms", "rtt", "reason"),
    [
        (Placement(), [room(EU_NORTH)], None, "eu-north: none of its servers can be reached"),
        (Placement(max_rtt_ms=9.5), [room(EU_NORTH)], 10, "eu-north: 10 ms away, 9.5 allowed"),
        (
            Placement(),
            [room(EU_NORTH, pools=frozenset({"cpu"}))],
            10,
            "eu-north: it has no node pool gpu",
        ),
        (Placement(), [room(EU_NORTH, 3, capacity=3)], 10, "eu-north: full: 3 of 3 nodes"),
        (Placement(regions=(US_EAST,)), [room(EU_NORTH)], 10, "none may be chosen"),
    ],
)
def test_finding_says_why_no_region_takes_a_host(
    limits: Placement, rooms: list[CandidateRegion], rtt: float | None, reason: str
) -> None:
    """What speaks against each region is said."""
    found = places(*rooms).place(replace(AUTO, placement=limits), facts_at(eu_north=rtt))
    assert isinstance(found, Finding)
    assert (found.code, found.message) == ("no_region", f"no region can take the host: {reason}")


def test_limits_that_hold_keep_nobody_out() -> None:
    """The control: near enough, the pool is there, and the region may be chosen."""
    limits = Placement(regions=(EU_NORTH,), max_rtt_ms=10)
    choice = places(room(EU_NORTH, 2, 3, frozenset({"gpu"}))).place(
        replace(AUTO, placement=limits), facts_at(eu_north=10)
    )
    assert placed(choice) == EU_NORTH


def enrolled(region: str) -> Facts:
    facts = facts_at(eu_north=10, us_east=90)
    machine = replace(facts.machine, nomad_region=region)
    return replace(facts, machine=machine, nomad=replace(BARE.nomad, is_ours=True))


def test_an_enrolled_host_stays_where_it_is() -> None:
    """A nearer region is no reason to move."""
    choice = places(room(EU_NORTH), room(US_EAST)).place(AUTO, enrolled("us-east"))
    assert choice == Choice(US_EAST, ("the host is enrolled there already",))


def test_a_host_whose_region_may_not_be_chosen_any_more_is_not_moved() -> None:
    """A move is a decision of its own."""
    found = places(room(EU_NORTH)).place(AUTO, enrolled("us-east"))
    assert isinstance(found, Finding)
    assert (found.code, found.message) == (
        "region_left",
        "the host is enrolled in us-east, which is none of eu-north",
    )


@pytest.mark.parametrize(
    ("region", "home", "node_id", "is_refused"),
    [
        (EU_NORTH, "us-east", NODE_ID, True),
        (EU_NORTH, "eu-north", NODE_ID, False),
        (EU_NORTH, None, NODE_ID, False),
        (EU_NORTH, "us-east", None, False),
        (AUTO_REGION, "us-east", NODE_ID, False),
    ],
)
def test_node_of_another_region_is_told(
    region: RegionName, home: str | None, node_id: NodeId | None, *, is_refused: bool
) -> None:
    """Where the host has an identity there; one whose client state was deleted may join."""
    facts = facts_at(eu_north=1)
    nomad = replace(facts.nomad, node_id=node_id)
    facts = replace(facts, nomad=nomad, machine=replace(facts.machine, nomad_region=home))
    finding = other_region(replace(HOST, region=region), facts)
    assert (finding is not None and finding.code == "node_of_other_region") is is_refused


# --- over the fleet --------------------------------------------------------------------------------------------------


def surveyed(name: str, region: RegionName, facts: Facts | None = None) -> Surveyed:
    host = replace(HOST, name=HostName(name), region=region)
    return Surveyed(host, name, facts or facts_at(eu_north=10, us_east=90), ())


def tools(name: RegionName, capacity: int, *, is_reported: bool = True) -> RegionTools:
    region = FakeRegion()
    status = replace(STRICT, name=name) if is_reported else None
    watcher = NodeWatcher(region, region.clock)
    return RegionTools(settings(name, capacity), region, watcher, FakeIssuer(), b"CA PEM\n", status)


HALF_OPEN = (("a", AUTO_REGION), ("b", EU_NORTH), ("c", AUTO_REGION))


def nearly_full() -> dict[RegionName, RegionTools]:
    """A region with room for two hosts, and another with room for nine."""
    return {EU_NORTH: tools(EU_NORTH, 2), US_EAST: tools(US_EAST, 9, is_reported=False)}


async def test_named_regions_count_before_the_choice_is_made() -> None:
    """Hosts that leave it open take the room that is left, and keep the inventory's order."""
    hosts = [surveyed(*named) for named in HALF_OPEN]
    found = await place(hosts, nearly_full(), {EU_NORTH: (), US_EAST: ()}, Emitted())
    assert [(one.host.name, one.host.region) for one in found.hosts] == [
        ("a", EU_NORTH),
        ("b", EU_NORTH),
        ("c", US_EAST),
    ]
    assert (found.unplaced, found.overfull) == ((), None)


async def test_choice_is_told() -> None:
    """One event for each host that left its region open, and none for the others."""
    emit = Emitted()
    hosts = [surveyed(*named) for named in HALF_OPEN]
    await place(hosts, nearly_full(), {EU_NORTH: (), US_EAST: ()}, emit)
    assert [(e.host, e.region) for e in emit.events if isinstance(e, HostPlaced)] == [
        ("a", EU_NORTH),
        ("c", US_EAST),
    ]


def two_newcomers_and_a_node() -> list[Surveyed]:
    """Two hosts that would join a region, and one that it has already."""
    known = replace(facts_at(eu_north=1), nomad=replace(BARE.nomad, node_id=NODE_ID))
    return [surveyed("a", EU_NORTH), surveyed("b", EU_NORTH), surveyed("c", EU_NORTH, known)]


async def test_a_rollout_that_would_overfill_a_region_is_named() -> None:
    """So many nodes are there, so many would come, so many it carries."""
    regions = {EU_NORTH: tools(EU_NORTH, 2)}
    found = await place(two_newcomers_and_a_node(), regions, {EU_NORTH: [view()]}, Emitted())
    assert found.overfull is not None
    assert (found.overfull.code, found.overfull.message) == (
        "region_overfull",
        "2 hosts would join eu-north, which has 1 node and carries 2",
    )


async def test_nodes_that_the_region_knows_do_not_count_twice() -> None:
    """Two newcomers and the node that is there fit into a region of three."""
    regions = {EU_NORTH: tools(EU_NORTH, 3)}
    found = await place(two_newcomers_and_a_node(), regions, {EU_NORTH: [view()]}, Emitted())
    assert found.overfull is None


def with_a_silent_region() -> tuple[list[Surveyed], dict[RegionName, RegionTools]]:
    """Three hosts, one of which leaves its region open, and two regions."""
    hosts = [surveyed("a", EU_NORTH), surveyed("b", AUTO_REGION), surveyed("c", US_EAST)]
    return hosts, {EU_NORTH: tools(EU_NORTH, 2), US_EAST: tools(US_EAST, 9)}


async def test_hosts_of_a_silent_region_wait_for_it() -> None:
    """The others go on."""
    found = await place(*with_a_silent_region(), {US_EAST: ()}, Emitted())
    assert ([one.host.name for one in found.hosts], found.waiting) == (["a", "b", "c"], {"a": EU_NORTH})


async def test_open_host_waits_where_every_region_is_silent() -> None:
    """Those that leave it open and may join no other wait too."""
    found = await place(*with_a_silent_region(), {}, Emitted())
    assert (found.unplaced, found.waiting) == ((), {"a": EU_NORTH, "b": EU_NORTH, "c": US_EAST})


async def test_an_enrolled_host_whose_region_is_silent_waits_for_it() -> None:
    """It did not leave its region, and is not given another."""
    regions = {EU_NORTH: tools(EU_NORTH, 9), US_EAST: tools(US_EAST, 9, is_reported=False)}
    found = await place([surveyed("a", AUTO_REGION, enrolled("us-east"))], regions, {EU_NORTH: ()}, Emitted())
    assert (found.unplaced, found.waiting) == ((), {"a": US_EAST})
    assert [one.host.region for one in found.hosts] == [US_EAST]
