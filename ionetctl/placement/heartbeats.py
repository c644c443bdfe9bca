"""How often a region's clients send heartbeats, and the server settings with which none counts as down too soon. Pure.

From Nomad's nomad/heartbeat.go: a client's TTL is max(min_heartbeat_ttl, nodes / max_heartbeats_per_second), times a
random factor between 1 and 2; the node counts as down when the TTL and heartbeat_grace have passed without a heartbeat.
A new leader does not know the TTLs and gives every client failover_heartbeat_ttl, which must be longer than any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.core.model.node import Heartbeats

DEFAULT_FAILOVER_S: Final = 300.0
MARGIN_S: Final = 100.0
"""Time for an election, and for heartbeats that are late while a new leader starts."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Heartbeats in a region of ``nodes`` nodes. A client sends one every ``ttl_s`` to twice that, in seconds.

    ``down_after_s`` is the longest time until a dead node counts as down, ``failover_ttl_s`` the value to be set;
    ``is_short``: the present value is less.
    """

    nodes: int
    ttl_s: float
    down_after_s: float
    failover_ttl_s: float
    is_short: bool


def advise(settings: Heartbeats, nodes: int) -> Advice:
    """What follows from the settings in a region of that many nodes; Nomad's defaults are too short beyond 5,000."""
    ttl_s = max(settings.min_ttl_s, nodes / settings.max_per_second)
    wanted_s = max(DEFAULT_FAILOVER_S, float(ceil(2 * ttl_s + MARGIN_S)))
    is_short = settings.failover_ttl_s < wanted_s
    return Advice(nodes, ttl_s, 2 * ttl_s + settings.grace_s, wanted_s, is_short)
