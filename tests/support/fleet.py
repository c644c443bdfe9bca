"""A small fleet as status shows it."""

from __future__ import annotations

from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.summary.fleet import NodeStatus, StatusReport
from tests.support.streams import host_name


def node(index: int, status: str = "ready", seen: int = 8) -> NodeStatus:
    """The ``index``-th node with ``seen`` of eight GPUs."""
    return NodeStatus(
        name=host_name(index),
        node_id=NodeId(f"node-{index}"),
        region=RegionName("eu-north"),
        datacenter="rey1",
        rack=f"a{index // 16 + 1:02d}",
        node_pool="gpu",
        status=status,
        eligibility="eligible",
        gpus_expected=8,
        gpus_seen=seen,
        enrolled_at="2026-03-01T12:00:00Z",
        last_seen_at="2026-03-02T12:00:00Z",
        gpus={"nvidia.rtx.4090.24gb": seen},
    )


LOGIN = NodeStatus(
    name=HostName("rey1-login1"),
    node_id=None,
    region=RegionName("eu-north"),
    datacenter="rey1",
    rack=None,
    node_pool="default",
    status="ready",
    eligibility=None,
    gpus_expected=None,
    gpus_seen=None,
    enrolled_at=None,
    last_seen_at=None,
    gpus={},
)
FLEET = StatusReport((*(node(3, "down", 7) if i == 3 else node(i) for i in range(20)), LOGIN), {})
