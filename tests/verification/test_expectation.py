"""What the region must show of a node, and the reason that is reported where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.errors import HostUnverifiedError
from ionetctl.core.model.host import GpuPromise, Reserve
from ionetctl.core.model.node import Device, NodeView
from ionetctl.verification.expectation import Expectation, check_node, expected_node
from tests.support.sample import BARE, HOST
from tests.support.stamped_region import EIGHT, GPU, node

PROMISED = replace(HOST, node_pool="gpu", datacenter="rey1", gpus=GpuPromise("rtx-4090", 8))


def test_inventory_says_what_is_expected() -> None:
    """Without a probe the promised GPUs count, less those that are held back from jobs."""
    host = replace(PROMISED, reserve=Reserve(gpus=("0",)))
    assert expected_node(PROMISED, may_be_ineligible=False) == EIGHT
    assert expected_node(host, may_be_ineligible=False) == Expectation("gpu", "rey1", 7)


def test_probe_is_believed_before_the_inventory() -> None:
    """The checks have compared both already."""
    assert BARE.gpus is not None
    assert expected_node(PROMISED, BARE, may_be_ineligible=False).gpus == len(BARE.gpus) != 8


def test_unknown_number_of_gpus_is_not_counted() -> None:
    """Neither inventory nor probe can say; nor is it counted where the caller does not want it."""
    unknown = replace(PROMISED, gpus=GpuPromise())
    assert expected_node(unknown, replace(BARE, gpus=None), may_be_ineligible=False) == GPU
    assert expected_node(PROMISED, BARE, may_be_ineligible=False, counts_gpus=False) == GPU


@pytest.mark.parametrize("is_held", [True, False])
def test_held_nodes_may_be_ineligible(*, is_held: bool) -> None:
    """Whether they may have jobs is decided later."""
    assert expected_node(PROMISED, may_be_ineligible=is_held) == replace(EIGHT, may_be_ineligible=is_held)


SHORTFALLS = [
    (None, "not_registered"),
    (node(node_pool="default", datacenter="dc1", status="down"), "wrong_node_pool"),
    (node(datacenter="dc1", status="down"), "wrong_datacenter"),
    (node(status="initializing", eligibility="ineligible"), "node_not_ready"),
    (node(status="down"), "node_not_ready"),
    (node(status="unheard-of"), "node_not_ready"),
    (node(eligibility="ineligible", gpus=7), "node_ineligible"),
    (node(gpus=7), "gpu_count_mismatch"),
    (node(gpus=9), "gpu_count_mismatch"),
    (node(healthy=7), "gpu_unhealthy"),
    (replace(node(), devices=None), "gpu_count_mismatch"),
    (replace(node(), devices=(Device("intel", "qat", "X", ("1",) * 8, 8),)), "gpu_count_mismatch"),
    (node(), None),
]


@pytest.mark.parametrize(
    ("view", "code"), SHORTFALLS, ids=[f"{code}-{i}" for i, (_, code) in enumerate(SHORTFALLS)]
)
def test_most_specific_reason_is_reported(view: NodeView | None, code: str | None) -> None:
    """Place before state, state before eligibility, eligibility before GPUs."""
    verdict = check_node(view, EIGHT)
    assert (verdict.code if isinstance(verdict, HostUnverifiedError) else None) == code


def test_eligibility_may_be_left_to_others() -> None:
    """Where it is decided elsewhere, an ineligible node is as expected."""
    view = node(eligibility="ineligible")
    assert check_node(view, replace(EIGHT, may_be_ineligible=True)) == view


def test_gpus_nobody_promised_are_not_counted() -> None:
    """What is not known cannot be wrong; a promise of none is one."""
    view = node(gpus=3)
    assert check_node(view, GPU) == view
    assert isinstance(check_node(view, replace(GPU, gpus=0)), HostUnverifiedError)
