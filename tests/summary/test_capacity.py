"""What the fleet has to offer: sums by standing and region, and a virtual node's resources."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from ionetctl.core.model.names import RegionName
from ionetctl.core.model.node import Amounts, NodeResources
from ionetctl.summary.capacity import (
    Capacity,
    Standing,
    capacity_document,
    capacity_lines,
    capacity_of,
    capacity_rows,
    resource_name,
    virtual_node,
    virtual_node_lines,
)
from ionetctl.summary.fleet import UNKNOWN, NodeStatus, StatusReport
from tests.support.fleet import LOGIN, node

if TYPE_CHECKING:
    from collections.abc import Mapping

RTX: Final = "nvidia.rtx.4090.24gb"
SLICE: Final = "nvidia.a100.sxm.40gb.mig.1g.5gb"
NEW: Final = "nvidia.future.x1.63gb"
WEST: Final = RegionName("us-west")

QUALIFIED: Final = re.compile(
    r"(?=[^/]{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
    r"/(?=.{1,63}\Z)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
)
"""A qualified name: k8s.io/apimachinery, util/validation, IsQualifiedName."""


def having(one: NodeStatus, gpus: Mapping[str, int], region: str = "eu-north") -> NodeStatus:
    """The node with other GPUs, elsewhere."""
    return replace(one, gpus=gpus, region=RegionName(region))


HELD: Final = replace(node(2), eligibility="ineligible")
SITE: Final = (node(0), node(1, "down", 7), HELD, having(node(3), {RTX: 4, SLICE: 7}, WEST), LOGIN)


def online(*nodes: NodeStatus, silent: Mapping[RegionName, str] | None = None) -> Capacity:
    """The capacity of nodes whose regions were asked."""
    return capacity_of(StatusReport(nodes, silent or {}), is_offline=False)


def recorded(*models: tuple[str | None, int | None, int | None]) -> tuple[NodeStatus, ...]:
    """Nodes that nobody was asked about: model, seen and expected number of GPUs."""
    return tuple(
        replace(node(i), status=UNKNOWN, eligibility=None, gpus={}, gpu_model=m, gpus_seen=s, gpus_expected=e)
        for i, (m, s, e) in enumerate(models)
    )


def test_only_ready_and_eligible_nodes_count() -> None:
    """What is down or ineligible stands apart; what can be scheduled is reported line by line."""
    capacity = online(*SITE)
    assert capacity_lines(capacity) == [f"{SLICE}: 7", f"{RTX}: 12"]
    assert capacity.total[Standing.UNSCHEDULABLE].gpus == {RTX: 15}
    assert {standing: tally.nodes for standing, tally in capacity.total.items()} == {
        "schedulable": 2,
        "unschedulable": 3,
        "unknown": 0,
        "recorded": 0,
    }


NO_SHARES: Final = {"cpu_cores": 0.0, "cpu_mhz": 0, "memory_mib": 0, "disk_mib": 0}


def tally(nodes: int, gpus: Mapping[str, int], *, is_open: bool = False) -> dict[str, object]:
    """What a document says of nodes whose CPU, memory and disk nobody has told."""
    return {
        "nodes": nodes,
        "gpus": gpus,
        "capacity": NO_SHARES,
        "reserved": NO_SHARES,
        "in_use": {**NO_SHARES, "gpus": {}},
        "free": {**NO_SHARES, "gpus": gpus if is_open else {}},
    }


def test_document_has_total_and_regions() -> None:
    """Each standing has its nodes and GPUs, in all and by region."""
    nothing = tally(0, {})
    assert capacity_document(online(node(0), HELD, having(node(3), {NEW: 1}, WEST))) == {
        "schema": "ionetctl.capacity/1",
        "total": {
            "schedulable": tally(2, {NEW: 1, RTX: 8}, is_open=True),
            "unschedulable": tally(1, {RTX: 8}),
            "unknown": nothing,
            "recorded": nothing,
        },
        "regions": {
            "eu-north": {
                "schedulable": tally(1, {RTX: 8}, is_open=True),
                "unschedulable": tally(1, {RTX: 8}),
                "unknown": nothing,
                "recorded": nothing,
            },
            "us-west": {
                "schedulable": tally(1, {NEW: 1}, is_open=True),
                "unschedulable": nothing,
                "unknown": nothing,
                "recorded": nothing,
            },
        },
        "unknown_products": [NEW],
        "unanswered": [],
        "error": None,
        "untold": [],
    }


def test_what_jobs_may_get_is_less_than_there_is() -> None:
    """Of CPU, memory, disk and GPUs: without what is held back, excluded, or in use; of a virtual node too."""
    resources = NodeResources(16, Amounts(32_000, 64_000, 100_000), Amounts(2_000, 1_000, 500))
    busy = replace(node(0), resources=resources, takes=Amounts(10_000, 60_000, 99_900), gpus_taken={RTX: 3})
    capacity = online(busy, replace(HELD, resources=resources, takes=Amounts(0, 1, 0)))
    document = capacity_document(capacity)["total"]
    assert document["schedulable"] == {
        "nodes": 1,
        "gpus": {RTX: 8},
        "capacity": {"cpu_cores": 16.0, "cpu_mhz": 32_000, "memory_mib": 64_000, "disk_mib": 100_000},
        "reserved": {"cpu_cores": 1.0, "cpu_mhz": 2_000, "memory_mib": 1_000, "disk_mib": 500},
        "in_use": {
            "cpu_cores": 5.0, "cpu_mhz": 10_000, "memory_mib": 60_000, "disk_mib": 99_900, "gpus": {RTX: 3},
        },
        "free": {
            "cpu_cores": 10.0, "cpu_mhz": 20_000, "memory_mib": 3_000, "disk_mib": 0, "gpus": {RTX: 5},
        },
    }  # fmt: skip
    held = document["unschedulable"]
    assert (held["capacity"]["cpu_mhz"], held["free"]) == (32_000, {**NO_SHARES, "gpus": {}})
    gpus = {"ionet.io/nvidia.rtx.4090.24gb": "8", "nvidia.com/gpu": "8"}
    assert virtual_node(capacity)["allocatable"] == gpus | {
        "cpu": "10000m", "ephemeral-storage": "0Mi", "ionet.io/cpu-mhz": "20000", "memory": "3000Mi",
    }  # fmt: skip
    assert virtual_node(capacity)["capacity"]["cpu"] == "32000m"


def test_node_without_mhz_has_no_cores_to_give() -> None:
    """A region that tells no CPU time leaves nothing to divide by."""
    odd = replace(node(0), resources=NodeResources(16, Amounts(0, 1, 1), Amounts()))
    assert online(odd).has.cpu_millicores == 0


def test_node_that_its_region_does_not_list_is_unknown() -> None:
    """It is not among those that cannot be scheduled, and has no GPUs; an error says where no region answered."""
    gone = replace(node(1), status=UNKNOWN, eligibility=None, gpus={})
    tallies = online(node(0), gone).total
    assert (tallies[Standing.UNKNOWN].nodes, tallies[Standing.UNSCHEDULABLE].nodes) == (1, 0)
    dead = capacity_document(online(gone, silent={RegionName("eu-north"): "no answer"}))
    assert (dead["error"]["code"], dead["unanswered"]) == (
        "no_region_reachable",
        [{"region": "eu-north", "message": "no answer"}],
    )


def test_rows_have_region_and_standing() -> None:
    """NDJSON has one object for each sum."""
    assert capacity_rows(online(HELD)) == [
        {"region": "eu-north", "standing": "unschedulable", "gpu": RTX, "count": 8}
    ]


@pytest.mark.parametrize(
    ("model", "seen", "expected", "gpus"),
    [
        ("rtx-4090", 8, 8, {RTX: 8}),
        ("rtx-4090", 7, 8, {RTX: 7}),
        ("rtx-4090", None, 8, {RTX: 8}),
        ("rtx-4090", 0, 8, {}),
        ("h100-80gb", 8, 8, {"nvidia.h100.80gb": 8}),
        ("rtx-6090", 8, 8, {"nvidia.rtx.6090": 8}),
        (None, 8, None, {"nvidia.unknown": 8}),
        (None, None, None, {}),
    ],
)
def test_offline_counts_what_was_recorded(
    model: str | None, seen: int | None, expected: int | None, gpus: dict[str, int]
) -> None:
    """Numbers as last seen, under the product that the inventory means where it means one, else its own words."""
    capacity = capacity_of(StatusReport(recorded((model, seen, expected)), {}), is_offline=True)
    assert capacity.available == gpus


def test_silent_region_counts_nothing_that_is_there() -> None:
    """GPUs of a region that does not answer are recorded, and not among what can be counted on."""
    nodes = (*recorded(("rtx-4090", 8, 8)), having(node(3), {RTX: 4}, WEST))
    capacity = online(*nodes, silent={RegionName("eu-north"): "no route"})
    assert (capacity.available, capacity.total[Standing.RECORDED].gpus) == ({RTX: 4}, {RTX: 8})


def test_node_that_is_gone_counts_nothing() -> None:
    """A node that its region does not list any more has no GPUs to count, and is unknown."""
    capacity = online(*recorded(("rtx-4090", 8, 8)))
    assert (capacity.all_gpus, capacity.total[Standing.UNKNOWN].nodes) == ({}, 1)


def test_virtual_node_has_legal_resources() -> None:
    """Capacity has every GPU, allocatable what can be scheduled, both by model and as NVIDIA's plugin counts them."""
    assert virtual_node(online(*SITE)) == {
        "capacity": {
            f"ionet.io/{SLICE}": "7",
            f"ionet.io/{RTX}": "27",
            "nvidia.com/gpu": "27",
            "nvidia.com/mig-1g.5gb": "7",
        },
        "allocatable": {
            f"ionet.io/{SLICE}": "7",
            f"ionet.io/{RTX}": "12",
            "nvidia.com/gpu": "12",
            "nvidia.com/mig-1g.5gb": "7",
        },
    }


