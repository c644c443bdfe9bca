"""Regions as people see them."""

from __future__ import annotations

import pytest

from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.placement.readiness import Inspection, UnansweredRegion
from ionetctl.ui.region import regions_view
from tests.support.fakes import FENCED
from tests.support.inspections import SILENT, SOUND, inspection

WHEN_FULL = "when full every 200 to 400 s, a dead node shows within 410 s; failover_heartbeat_ttl"


def shown(*found: Inspection | UnansweredRegion) -> list[str]:
    return [line.plain for line in regions_view(found)]


def test_region_is_reported_in_a_few_lines() -> None:
    """Servers, then what there is room for, then how long it holds."""
    assert shown(SOUND) == [
        "eu-north: can take its hosts",
        "  server          address         version  status  leader",
        "  srv-1.eu-north  10.77.0.1:4647  2.0.5    alive   yes",
        "  srv-2.eu-north  10.77.0.2:4647  2.0.5    alive   -",
        "  srv-3.eu-north  10.77.0.3:4647  2.0.5    alive   -",
        "  introduction strict",
        "  node pools   gpu",
        "  nodes        12 down, 3,108 ready; 3,120 of 10,000, room for 6,880",
        "  hosts        40 hosts of the inventory, 38 yet to join",
        "  connections  100 from one address; most hosts that seem to share one: 40",
        f"  heartbeats   {WHEN_FULL} 500 s is enough",
        "  certificates API until 2027-11-23, CA until 2036-11-20",
    ]


def test_flaws_follow_with_what_to_do() -> None:
    """The verdict stands first, the remedy below each flaw."""
    lines = shown(inspection(hosts={"joining": 6_881, "undecided": 3}))
    assert lines[0] == "eu-north: cannot take its hosts"
    assert "  hosts        40 hosts of the inventory, 6,881 yet to join, 3 of region: auto may come" in lines
    assert lines[-2:] == [
        "  block region_overfull: 6,881 hosts would join eu-north, which has 3,120 nodes and carries 10,000",
        "    → purge nodes that are gone, give hosts another region, or raise the region's capacity",
    ]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (FENCED, "a door can open: 1 of 1 other namespace allow docker alone"),
        (
            SeenNamespaces((*FENCED.namespaces, Namespace("team")), are_all=False),
            "no door can open: 1 of 2 other namespaces allow docker alone, and there may be more that our token does not see",
        ),
    ],
    ids=["fenced", "open"],
)
def test_region_says_whether_a_door_can_open(seen: SeenNamespaces, said: str) -> None:
    """Where the inventory has one."""
    assert f"  maintenance  {said}" in shown(inspection(namespaces=seen))


def test_what_nobody_may_see_is_said_to_be_unknown() -> None:
    """A warning stands below, and says why."""
    lines = shown(
        inspection(status={"heartbeats": None, "enforcement": None, "connections_per_client": None})
    )
    assert {
        "  introduction unknown",
        "  connections  unknown from one address; most hosts that seem to share one: 40",
        "  heartbeats   unknown",
    } < set(lines)


def test_empty_region_that_nobody_needs_is_said_to_be_so() -> None:
    """No nodes, no pools."""
    lines = shown(inspection(nodes={}, hosts={"pools": frozenset()}))
    assert {
        "  node pools   none needed",
        "  nodes        none; 0 of 10,000, room for 10,000",
    } < set(lines)


def test_settings_that_will_not_do_are_reported_before_the_region_is_full() -> None:
    """There is no finding yet, and the line says what will be needed."""
    beats = SOUND.status.heartbeats
    assert beats is not None
    lines = shown(inspection(status={"heartbeats": type(beats)(10, 50, 300, 10)}))
    assert any(line == f"  heartbeats   {WHEN_FULL} 300 s needs 500 s" for line in lines)


def test_silent_region_is_one_reason() -> None:
    """Regions are apart by an empty line."""
    lines = shown(SOUND, SILENT)
    assert lines[-3:] == ["", "us-east: region_unreachable nobody answers", "    → look at the way"]


def test_no_hint_is_no_line() -> None:
    """Where nobody knows what to do, nothing is advised."""
    assert shown(UnansweredRegion(SILENT.name, "x_y", "no", "", SILENT.exit_code)) == ["us-east: x_y no"]
