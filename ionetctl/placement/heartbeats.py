"""How often a region's clients beat, and what its servers must be set to so that none is given up too soon. Pure.

From Nomad's nomad/heartbeat.go: a client is told max(min_heartbeat_ttl, nodes / max_heartbeats_per_second), stretched
at random up to twice that; it counts as down when a grace beyond it has passed without a beat. A new leader knows of no
promises and gives every client failover_heartbeat_ttl instead, which must outlast the longest of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.core.model.node import Heartbeats

DEFAULT_FAILOVER_S: Final = 300.0
MARGIN_S: Final = 100.0
"""For an election, and for beats that come late while a new leader takes up its work."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What holds for a region of ``nodes`` nodes. A client beats every ``ttl_s`` to twice that.

    ``down_after_s`` is the longest time until a dead node shows, ``failover_ttl_s`` what should be set;
    ``is_short`` says that what is set is less.
    """

    nodes: int
    ttl_s: float
    down_after_s: float
    failover_ttl_s: float
    is_short: bool


def advise(set_now: Heartbeats, nodes: int) -> Advice:
    """What the settings come to in a region of that many nodes; Nomad's own are short beyond 5,000."""
    ttl_s = max(set_now.min_ttl_s, nodes / set_now.max_per_second)
    wanted_s = max(DEFAULT_FAILOVER_S, float(ceil(2 * ttl_s + MARGIN_S)))
    is_short = set_now.failover_ttl_s < wanted_s
    return Advice(nodes, ttl_s, 2 * ttl_s + set_now.grace_s, wanted_s, is_short)
