"""Numbers, times and host lists in words."""

from __future__ import annotations

import pytest

from ionetctl.core.model.outcome import Result
from ionetctl.ui import phrases
from tests.support.streams import host_name


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1.0, "0.0 s"),
        (0.44, "0.4 s"),
        (1.0, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7830, "2 h 10 min"),
    ],
)
def test_durations_read_naturally(seconds: float, expected: str) -> None:
    """Seconds, minutes, hours: as exact as anyone cares."""
    assert phrases.duration(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-3.0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (86_400 * 1234, "1,234 d")],
)
def test_ages_are_coarse(seconds: float, expected: str) -> None:
    """One number and its unit, never in the future."""
    assert phrases.age(seconds) == expected


@pytest.mark.parametrize(("count", "expected"), [(0, "0 hosts"), (1, "1 host"), (5000, "5,000 hosts")])
def test_hosts_are_counted(count: int, expected: str) -> None:
    """One host is singular."""
    assert phrases.hosts(count) == expected


@pytest.mark.parametrize(("pace", "expected"), [(3.14, "3.1 hosts/min"), (1234.5, "1,234 hosts/min")])
def test_pace_has_a_decimal_where_it_is_slow(pace: float, expected: str) -> None:
    """Few hosts a minute are reported more exactly."""
    assert phrases.rate(pace) == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, "none yet"),
        ({Result.ENROLLED: 1200, Result.FAILED: 0, Result.SKIPPED: 2}, "1,200 enrolled, 2 skipped"),
    ],
)
def test_results_that_occurred_are_named(counts: dict[Result, int], expected: str) -> None:
    """Zeros are left out."""
    assert phrases.results(counts) == expected


@pytest.mark.parametrize(
    ("names", "limit", "expected"),
    [
        ([host_name(index) for index in range(32)], 400, "rey1-a[01-02]-g[01-16]"),
        (["alpha", "beta", "gamma"], 12, "alpha, …"),
        (["rey1-login.rey1.example"], 10, "rey…xample"),
        (["aaaa-login.rey1.example", "b.c-rey1-g1"], 13, "aaa…xample, …"),
        ([], 10, ""),
    ],
)
def test_host_lists_are_folded_and_cut(names: list[str], limit: int, expected: str) -> None:
    """Ranges are folded; what is too long ends at a whole name, and a single name loses its middle."""
    assert phrases.folded(names, limit) == expected


@pytest.mark.parametrize(("text", "expected"), [("plain", "plain"), ("a\x1b[31mb\nc", "ab c")])
def test_text_is_one_harmless_line(text: str, expected: str) -> None:
    """Escape sequences and line breaks do not get through."""
    assert phrases.plain(text) == expected
