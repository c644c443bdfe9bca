"""What status and verify say of the fleet."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.summary.fleet import (
    UNKNOWN,
    NodeStatus,
    Rack,
    StatusReport,
    Verdict,
    VerifyReport,
    by_rack,
    status_document,
    verify_document,
)
from tests.support.fleet import FLEET, node

REGION = RegionName("eu-north")
WEST = RegionName("us-west")


def test_status_document_is_the_contracts() -> None:
    """Counts, GPU totals by standard name, and a row a node."""
    document = status_document(StatusReport((node(0), node(1, status="down", seen=7)), {}))
    assert document == {
        "schema": "ionetctl.status/1",
        "summary": {"nodes": 2, "ready": 1, "down": 1, "unknown": 0, "gpus": {"nvidia.rtx.4090.24gb": 15}},
        "nodes": [
            {
                "name": "rey1-a01-g01",
                "node_id": "node-0",
                "region": "eu-north",
                "datacenter": "rey1",
                "rack": "a01",
                "node_pool": "gpu",
                "status": "ready",
                "eligibility": "eligible",
                "gpus": {"expected": 8, "seen": 8, "probed": None},
                "enrolled_at": "2026-03-01T12:00:00Z",
                "last_seen_at": "2026-03-02T12:00:00Z",
            },
            {
                "name": "rey1-a01-g02",
                "node_id": "node-1",
                "region": "eu-north",
                "datacenter": "rey1",
                "rack": "a01",
                "node_pool": "gpu",
                "status": "down",
                "eligibility": "eligible",
                "gpus": {"expected": 8, "seen": 7, "probed": None},
                "enrolled_at": "2026-03-01T12:00:00Z",
                "last_seen_at": "2026-03-02T12:00:00Z",
            },
        ],
        "unanswered": [],
        "error": None,
    }


def test_unknown_is_not_down() -> None:
    """A node of which no region spoke is counted apart; who did not answer is named."""
    report = StatusReport((node(0), node(1, status="down"), node(2, status=UNKNOWN)), {WEST: "no answer"})
    document = status_document(report)
    summary = document["summary"]
    assert (summary["ready"], summary["down"], summary["unknown"]) == (1, 1, 1)
    assert (document["unanswered"], document["error"]) == (
        [{"region": "us-west", "message": "no answer"}],
        None,
    )


def test_fleet_of_which_no_region_answered_says_so() -> None:
    """It is an error of the document; the control was not asked at all."""
    nodes = (node(0, status=UNKNOWN),)
    error = status_document(StatusReport(nodes, {REGION: "no answer"}))["error"]
    assert (error["code"], error["message"]) == (
        "no_region_reachable",
        "no region could be asked, all is as last recorded: eu-north: no answer",
    )
    assert status_document(StatusReport(nodes, {}))["error"] is None


def test_racks_are_summed() -> None:
    """By datacenter and rack, nodes without a rack first, unknown counts as nothing."""
    assert by_rack(FLEET.nodes) == (
        Rack("rey1", None, 1, 1, 0, 0, {}),
        Rack("rey1", "a01", 16, 15, 128, 127, {"nvidia.rtx.4090.24gb": 127}),
        Rack("rey1", "a02", 4, 4, 32, 32, {"nvidia.rtx.4090.24gb": 32}),
    )


def verdict(code: str | None) -> Verdict:
    return Verdict(HostName("g1"), REGION, NodeId("n"), code, "it is down", "look", is_by_name=True)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], ExitCode.OK), ([None, None], ExitCode.OK), ([None, "node_down"], ExitCode.UNVERIFIED)],
)
def test_verify_ends_with_eight_unless_all_are_there(codes: list[str | None], expected: ExitCode) -> None:
    """One host that is not as it should be is enough."""
    assert VerifyReport(tuple(map(verdict, codes))).exit_code == expected


def test_verify_document_says_what_is_wrong() -> None:
    """A row a host, with how it was found and what is wrong."""
    assert verify_document(VerifyReport((verdict(None), verdict("node_down")))) == {
        "schema": "ionetctl.verify/1",
        "exit_code": 8,
        "summary": {"hosts": 2, "confirmed": 1, "unconfirmed": 1},
        "hosts": [
            {"name": "g1", "region": "eu-north", "node_id": "n", "matched_by": "name", "error": None},
            {
                "name": "g1",
                "region": "eu-north",
                "node_id": "n",
                "matched_by": "name",
                "error": {"code": "node_down", "message": "it is down", "hint": "look"},
            },
        ],
        "error": None,
    }


def test_nodes_are_records() -> None:
    """A node without GPUs known has none to sum."""
    unknown: NodeStatus = FLEET.nodes[-1]
    assert (unknown.gpus_expected, dict(unknown.gpus)) == (None, {})
