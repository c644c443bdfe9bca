"""The document of ``probe -o json``."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.observed import GpuReading, MigInstance, SeenGpu
from ionetctl.report.probe import document, exit_code_of, gpu_row
from ionetctl.summary.rollout_summary import Failure

CARD = SeenGpu(0, "NVIDIA A100-PCIE-40GB", "GPU-1", 40536, mig=(MigInstance("MIG-1", "1g.5gb", 4864),))


def test_the_document_has_every_field_of_a_reading() -> None:
    """Nothing that the probe found out is kept back."""
    reported = document(GpuReading((CARD,), "nvml", driver_version="570.86.15"))
    names = {field.name for field in fields(GpuReading)}
    assert set(reported) == names | {"schema", "exit_code", "error"}
    assert (reported["schema"], reported["exit_code"], reported["error"]) == ("ionetctl.probe/1", 0, None)
    assert (reported["source"], reported["driver_version"], len(reported["gpus"])) == ("nvml", "570.86.15", 1)


def test_standard_names_stand_beside_those_of_nvml() -> None:
    """Of the card and of each of its parts."""
    row = gpu_row(CARD)
    assert (row["standard_name"], row["name"]) == ("nvidia.a100.pcie.40gb", "NVIDIA A100-PCIE-40GB")
    assert row["mig"] == [
        {
            "uuid": "MIG-1",
            "profile": "1g.5gb",
            "memory_mib": 4864,
            "standard_name": "nvidia.a100.pcie.40gb.mig.1g.5gb",
        }
    ]


def test_a_card_without_a_name_has_no_standard_name() -> None:
    """Nothing is made up for a lost card."""
    assert gpu_row(SeenGpu(1, "", "", is_lost=True))["standard_name"] is None


@pytest.mark.parametrize(
    ("reading", "expected"),
    [(GpuReading(None, "no python3"), ExitCode.FAILED), (GpuReading((), "pci"), ExitCode.OK)],
)
def test_what_nobody_can_say_fails(reading: GpuReading, expected: ExitCode) -> None:
    """No GPUs are an answer; no answer is not."""
    assert (exit_code_of(reading), document(reading)["exit_code"]) == (expected, expected)


def test_a_failed_probe_has_the_same_keys() -> None:
    """Scripts find the error where they look for it, and no GPUs."""
    failure = Failure("probe_incomplete", "torn", "again")
    reported = document(GpuReading(None, ""), ExitCode.UNREACHABLE, failure)
    assert (reported["exit_code"], reported["gpus"]) == (4, None)
    assert reported["error"] == {"code": "probe_incomplete", "message": "torn", "hint": "again"}
