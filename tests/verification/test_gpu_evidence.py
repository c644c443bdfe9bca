"""What a region must show of a node's GPUs and Docker, and the error that is reported where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.model.host import CheckRule, GpuPromise, Host, Reserve
from ionetctl.core.model.node import Device, NodeView
from ionetctl.core.model.outcome import Severity
from ionetctl.core.observed import MigInstance, SeenGpu
from ionetctl.verification.gpu_evidence import (
    docker_warnings,
    expected_gpu_count,
    expected_gpu_ids,
    shortfall,
)
from tests.support.sample import BARE, CARDS, HOST, view

PROMISED = replace(HOST, gpus=GpuPromise("rtx-4090", 2))
[CARD] = CARDS
CUT = replace(
    BARE,
    gpus=(
        SeenGpu(
            0, "NVIDIA A100-SXM4-40GB", "GPU-1", 40_960, is_mig_on=True, mig=(MigInstance("MIG-1", "1g.5gb"),)
        ),
        SeenGpu(1, "NVIDIA A100-SXM4-40GB", "GPU-2", 40_960, is_mig_on=False),
    ),
)


def shown(*ids: str, healthy: int | None = None, name: str = CARD.name) -> NodeView:
    """The node with these GPUs."""
    count = len(ids) if healthy is None else healthy
    return view(devices=(Device("nvidia", "gpu", name, ids, count, CARD.memory_mib),))


def code(host: Host, node: NodeView, *, probed: bool = True) -> str | None:
    """The code of what a node falls short of."""
    error = shortfall(host, node, BARE if probed else None)
    return error.code if error else None


@pytest.mark.parametrize("probed", [True, False])
def test_node_that_shows_what_was_promised_proves_itself(*, probed: bool) -> None:
    """With a probe and without: the control of all below."""
    assert code(PROMISED, view(), probed=probed) is None


def test_other_devices_are_not_looked_at() -> None:
    """What is no GPU is no concern of a promise of GPUs."""
    other = Device("intel", "qat", "X", ("QAT-1",), 0)
    assert code(PROMISED, view(devices=(*CARDS, other))) is None


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (view(devices=None), "gpu_count_mismatch"),
        (shown("GPU-1"), "gpu_count_mismatch"),
        (shown("GPU-1", "GPU-2", "GPU-3"), "gpu_count_mismatch"),
        (shown("GPU-1", "GPU-2", name="NVIDIA GeForce RTX 3090"), "gpu_model_mismatch"),
        (shown("GPU-1", "GPU-2", healthy=1), "gpu_unhealthy"),
    ],
)
@pytest.mark.parametrize("probed", [True, False])
def test_what_a_region_shows_wrong(node: NodeView, expected: str, *, probed: bool) -> None:
    """Count, model and health need no probe."""
    assert code(PROMISED, node, probed=probed) == expected


def test_other_cards_than_those_probed() -> None:
    """A card that was changed after Nomad's start is named."""
    error = shortfall(PROMISED, shown("GPU-1", "GPU-9"), BARE)
    assert error is not None
    assert (error.code, error.message) == (
        "gpu_uuid_mismatch",
        "the host has GPU-2, and the region shows GPU-9 instead",
    )


def test_other_cards_are_not_seen_without_a_probe() -> None:
    """The count alone is right."""
    assert code(PROMISED, shown("GPU-1", "GPU-9"), probed=False) is None


def test_many_other_cards_are_named_in_part() -> None:
    """A message stays readable."""
    seen = tuple(SeenGpu(index, CARD.name, f"GPU-{index}", 24_564) for index in range(8))
    error = shortfall(
        replace(HOST), shown(*(f"GPU-x{index}" for index in range(8))), replace(BARE, gpus=seen)
    )
    assert error is not None
    assert "GPU-0, GPU-1, GPU-2 and 5 more" in error.message


def test_unhealthy_gpus_are_counted_in_words() -> None:
    """One is, two are."""
    words = [shortfall(PROMISED, shown("GPU-1", "GPU-2", healthy=healthy)) for healthy in (1, 0)]
    assert [error.message.split(" that")[0] + error.message.split("sees")[1] for error in words if error] == [
        "1 of the GPUs is not healthy there",
        "2 of the GPUs are not healthy there",
    ]


def test_held_back_cards_are_not_due() -> None:
    """With a probe they are told by index."""
    host = replace(PROMISED, reserve=Reserve(gpus=("0",)))
    assert (expected_gpu_ids(host, BARE), expected_gpu_count(host, BARE)) == (frozenset({"GPU-2"}), 1)


def test_held_back_cards_are_counted_without_a_probe() -> None:
    """The promise is less by their number."""
    assert expected_gpu_count(replace(PROMISED, reserve=Reserve(gpus=("0",)))) == 1


