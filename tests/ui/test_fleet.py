"""The fleet as people see it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.summary.fleet import StatusReport, Verdict, VerifyReport
from ionetctl.ui.fleet import status_view, verify_view, watch_view, wide_view
from tests.support.fleet import FLEET, node

NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
EU = RegionName("eu-north")


def shown(report: StatusReport, width: int = 80) -> list[str]:
    return [line.plain for line in status_view(report, NOW, width)]


def test_status_shows_racks_then_nodes_that_stand_alike() -> None:
    """GPU totals by datacenter and rack, then nodes with what needs a look first, then the sum, in 80 columns."""
    lines = shown(FLEET)
    assert lines == [
        "datacenter  rack  nodes  ready     gpus  models",
        "rey1        -         1      1      0/0  -",
        "rey1        a01      16     15  127/128  127 nvidia.rtx.4090.24gb",
        "rey1        a02       4      4    32/32  32 nvidia.rtx.4090.24gb",
        "",
        "node                        count  region    status  gpus  last seen",
        "rey1-a01-g04                    1  eu-north  down    7/8   30 s ago",
        "rey1-a01-g[01-03,05-16], …     19  eu-north  ready   8/8   30 s ago",
        "rey1-login1                     1  eu-north  ready   ?/?   -",
        "",
        "21 nodes: 20 ready, 1 not ready; GPUs: 159 nvidia.rtx.4090.24gb",
    ]
    assert max(map(len, lines)) <= 80


def test_five_thousand_nodes_are_a_few_lines() -> None:
    """What stands alike is one line however many there are, cut to the terminal."""
    fleet = StatusReport(tuple(node(index) for index in range(5000)), {})
    assert len([line for line in shown(fleet) if "ago" in line]) == 1
    assert max(map(len, shown(fleet))) <= 80


def test_wide_shows_every_node() -> None:
    """With -o wide a row a node: id, pool, eligibility and the time itself."""
    lines = [line.plain for line in wide_view(FLEET)]
    assert (
        lines[9]
        == "rey1-a01-g04  node-3   eu-north  a01   gpu      down    eligible     7/8   2026-03-02T12:00:00Z"
    )


def test_node_that_is_held_is_said_to_be_ineligible() -> None:
    """Ready is not enough to take jobs."""
    held = replace(node(0), eligibility="ineligible")
    lines = shown(StatusReport((node(1), held), {}))
    assert [re.sub(" {2,}", "  ", line) for line in (lines[4], lines[-1])] == [
        "rey1-a01-g01  1  eu-north  ready, ineligible  8/8  30 s ago",
        "2 nodes: 2 ready, 1 not eligible; GPUs: 16 nvidia.rtx.4090.24gb",
    ]


@pytest.mark.parametrize("view", [lambda report: status_view(report, NOW, 80), wide_view])
def test_empty_fleet_says_how_to_begin(view: object) -> None:
    """Before the first rollout there is nothing to show."""
    assert callable(view)
    assert [line.plain for line in view(StatusReport((), {}))] == [
        "no node is enrolled yet; begin with: ionetctl enroll INVENTORY"
    ]


def test_whole_fleet_has_nothing_down() -> None:
    """Where all nodes are ready none is counted as not ready."""
    assert shown(StatusReport(FLEET.nodes[:2], {}))[-1] == "2 nodes: 2 ready; GPUs: 16 nvidia.rtx.4090.24gb"


def watched(report: StatusReport, height: int) -> list[str]:
    return [line.plain for line in watch_view(report, NOW, 80, height)]


def test_watched_screen_keeps_the_sums() -> None:
    """The sums stand at the top whatever the height; what is cut is counted, what needs a look is cut last."""
    silent = StatusReport(FLEET.nodes, {RegionName("us-east"): "timed out"})
    full, cut = watched(silent, 24), watched(silent, 6)
    assert (full[0], cut[0]) == (full[0], full[0])
    assert full[0].endswith("  21 nodes: 20 ready, 1 not ready; 159 GPUs")
    assert full[1] == "region us-east does not answer, its nodes stand as last seen: timed out"
    assert (cut[:5], cut[5]) == (
        full[:5],
        "and 7 more lines; --not-ready and --limit show fewer nodes",
    )
    assert (len(full), cut[4].split()[0]) == (12, "rey1-a01-g04")


def test_watched_fleet_may_be_empty() -> None:
    """It fills with the first rollout."""
    assert watched(StatusReport((), {}), 24)[0].endswith(
        "no node is enrolled yet; begin with: ionetctl enroll INVENTORY"
    )


def verdict(name: str, code: str | None, message: str = "", *, is_by_name: bool = False) -> Verdict:
    return Verdict(HostName(name), EU, NodeId("n"), code, message, "enroll it" if code else "", is_by_name)


def test_verify_folds_hosts_by_cause() -> None:
    """As enroll does: each cause once with all its hosts, then how many are there, and how surely."""
    report = VerifyReport(
        (
            verdict("g1", None, is_by_name=True),
            *(verdict(f"g{index}", "node_missing", "the region does not list it") for index in range(2, 9)),
            verdict("g9", "node_down", "it is down"),
        )
    )
    assert [line.plain for line in verify_view(report)] == [
        "unverified  node_missing in region eu-north, 7 hosts",
        "  why    the region does not list it",
        "  hosts  g[2-8]",
        "  do     enroll it",
        "",
        "unverified  node_down in region eu-north, 1 host",
        "  why    it is down",
        "  hosts  g9",
        "  do     enroll it",
        "",
        "1 of 9 hosts confirmed by their regions",
        "1 host found by name, pool and datacenter alone: the catalog does not know them",
    ]


def test_verify_of_a_whole_fleet_is_one_line() -> None:
    """Where all are there by their ids, nothing else is said."""
    lines = [line.plain for line in verify_view(VerifyReport((verdict("g1", None),)))]
    assert lines == ["1 of 1 host confirmed by their regions"]


def test_unknown_nodes_are_not_said_to_be_down() -> None:
    """Those of a region that does not answer are counted apart, and the table says so where none does."""
    nodes = (replace(FLEET.nodes[0], status="unknown", gpus={}),)
    text = shown(StatusReport(nodes, {RegionName("eu-north"): "no answer"}), 120)
    assert text[-2:] == [
        "1 node: 0 ready, 1 unknown; GPUs: -",
        "no region could be asked, all is as last recorded: eu-north: no answer",
    ]
