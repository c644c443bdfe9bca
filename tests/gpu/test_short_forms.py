"""Short forms are predicates over products."""

from __future__ import annotations

import pytest

from ionetctl.gpu import is_meant_by, matches_any_known, meant_products, nearest_known
from ionetctl.gpu.model_table import MODELS


@pytest.mark.parametrize(
    ("short_form", "name", "expected"),
    [
        ("rtx-4090", "NVIDIA GeForce RTX 4090", True),
        ("4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX4090", "NVIDIA GeForce RTX 4090", True),
        ("rtx-4090", "NVIDIA GeForce RTX 4090 D", False),
        ("rtx-4090d", "NVIDIA GeForce RTX 4090 D", True),
        ("rtx-4090", "NVIDIA GeForce RTX 4090 Laptop GPU", False),
        ("rtx-4090-laptop", "NVIDIA GeForce RTX 4090 Laptop GPU", True),
        ("rtx-4090", "NVIDIA GeForce RTX 3090", False),
        ("rtx-4080", "NVIDIA GeForce RTX 4080 SUPER", False),
        ("rtx-4070-super", "NVIDIA GeForce RTX 4070 Ti SUPER", False),
        ("rtx-3080", "NVIDIA GeForce RTX 3080 Ti", False),
        ("rtx-3080-ti", "NVIDIA GeForce RTX 3080", False),
        ("rtx3080ti", "NVIDIA GeForce RTX 3080 Ti", True),
        ("rtx-2080", "NVIDIA GeForce RTX 2080 with Max-Q Design", False),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("h100", "NVIDIA H100 NVL", True),
        ("h100", "NVIDIA H800", False),
        ("h100-80gb", "NVIDIA H100 80GB HBM3", True),
        ("h100-80gb", "NVIDIA H100 PCIe", True),
        ("h100-80gb", "NVIDIA H100 NVL", False),
        ("h100-pcie", "NVIDIA H100 80GB HBM3", False),
        ("a100-40gb", "NVIDIA A100-SXM4-40GB", True),
        ("a100-40gb", "NVIDIA A100-SXM4-80GB", False),
        ("a100-sxm4", "NVIDIA A100-SXM4-40GB", True),
        ("a100-sxm", "NVIDIA A100-PCIE-40GB", False),
        ("a100-40gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", True),
        ("v100", "Tesla V100S-PCIE-32GB", False),
        ("l40", "NVIDIA L40S", False),
        ("a6000", "NVIDIA RTX A6000", True),
        ("p4000", "Quadro P4000", True),
        ("rtx-6000", "Quadro RTX 6000", True),
        ("rtx-6000", "NVIDIA RTX 6000 Ada Generation", False),
        ("rtx-6000-ada", "NVIDIA RTX 6000 Ada Generation", True),
        ("rtx-pro-6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", True),
        ("p106", "NVIDIA P106-090", True),
        ("p106-100", "NVIDIA P106-090", False),
        ("nvidia.rtx.4090.24gb", "NVIDIA GeForce RTX 4090", True),
        ("nvidia.h100.sxm.80gb", "NVIDIA H100 80GB HBM3", True),
        ("rtx-6090", "NVIDIA GeForce RTX 6090", True),
        ("", "NVIDIA GeForce RTX 4090", False),
        ("geforce", "NVIDIA GeForce RTX 4090", False),
    ],
)
def test_short_forms_are_predicates(short_form: str, name: str, expected: bool) -> None:  # noqa: FBT001
    """All words must be in the standard name, and no variant in it that the short form leaves out."""
    assert is_meant_by(short_form, name) is expected


def test_memory_tells_apart_what_the_name_does_not() -> None:
    """Where a model was sold in several sizes, the driver's figure decides."""
    fits = [is_meant_by("rtx-3080-12gb", "NVIDIA GeForce RTX 3080", mib) for mib in (12_288, 10_240)]
    assert fits == [True, False]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_meant(model: str) -> None:
    """A model's own name with hyphens means it, and nothing but sizes and form factors of it."""
    meant = {product.model for product in meant_products(model.replace(".", "-"))}
    assert model in meant
    assert {other for other in meant if not set(model.split(".")) <= set(other.split("."))} == set()


@pytest.mark.parametrize(
    ("short_form", "expected"),
    [
        ("rtx-4090", True),
        ("h100-80gb", True),
        ("rtx-4090-48gb", False),
        ("rtx-6090", False),
        ("rxt-4090", False),
    ],
)
def test_short_form_of_no_known_model_shows(short_form: str, expected: bool) -> None:  # noqa: FBT001
    """What no model of the table fits can be distinguished from what one fits."""
    assert matches_any_known(short_form) is expected


@pytest.mark.parametrize(
    ("short_form", "expected"),
    [("gtx-4090", "rtx-4090"), ("rxt-4090", "rtx-4090"), ("h10-pcie", "h100-pcie"), ("zzzz", None)],
)
def test_nearest_model_is_offered(short_form: str, expected: str | None) -> None:
    """A slip of the pen gets the model that was probably meant; nonsense gets nothing."""
    assert nearest_known(short_form) == expected
