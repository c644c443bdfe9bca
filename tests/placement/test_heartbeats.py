"""How often clients beat in regions of some sizes, and what a change of leader must leave them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.model.node import Heartbeats
from ionetctl.placement.heartbeats import Advice, advise

NOMADS_OWN = Heartbeats(min_ttl_s=10, max_per_second=50, failover_ttl_s=300, grace_s=10)


@pytest.mark.parametrize(
    ("nodes", "ttl_s", "failover_s", "is_short"),
    [
        (0, 10, 300, False),
        (500, 10, 300, False),
        (5_000, 100, 300, False),
        (5_001, 100.02, 301, True),
        (10_000, 200, 500, True),
    ],
)
def test_nomads_own_settings_do_up_to_5000_nodes(
    nodes: int,
    ttl_s: float,
    failover_s: float,
    is_short: bool,  # noqa: FBT001  (a parameter of the case)
) -> None:
    """Beyond, a new leader would give up nodes that were promised more time."""
    expected = Advice(nodes, ttl_s, 2 * ttl_s + 10, failover_s, is_short)
    assert advise(NOMADS_OWN, nodes) == expected


def test_what_was_raised_is_enough() -> None:
    """500 s are what 10,000 nodes need."""
    assert not advise(replace(NOMADS_OWN, failover_ttl_s=500), 10_000).is_short


def test_fewer_beats_need_more_time() -> None:
    """Whoever asks less of the servers must be patient with the clients."""
    advice = advise(replace(NOMADS_OWN, max_per_second=25, failover_ttl_s=500), 10_000)
    assert (advice.ttl_s, advice.failover_ttl_s, advice.is_short) == (400, 900, True)


def test_less_than_nomads_own_is_short_at_any_size() -> None:
    """Nobody needs a shorter one."""
    assert advise(replace(NOMADS_OWN, failover_ttl_s=60), 1).is_short