def test_lost_cards_are_not_due() -> None:
    """The checks have spoken of them; where the site waived that, the others are due."""
    first, second = BARE.gpus or ()
    facts = replace(BARE, gpus=(replace(first, is_lost=True), second))
    assert expected_gpu_ids(PROMISED, facts) == frozenset({"GPU-2"})


def test_unreadable_uuids_are_not_compared() -> None:
    """The promise is then all that there is."""
    first, second = BARE.gpus or ()
    facts = replace(BARE, gpus=(replace(first, uuid=""), second))
    assert (expected_gpu_ids(PROMISED, facts), expected_gpu_count(PROMISED, facts)) == (None, 2)


def test_nobody_who_counted_leaves_the_promise() -> None:
    """Where the GPUs could not be counted, the promised number is due."""
    assert expected_gpu_count(PROMISED, replace(BARE, gpus=None)) == 2


def test_without_count_and_promise_nothing_is_due() -> None:
    """Neither a survey that could not count nor the lack of one makes a shortfall."""
    blind = replace(BARE, gpus=None)
    assert (expected_gpu_count(HOST, blind), expected_gpu_count(HOST)) == (None, None)
    assert shortfall(HOST, view(devices=None), blind) is None


def test_promise_of_none_is_kept() -> None:
    """A host that is to offer no GPUs must not."""
    none = replace(HOST, gpus=GpuPromise(None, 0))
    assert (code(none, view(devices=())), code(none, view())) == (None, "gpu_count_mismatch")


def test_instances_of_mig_stand_for_their_card() -> None:
    """The plugin skips the card that was cut, and lists its instances."""
    assert expected_gpu_ids(HOST, CUT) == frozenset({"MIG-1", "GPU-2"})
    both = (
        Device("nvidia", "gpu", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", ("MIG-1",), 1, 4864),
        Device("nvidia", "gpu", "NVIDIA A100-SXM4-40GB", ("GPU-2",), 1, 40_960),
    )
    assert shortfall(replace(HOST, gpus=GpuPromise("a100-40gb", 2)), view(devices=both), CUT) is None


def test_instances_cannot_be_counted_without_a_probe() -> None:
    """How many a card was cut into, the inventory does not say; that there are none, it can tell."""
    host = replace(HOST, gpus=GpuPromise(None, 1))
    seven = shown(*(f"MIG-{number}" for number in range(7)))
    assert (code(host, seven, probed=False), code(host, shown(), probed=False)) == (
        None,
        "gpu_count_mismatch",
    )


# --- Docker ----------------------------------------------------------------------------------------------------------

WITHOUT_DOCKER = replace(view(), drivers_healthy=("exec",), docker_runtimes=None)
WITHOUT_RUNTIME = replace(view(), docker_runtimes=("runc",))


def ruled(code: str, severity: Severity) -> Host:
    """The host with a rule of its site."""
    return replace(PROMISED, checks={code: CheckRule(severity, "so be it")})


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (view(), []),
        (WITHOUT_DOCKER, ["docker_unhealthy"]),
        (WITHOUT_RUNTIME, ["nvidia_runtime_missing"]),
        (replace(view(), docker_runtimes=None), []),
    ],
)
def test_docker_is_a_caution(node: NodeView, expected: list[str]) -> None:
    """Hosts without it are enrolled, with a warning."""
    assert [finding.code for finding in docker_warnings(PROMISED, node, BARE)] == expected
    assert code(PROMISED, node) is None


@pytest.mark.parametrize(
    ("node", "rule", "expected"),
    [
        (WITHOUT_DOCKER, "docker_missing", "docker_unhealthy"),
        (WITHOUT_DOCKER, "docker_down", "docker_unhealthy"),
        (WITHOUT_RUNTIME, "nvidia_runtime_missing", "nvidia_runtime_missing"),
        (WITHOUT_DOCKER, "nvidia_runtime_missing", None),
        (view(), "docker_missing", None),
    ],
)
def test_site_may_insist_on_docker(node: NodeView, rule: str, expected: str | None) -> None:
    """A check that the inventory raises keeps the node from jobs."""
    assert code(ruled(rule, Severity.BLOCK), node) == expected


@pytest.mark.parametrize("severity", [Severity.WAIVED, Severity.INFO])
def test_site_may_do_without_docker(severity: Severity) -> None:
    """What was waived is not reported again."""
    assert docker_warnings(ruled("docker_missing", severity), WITHOUT_DOCKER, BARE) == ()


def test_docker_matters_where_gpus_are_offered() -> None:
    """A host without GPUs needs no runtime for them."""
    host = replace(HOST, gpus=GpuPromise(None, 0))
    assert docker_warnings(host, replace(WITHOUT_DOCKER, devices=()), replace(BARE, gpus=())) == ()
