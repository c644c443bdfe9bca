"""A region as a check finds it, sound until a test changes something."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import RegionName
from ionetctl.core.model.node import Heartbeats, RegionServer, RegionStatus
from ionetctl.placement.readiness import Certificate, Inspection, RegionHosts, UnansweredRegion
from tests.support.clock import START
from tests.support.sample import EU_NORTH, REGION

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import RegionSettings

SETTINGS: Final[RegionSettings] = replace(REGION, capacity=10_000)
SERVERS: Final = tuple(
    RegionServer(f"srv-{number}.eu-north", f"10.77.0.{number}:4647", "2.0.5", "alive", is_leader=number == 1)
    for number in (1, 2, 3)
)
STATUS: Final = RegionStatus(
    EU_NORTH,
    "2.0.5",
    "strict",
    frozenset({"all", "default", "gpu"}),
    connections_per_client=100,
    servers=SERVERS,
    heartbeats=Heartbeats(min_ttl_s=10, max_per_second=50, failover_ttl_s=500, grace_s=10),
)
HOSTS: Final = RegionHosts(
    named=40, joining=38, pools=frozenset({"gpu"}), sharing_address=40, datacenter="rey1"
)
SOUND: Final = Inspection(
    settings=SETTINGS,
    status=STATUS,
    nodes=Counter(ready=3_108, down=12),
    hosts=HOSTS,
    certificates=(
        Certificate("API", START + timedelta(days=365)),
        Certificate("CA", START + timedelta(days=3_650)),
    ),
    nomad_version="2.0.5",
    at=START,
)
SILENT: Final = UnansweredRegion(
    RegionName("us-east"), "region_unreachable", "nobody answers", "look at the way", ExitCode.UNVERIFIED
)


def inspection(
    *, status: dict[str, Any] | None = None, hosts: dict[str, Any] | None = None, **changes: Any
) -> Inspection:
    """The sound region with changes, to its status and its hosts too."""
    return replace(
        SOUND, status=replace(STATUS, **(status or {})), hosts=replace(HOSTS, **(hosts or {})), **changes
    )


def servers(**changes: Any) -> tuple[RegionServer, ...]:
    """The sound servers, the last one changed."""
    return (*SERVERS[:2], replace(SERVERS[2], **changes))
