"""What a limit on handshakes learns from how they end."""

from __future__ import annotations

from itertools import repeat

from ionetctl.ssh.limits.adaptive_limit import AdaptiveLimit


def limit(value: int = 8) -> AdaptiveLimit:
    return AdaptiveLimit(value, least=2, most=40, slow_s=5.0)


def values_after(made: AdaptiveLimit, latencies_s: list[float], rounds: int) -> list[int]:
    """The limit after each round, whose handshakes take these latencies in turn; ``inf`` is one that is refused."""
    values = []
    for _ in range(rounds):
        for latency_s in (latencies_s * made.value)[: made.value]:
            if latency_s == float("inf"):
                made.refused()
            else:
                made.completed(latency_s)
        values.append(made.value)
    return values


def test_quick_handshakes_raise_it() -> None:
    """It doubles with each round, up to the most that is allowed."""
    assert values_after(limit(), [0.1], 4) == [16, 32, 40, 40]


def test_round_is_as_long_as_the_limit() -> None:
    """Nothing changes before as many handshakes as may be under way have ended."""
    made = limit()
    for latency_s in repeat(0.1, 7):
        made.completed(latency_s)
    assert made.value == 8


def test_slow_ones_halve_it() -> None:
    """Handshakes that take many times as long as the quickest are a sign of too many, down to the least."""
    made = limit()
    assert values_after(made, [0.1], 2) == [16, 32]
    assert values_after(made, [6.0], 5) == [16, 8, 4, 2, 2]


def test_it_grows_by_one_once_it_was_too_high() -> None:
    """Where too many were is known now, so that it comes near slowly."""
    made = limit()
    values_after(made, [0.1], 2)
    assert values_after(made, [6.0], 1) + values_after(made, [0.1], 3) == [16, 17, 18, 19]


def test_hosts_that_are_all_slow_are_not_too_many() -> None:
    """Logins that all take seconds (a resolver that does not answer) would take as long one by one."""
    assert values_after(limit(), [7.0, 9.0], 3) == [16, 32, 40]


def test_slow_is_not_what_is_soon_over() -> None:
    """A second is no sign of anything, however quick the quickest was."""
    assert values_after(limit(), [0.01, 1.0], 2) == [16, 32]


def test_refusals_halve_it() -> None:
    """Servers that close the connection without a word turn it away because of the others."""
    assert values_after(limit(), [0.1, float("inf")], 2) == [4, 2]


def test_one_bad_host_does_not_lower_it() -> None:
    """One in four may fail by itself: it costs the others nothing."""
    assert values_after(limit(), [0.1, 0.1, float("inf"), 0.1], 2) == [16, 32]
