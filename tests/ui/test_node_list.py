"""What ``nodes list`` and ``nodes show`` print."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.host import Host
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.core.model.node import (
    Amounts,
    Device,
    Difference,
    GpuUse,
    NodeResources,
    NodeUse,
    NodeView,
)
from ionetctl.summary.node_list import Hold, Holder, JobOnNode, ListedNode, NodeReport
from ionetctl.summary.rollout_summary import Failure
from ionetctl.ui.nodes.node_list import NOTHING, UNKNOWN_END, list_view, node_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

VIEW: Final = NodeView(
    id=NodeId("0123456789abcdef"),
    name="g1",
    address="10.0.0.1",
    datacenter="rey1",
    node_pool="gpu",
    node_class="",
    status="ready",
    eligibility="eligible",
    version="2.0.5",
    drivers_healthy=("docker", "exec"),
    devices=(Device("nvidia", "gpu", "NVIDIA GeForce RTX 4090", ("a", "b"), 1, 24_564),),
    resources=NodeResources(16, Amounts(32_000, 65_536, 102_400), Amounts(2_000, 1_024, 0)),
)
CARDS: Final = (GpuUse("GPU-1", "RTX", 90, 1024, 24_564), GpuUse("GPU-2", "RTX", None, None, None))
USE: Final = NodeUse(12.4, 8_192, 65_536, 51_200, 102_400, CARDS)
HOST: Final = Host(HostName("g1"), "10.0.0.1", RegionName("eu-north"), "rey1", "a01", "gpu")
GOOD: Final = ListedNode(
    HOST, VIEW.id, VIEW, jobs=(JobOnNode("ray", "blue", 2),), use=USE, meta={"rack": "a01"}
)
HELD: Final = replace(
    GOOD,
    host=replace(HOST, name=HostName("g2"), rack=None),
    view=replace(VIEW, eligibility="ineligible", drivers_healthy=(), resources=None, devices=()),
    holds=(
        Hold(Holder.IONETCTL, "", "gpu_lost: GPU 3"),
        Hold(Holder.ADMIN, "ann@ops", "new riser", "2026-11-27"),
    ),
    jobs=None,
    use=None,
    use_problem="no way to it",
)
GONE: Final = ListedNode(
    replace(HOST, name=HostName("g3")), None, None, Failure("node_unknown", "eu-north does not know it")
)


def plain(lines: Iterable[Text]) -> list[str]:
    return [line.plain for line in lines]


def test_list_has_a_line_for_each_node() -> None:
    """Status with who holds it and why, jobs, healthy GPUs, version; sums at the end."""
    assert plain(list_view(NodeReport((GOOD, HELD, GONE)))) == [
        "node  region    status                 jobs  gpus  version  why",
        "g1    eu-north  ready                     2   1/2  2.0.5",
        "g2    eu-north  ready, held, excluded     ?   0/0  2.0.5    gpu_lost: GPU 3; ann@ops: new riser; no way to it",
        "g3    eu-north  unknown                   ?     -  -        eu-north does not know it",
        "",
        "3 nodes: 2 ready, 1 take jobs, 1 held, 1 excluded",
    ]


def test_wide_list_has_what_nodes_use() -> None:
    """In percent of what they have; a node that was not asked has none."""
    header, first, second, third, *_ = plain(list_view(NodeReport((GOOD, HELD, GONE)), is_wide=True))
    assert header.split()[6:] == [
        "id",
        "datacenter",
        "pool",
        "drivers",
        "cpu",
        "memory",
        "disk",
        "gpu",
        "use",
        "why",
    ]
    assert first.split()[6:] == [
        "01234567",
        "rey1",
        "gpu",
        "docker,exec",
        "12",
        "%",
        "12",
        "%",
        "50",
        "%",
        "90",
        "%",
    ]
    assert second.split()[8:15] == ["01234567", "rey1", "gpu", "-", "-", "-", "-"]
    assert third.split()[6:13] == ["-", "rey1", "gpu", "-", "-", "-", "-"]
    bare = replace(GOOD, use=replace(USE, gpus=(), disk_mib=0))
    assert plain(list_view(NodeReport((bare,)), is_wide=True))[1].endswith("12 %    12 %   0 %        -")


def test_list_beside_an_inventory_names_what_differs() -> None:
    """And counts the nodes that do; without an inventory the column is not there."""
    other = replace(GOOD, differences=(Difference("node_pool", "gpu", "cpu"), Difference("gpus", "8", "2")))
    same = replace(GOOD, differences=())
    told = plain(list_view(NodeReport((other, same))))
    assert [line.split()[6:] for line in told[:3]] == [["differs", "why"], ["node_pool,", "gpus"], ["-"]]
    assert told[-1] == "2 nodes: 2 ready, 2 take jobs, 1 differ from the inventory"


def test_empty_list_says_how_to_begin() -> None:
    """Before the first rollout there is nothing to list."""
    assert plain(list_view(NodeReport(()))) == [NOTHING]


def test_node_is_shown_with_all_that_is_known() -> None:
    """What it is, what runs there, what it has, holds back and uses; metadata only where asked for."""
    assert plain(node_view(GOOD, is_wide=True)) == [
        "g1",
        "  status      ready, eligible",
        "  node        0123456789abcdef at 10.0.0.1",
        "  place       eu-north, rey1, a01, pool gpu",
        "  nomad       2.0.5",
        f"  certificate {UNKNOWN_END}",
        "  drivers     docker, exec",
        "  gpus        1 of 2 nvidia.rtx.4090.24gb healthy",
        "  jobs        ray (blue): 2 allocations",
        "  has         16 cores (32,000 MHz), memory 69 GB, disk 107 GB",
        "  holds back  2,000 MHz, memory 1.1 GB, disk 0 MB",
        "  use         CPU 12 %, memory 8.6 GB of 69 GB, disk 54 GB of 107 GB",
        "  use         GPU-1: 90 %, memory 1.1 GB of 26 GB",
        "  use         GPU-2: ? %, memory ? of ?",
        "  meta        rack = a01",
    ]
    assert not [line for line in plain(node_view(GOOD)) if "rack =" in line]


def test_held_node_is_shown_with_who_holds_it() -> None:
    """Each holder with the reason, and what is not known said as such."""
    told = plain(node_view(replace(HELD, differences=(Difference("meta.rack", "a01", None),))))
    assert told[1:4] == [
        "  status      ready, ineligible",
        "  why         held by ionetctl: gpu_lost: GPU 3",
        "  why         excluded by ann@ops since 2026-11-27: new riser",
    ]
    assert told[5:] == [
        "  place       eu-north, rey1, no rack, pool gpu",
        "  nomad       2.0.5",
        f"  certificate {UNKNOWN_END}",
        "  drivers     none is healthy",
        "  jobs        unknown: the region does not tell them",
        "  use         unknown: no way to it",
        "  differs     meta.rack is not there, not a01",
    ]


def test_node_that_is_gone_is_shown_as_the_catalog_has_it() -> None:
    """The error, and where it should be; the control is idle and as its inventory has it."""
    assert plain(node_view(GONE)) == [
        "g3",
        "  unknown     eu-north does not know it",
        "  place       eu-north, rey1, a01, pool gpu",
    ]
    idle = plain(node_view(replace(GOOD, jobs=(), use=None, differences=())))
    assert ("  jobs        none" in idle, idle[-1]) == (
        True, "  differs     in nothing from the inventory",
    )  # fmt: skip
    moved = replace(GOOD, differences=(Difference("node_pool", "gpu", "cpu"),))
    assert plain(node_view(moved))[-1] == "  differs     node_pool is cpu, not gpu"
