"""What ``--limit`` chooses, from cases/select.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ionetctl.core.errors import ExitCode, UsageError
from ionetctl.inventory.load import load_text
from ionetctl.inventory.select import select_hosts, words_asked_for

CASES_DIR = Path(__file__).parent / "cases"
CASES = yaml.safe_load((CASES_DIR / "select.yaml").read_text())
HOSTS = """
defaults: {region: eu}
groups:
  one: {rack: r1, tags: [fast], hosts: [{name: "a[1-3]", address: "10.0.0.[1-3]"}]}
  two: {rack: r2, node_pool: big, node_class: dgx, hosts: ["b[01-02]"]}
hosts:
  - {name: Login.example, address: 2001:db8::1, datacenter: dc2}
"""
INVENTORY = load_text(((CASES_DIR / "base.yaml").read_text() + HOSTS).encode(), "x", "/d")


@pytest.mark.parametrize(
    "case", [case for case in CASES if "chooses" in case], ids=lambda case: case["limit"]
)
def test_a_limit_chooses(case: dict[str, Any]) -> None:
    """The hosts that are meant come in the inventory's order, each once."""
    assert [host.name for host in select_hosts(INVENTORY, case["limit"])] == case["chooses"]


@pytest.mark.parametrize("case", [case for case in CASES if "says" in case], ids=lambda case: case["limit"])
def test_a_limit_is_refused(case: dict[str, Any]) -> None:
    """What matches nothing is a mistake on the command line, with a suggestion."""
    with pytest.raises(UsageError) as caught:
        select_hosts(INVENTORY, case["limit"])
    assert f"{caught.value.message} | {caught.value.hint}" == case["says"]


def test_a_wrong_limit_is_a_usage_error() -> None:
    """Users' scripts can tell it by code and exit code."""
    with pytest.raises(UsageError) as caught:
        select_hosts(INVENTORY, "zzz")
    assert (caught.value.code, caught.value.exit_code) == ("limit_invalid", ExitCode.USAGE)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("A1, b[1-2],!c", {"host": ["a1", "b1", "b2"]}),
        ("rack:R*,rack:x,a1", {"rack": ["r*", "x"], "host": ["a1"]}),
        ("@one,a1", None),
        ("!a1", None),
    ],
)
def test_the_words_that_a_limit_asks_for(limit: str, expected: dict[str, list[str]] | None) -> None:
    """By property; none where any host may be meant."""
    assert words_asked_for(limit) == expected
