"""Product names become standard names, and short forms are predicates over them."""

from __future__ import annotations

import pytest

from ionetctl.gpu import is_meant_by, standard_name


@pytest.mark.parametrize(
    ("name", "memory_mib", "expected"),
    [
        ("NVIDIA GeForce RTX 4090", 24_564, "nvidia.rtx.4090.24gb"),
        ("NVIDIA GeForce RTX 3080 Ti", 12_288, "nvidia.rtx.3080.ti.12gb"),
        ("NVIDIA GeForce RTX 3080Ti", 12_288, "nvidia.rtx.3080.ti.12gb"),
        ("NVIDIA GeForce GTX 1060 3GB", 3_072, "nvidia.gtx.1060.3gb"),
        ("NVIDIA H100 80GB HBM3", 81_559, "nvidia.h100.80gb"),
        ("NVIDIA H100 PCIe", 81_559, "nvidia.h100.pcie.80gb"),
        ("NVIDIA A100-SXM4-40GB", 40_960, "nvidia.a100.sxm.40gb"),
        ("NVIDIA A100-PCIE-40GB", 40_960, "nvidia.a100.pcie.40gb"),
        ("Tesla T4", 15_360, "nvidia.t4.16gb"),
        ("NVIDIA L40S", 46_068, "nvidia.l40s.48gb"),
        ("NVIDIA Future X1", 65_000, "nvidia.future.x1.63gb"),
        ("NVIDIA Future X1", None, "nvidia.future.x1"),
        ("NVIDIA", None, "nvidia.unknown"),
    ],
)
def test_standard_names(name: str, memory_mib: int | None, expected: str) -> None:
    """Names, sizes and suffixes come out in one form."""
    assert standard_name(name, memory_mib) == expected


@pytest.mark.parametrize(
    ("short_form", "name", "expected"),
    [
        ("rtx-4090", "NVIDIA GeForce RTX 4090", True),
        ("rtx-3080", "NVIDIA GeForce RTX 3080 Ti", False),
        ("rtx-3080-ti", "NVIDIA GeForce RTX 3080 Ti", True),
        ("rtx3080ti", "NVIDIA GeForce RTX 3080 Ti", False),
        ("h100-80gb", "NVIDIA H100 80GB HBM3", True),
        ("h100-80gb", "NVIDIA H100 PCIe", False),
        ("a100-sxm-40gb", "NVIDIA A100-SXM4-40GB", True),
        ("a100-sxm", "NVIDIA A100-PCIE-40GB", False),
        ("rtx-4090", "NVIDIA GeForce RTX 3090", False),
    ],
)
def test_short_forms_are_predicates(short_form: str, name: str, expected: bool) -> None:  # noqa: FBT001
    """All words of a short form must be in the standard name."""
    assert is_meant_by(short_form, name) is expected


def test_memory_tells_apart_what_the_name_does_not() -> None:
    """Where the name has no size, the driver's figure decides."""
    assert is_meant_by("h100-80gb", "NVIDIA H100 PCIe", 81_559) is True
