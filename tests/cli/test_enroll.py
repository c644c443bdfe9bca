"""The main job through the command line, on a rehearsal fleet: what users script against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import RunIonetctl

HOSTS = 3


@pytest.fixture
def inventory(ionetctl: RunIonetctl, tmp_path: Path) -> Iterator[str]:
    """The inventory of a rehearsal that is up: three hosts, one of which nobody reaches."""
    directory = str(tmp_path / "lab")
    up = ionetctl(
        "lab", "up", "--detach", f"--dir={directory}", f"--hosts={HOSTS}", "--fault=refused=1", "-o", "json"
    )
    assert up.exit_code == 0, up.stderr
    yield up.document["inventory"]
    assert ionetctl("lab", "down", f"--dir={directory}").exit_code == 0


def test_fleet_goes_from_bare_to_shown(ionetctl: RunIonetctl, inventory: str, tmp_path: Path) -> None:
    """Check, enroll, verify, status, rollouts and reports tell one story, with the contract's exit codes."""
    check = ionetctl(
        "enroll", inventory, "--check", "--limit", "!" + refused(ionetctl, inventory), "-o", "json"
    )
    assert (check.exit_code, check.document["summary"]["skipped"]) == (9, HOSTS - 1)

    report = tmp_path / "report.xml"
    first = ionetctl(
        "enroll", inventory, "--yes", "--batch-size=100%", f"--report=junit={report}", "-o", "json"
    )
    outcomes = sorted(host["outcome"] for host in first.document["hosts"])
    assert (first.exit_code, outcomes) == (4, ["enrolled", "enrolled", "unreachable"])
    assert report.read_text().count("<error ") == 1

    status = ionetctl("status", "-o", "json").document
    enrolled = {
        host["name"]: host["node_id"] for host in first.document["hosts"] if host["outcome"] == "enrolled"
    }
    assert {node["name"]: node["node_id"] for node in status["nodes"]} == enrolled
    assert (status["summary"]["ready"], [node["status"] for node in status["nodes"]]) == (
        2,
        ["ready", "ready"],
    )
    assert ionetctl("status", "--offline", "-o", "json").document["summary"]["nodes"] == HOSTS - 1

    verify = ionetctl("verify", inventory, "-o", "json")
    assert (verify.exit_code, verify.document["summary"]) == (
        8,
        {"hosts": 3, "confirmed": 2, "unconfirmed": 1},
    )

    shown = ionetctl("rollouts", "show", first.document["rollout"], "-o", "json")
    assert shown.document == first.document
    by_end = ionetctl("rollouts", "show", first.document["rollout"][-6:-1], "-o", "json")
    assert by_end.document == first.document
    rows = [
        msgspec.json.decode(line) for line in ionetctl("rollouts", "list", "-o", "ndjson").stdout.splitlines()
    ]
    assert [(row["schema"], row["kind"]) for row in rows] == [
        ("ionetctl.rollouts.row/1", kind) for kind in ("enroll", "check", "preflight")
    ]
    assert ionetctl("rollouts", "list", "-o", "name").stdout.splitlines() == [row["rollout"] for row in rows]
    assert sorted(ionetctl("status", "-o", "name").stdout.splitlines()) == sorted(enrolled)
    assert ionetctl("status", "--not-ready", "-o", "name").stdout == ""

    resumed = ionetctl("enroll", inventory, "--yes", "--resume", "-o", "ndjson")
    events = [msgspec.json.decode(line) for line in resumed.stdout.splitlines()]
    assert (resumed.exit_code, events[0]["type"], events[0]["done"]) == (4, "rollout_resumed", 2)
    assert events[-1]["summary"] == first.document["summary"]


def refused(ionetctl: RunIonetctl, inventory: str) -> str:
    """The host that nobody reaches, as a preflight finds it."""
    preflight = ionetctl("preflight", inventory, "-o", "json")
    assert preflight.exit_code == 4
    return next(str(host["name"]) for host in preflight.document["hosts"] if host["outcome"] == "unreachable")
