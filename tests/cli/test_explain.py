"""``ionetctl explain`` from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import RunIonetctl


def test_check_is_explained(ionetctl: RunIonetctl) -> None:
    """What is looked at, why, and what to do, on standard output."""
    ended = ionetctl("explain", "miner_running")
    headings = [line for line in ended.stdout.splitlines() if line and not line.startswith(" ")]
    assert (ended.exit_code, headings) == (
        0,
        [
            "miner_running  block  a miner runs, or will be started",
            "It looks at",
            "Why it matters",
            "What to do",
            "Where it does no harm",
        ],
    )


def test_code_of_both_kinds_is_explained_as_both(ionetctl: RunIonetctl) -> None:
    """First as the survey's finding, then as the region's error."""
    heads = [
        line
        for line in ionetctl("explain", "servers_unreachable").stdout.splitlines()
        if "servers_unr" in line
    ]
    assert [head.split()[1] for head in heads] == ["block", "{severity:", "exit"]


def test_error_is_explained(ionetctl: RunIonetctl) -> None:
    """By the page that the package carries."""
    assert ionetctl("explain", "dns_failure").stdout.splitlines()[0] == "dns_failure  exit 4  Reaching a host"


def test_unknown_code_ends_with_two(ionetctl: RunIonetctl) -> None:
    """And with what was probably meant."""
    ended = ionetctl("explain", "miner_runing", "-o", "json")
    error = json.loads(ended.stdout)["error"]
    assert (ended.exit_code, error["code"], error["hint"]) == (
        2,
        "code_unknown",
        "did you mean miner_running?",
    )


def test_all_codes_are_listed(ionetctl: RunIonetctl) -> None:
    """In a table for people, a row each for scripts."""
    people = ionetctl("explain").stdout.splitlines()
    rows = [json.loads(line) for line in ionetctl("explain", "-o", "ndjson").stdout.splitlines()]
    assert [line.split()[0] for line in people] == ["CODE", *(row["code"] for row in rows)]
