"""In what a node differs from its host in the inventory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.host import GpuPromise, Host, Location, Network
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.node import Difference
from ionetctl.verification.differences import differences
from tests.support.stamped_region import node

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = Host(
    HostName("n-1"),
    "10.0.0.1",
    RegionName("eu-north"),
    "rey1",
    "a01",
    "gpu",
    tags=("hot",),
    meta={"owner": "ann"},
    gpus=GpuPromise(None, 8),
    location=Location("DE", "Berlin"),
    network=Network(10_000),
)
META = {
    "owner": "ann",
    "ionet_rack": "a01",
    "ionet_country": "DE",
    "ionet_city": "Berlin",
    "ionet_network_mbps": "10000",
    "ionet_network_class": "10g",
    "ionet_tags": "hot",
    "ionet_cpu": "whatever",
}


@pytest.mark.parametrize(
    ("changes", "meta", "expected"),
    [
        ({}, META, []),
        ({}, None, []),
        (
            {"node_pool": "cpu", "version": "2.0.4"},
            None,
            [("node_pool", "gpu", "cpu"), ("version", "2.0.5", "2.0.4")],
        ),
        ({"datacenter": "rey2"}, None, [("datacenter", "rey1", "rey2")]),
        (
            {},
            {**META, "ionet_rack": "a02", "owner": ""} | {"ionet_city": "Bonn"},
            [
                ("meta.owner", "ann", ""),
                ("meta.ionet_rack", "a01", "a02"),
                ("meta.ionet_city", "Berlin", "Bonn"),
            ],
        ),
        (
            {},
            {key: value for key, value in META.items() if key != "ionet_tags"},
            [("meta.ionet_tags", "hot", None)],
        ),
    ],
    ids=["same", "not read", "pool and version", "datacenter", "meta", "missing meta"],
)
def test_what_differs_is_told(
    changes: dict[str, str], meta: Mapping[str, str] | None, expected: list[tuple[str, str, str | None]]
) -> None:
    """Of metadata only the keys whose values stand in the inventory."""
    found = differences(HOST, "2.0.5", replace(node(), **changes), meta)  # type: ignore[arg-type]
    assert list(found) == [Difference(*each) for each in expected]


def test_gpus_are_compared_by_number_and_model() -> None:
    """A number that is not promised is not compared; a card that is not well is no difference."""
    promised = replace(HOST, gpus=GpuPromise("rtx-4090", 8))
    found = list(differences(promised, "2.0.5", node(gpus=7, healthy=1), None))
    assert [(each.what, each.expected, each.found) for each in found] == [
        ("gpus", "8", "7"),
        ("gpu_model", "rtx-4090", "nvidia.rtx"),
    ]
    assert list(differences(replace(HOST, gpus=GpuPromise()), "2.0.5", node(gpus=7), None)) == []