@pytest.mark.parametrize("capacity", [online(*SITE), online()], ids=["site", "empty"])
def test_virtual_node_is_yaml(capacity: Capacity) -> None:
    """The lines read back as the same mapping, amounts as text."""
    assert yaml.safe_load("\n".join(virtual_node_lines(capacity))) == virtual_node(capacity)


@pytest.mark.parametrize(
    "standard", [RTX, SLICE, "nvidia." + "x" * 16 + ".y" * 30, "nvidia." + "a" * 46 + "." + "b" * 30]
)
def test_resource_names_are_qualified(standard: str) -> None:
    """Every name is one that Kubernetes takes, as is ``requests.`` before it in quotas."""
    assert QUALIFIED.fullmatch(resource_name(standard))
    assert QUALIFIED.fullmatch(f"requests.{resource_name(standard)}")


def test_long_resource_names_stay_distinct() -> None:
    """Names that differ beyond the length that Kubernetes takes are still distinguished; short ones are untouched."""
    long = "nvidia." + "x" * 80
    assert resource_name(f"{long}.1gb") != resource_name(f"{long}.2gb")
    assert resource_name(RTX) == f"ionet.io/{RTX}"


def test_names_that_are_no_resource_would_be_found() -> None:
    """The check above does refuse names: too long, without a prefix, with a dot at the end."""
    wrong = [f"ionet.io/{'x' * 64}", RTX, "ionet.io/nvidia."]
    assert [name for name in wrong if QUALIFIED.fullmatch(name)] == []
