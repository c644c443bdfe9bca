"""The document of ``preflight -o json``."""

from __future__ import annotations

import json

from ionetctl.core.errors import ExitCode
from ionetctl.report.preflight import preflight_document
from ionetctl.summary.rollout_summary import Failure, Summary
from tests.support.preflights import preflight


def test_document_has_findings_of_fleet_and_hosts() -> None:
    """Every finding twice: folded over the fleet, and with its host, where the site's words stand too."""
    document = json.loads(json.dumps(preflight_document(preflight())))
    assert {key: document[key] for key in ("schema", "rollout", "exit_code", "summary", "error")} == {
        "schema": "ionetctl.preflight/1",
        "rollout": "r-1",
        "exit_code": 5,
        "summary": {
            "hosts": 4,
            "fit": 1,
            "unfit": 1,
            "unreachable": 1,
            "unseen": 1,
            "findings": {"waived": 1, "info": 0, "warn": 2, "block": 1},
        },
        "error": None,
    }
    assert document["findings"][1] == {
        "code": "swap_on",
        "severity": "waived",
        "message": "8192 MiB of swap",
        "hint": "swapoff -a",
        "reasons": ["we page to NVMe"],
        "hosts": ["g1"],
    }


def test_host_has_what_was_seen_and_found() -> None:
    """Fitness, GPUs by standard name, and each finding with the check's own severity."""
    fit, unfit, unreachable, unseen = preflight_document(preflight())["hosts"]
    assert fit == {
        "name": "g1",
        "address": "10.0.0.1",
        "region": "eu-north",
        "datacenter": "rey1",
        "rack": "a01",
        "outcome": "fit",
        "os": "Ubuntu 24.04",
        "architecture": "x86_64",
        "driver": "550.54.15",
        "gpus": {"expected": 8, "seen": 8, "models": {"nvidia.rtx.4090.24gb": 8}},
        "findings": [
            {
                "code": "pcie_width_low",
                "severity": "warn",
                "declared": "warn",
                "message": "GPU 3 runs at x1",
                "hint": "look at the riser",
                "reason": None,
            },
            {
                "code": "swap_on",
                "severity": "waived",
                "declared": "warn",
                "message": "8192 MiB of swap",
                "hint": "swapoff -a",
                "reason": "we page to NVMe",
            },
            {
                "code": "mac_doubled",
                "severity": "warn",
                "declared": "warn",
                "message": "it has the MAC of g1",
                "hint": "",
                "reason": None,
            },
        ],
        "error": None,
    }
    assert [host["outcome"] for host in (unfit, unreachable, unseen)] == ["unfit", "unreachable", "unseen"]
    assert unfit["error"]["code"] == "gpu_count_mismatch"
    assert (unseen["os"], unseen["gpus"]["models"], unseen["error"]["code"]) == (None, {}, "not_begun")


def test_command_that_failed_early_has_no_host() -> None:
    """The error stands where scripts look for it."""
    document = preflight_document(Summary(ExitCode.CONFIGURATION, error=Failure("x", "m", "h")))
    assert (document["hosts"], document["error"]) == ([], {"code": "x", "message": "m", "hint": "h"})
