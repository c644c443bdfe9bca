"""The document of ``region check -o json``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.node import Namespace, SeenNamespaces
from ionetctl.report.region import document, exit_code_of, region_row
from ionetctl.summary.rollout_summary import Failure
from tests.support.fakes import FENCED
from tests.support.inspections import SILENT, SOUND, inspection

if TYPE_CHECKING:
    from ionetctl.placement.readiness import Inspection, UnansweredRegion

UNTRUSTED = replace(SILENT, code="region_untrusted", exit_code=ExitCode.TRUST)
UNFIT = inspection(hosts={"joining": 9_999})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((SOUND,), ExitCode.OK),
        ((inspection(hosts={"sharing_address": 200}),), ExitCode.OK),
        ((SOUND, SILENT), ExitCode.UNVERIFIED),
        ((SOUND, UNFIT), ExitCode.UNVERIFIED),
        ((UNFIT, UNTRUSTED, SILENT), ExitCode.TRUST),
    ],
)
def test_worst_region_decides(found: tuple[Inspection | UnansweredRegion, ...], expected: ExitCode) -> None:
    """Warnings end nothing; a foreign certificate is worse than silence."""
    assert (exit_code_of(found), document(found)["exit_code"]) == (expected, expected)


def test_region_is_reported_whole() -> None:
    """Every part of the contract, with numbers as numbers."""
    row = region_row(inspection(hosts={"undecided": 2}))
    assert row.pop("servers")[0] == {
        "name": "srv-1.eu-north",
        "address": "10.77.0.1:4647",
        "version": "2.0.5",
        "status": "alive",
        "is_leader": True,
    }
    assert row.pop("certificates")[0] == {
        "what": "API",
        "expires_at": "2027-11-23T01:12:26+00:00",
        "days_left": 365,
    }
    assert row == {
        "region": "eu-north",
        "is_fit": True,
        "server_version": "2.0.5",
        "enforcement": "strict",
        "pools": {"known": ["all", "default", "gpu"], "needed": ["gpu"], "missing": []},
        "nodes": {"down": 12, "ready": 3108},
        "capacity": {"limit": 10_000, "taken": 3_120, "left": 6_880},
        "hosts": {"named": 40, "joining": 38, "undecided": 2},
        "connections": {"per_client": 100, "behind_one": 40, "datacenter": "rey1"},
        "heartbeats": {
            "min_ttl_s": 10,
            "max_per_second": 50,
            "failover_ttl_s": 500,
            "grace_s": 10,
            "expected": {
                "nodes": 3_158,
                "ttl_s": 63.16,
                "down_after_s": 136.32,
                "failover_ttl_needed_s": 300,
                "is_short": False,
            },
            "when_full": {
                "nodes": 10_000,
                "ttl_s": 200,
                "down_after_s": 410,
                "failover_ttl_needed_s": 500,
                "is_short": False,
            },
        },
        "maintenance": None,
        "findings": [],
        "error": None,
    }


def test_each_namespace_says_whether_it_keeps_a_door_closed() -> None:
    """With the region's answer beside: whether a door may open, and whether words would reach hosts then."""
    seen = SeenNamespaces((*FENCED.namespaces, Namespace("team")), are_all=True)
    assert region_row(inspection(namespaces=seen))["maintenance"] == {
        "can_open": False,
        "sees_all_namespaces": True,
        "carries_words": True,
        "namespaces": [{"name": "default", "is_fenced": True}, {"name": "team", "is_fenced": False}],
    }
    assert region_row(inspection(namespaces=FENCED))["maintenance"]["can_open"] is True


def test_what_nobody_may_see_is_null() -> None:
    """Never a default that was not read."""
    row = region_row(
        inspection(status={"heartbeats": None, "enforcement": None, "connections_per_client": None})
    )
    unseen = (row["heartbeats"], row["enforcement"], row["connections"]["per_client"])
    assert (unseen, row["is_fit"]) == ((None, None, None), True)


def test_flaws_are_findings() -> None:
    """The region is unfit where one of them blocks."""
    row = region_row(UNFIT)
    reported = [(finding["code"], finding["severity"]) for finding in row["findings"]]
    assert (row["is_fit"], reported) == (False, [("region_overfull", "block")])


def test_silent_region_says_why() -> None:
    """It has no keys that would look like an answer."""
    error = {"code": "region_unreachable", "message": "nobody answers", "hint": "look at the way"}
    assert region_row(SILENT) == {"region": "us-east", "is_fit": False, "error": error}


def test_failed_check_has_the_same_keys() -> None:
    """Scripts find the error where they look for it."""
    failure = Failure("inventory_invalid", "line 3", "correct it")
    assert document((), ExitCode.CONFIGURATION, failure) == {
        "schema": "ionetctl.region-check/1",
        "exit_code": 3,
        "regions": [],
        "error": {"code": "inventory_invalid", "message": "line 3", "hint": "correct it"},
    }
