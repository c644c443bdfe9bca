"""The GPUs of one machine, as people see them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ionetctl.core.observed import (
    GpuMemoryHealth,
    GpuProcess,
    GpuReading,
    MigInstance,
    PcieLink,
    SeenGpu,
)
from ionetctl.ui.probe import notes, probe_view

CARD = SeenGpu(
    index=0,
    name="NVIDIA GeForce RTX 4090",
    uuid="GPU-1",
    memory_mib=24564,
    pci_bus_id="00000000:01:00.0",
    link=PcieLink(generation=1, generation_max=4, width=1, width_max=16),
    power_limit_w=270.4,
    temperature_c=71,
    has_display=True,
)


def shown(reading: GpuReading) -> list[str]:
    return [line.plain for line in probe_view(reading)]


def test_cards_are_rows() -> None:
    """What is known stands in the row, what is not as a dash; the last line says who reported it."""
    lost = SeenGpu(1, "", "", is_lost=True)
    reading = GpuReading((CARD, lost), "nvml", driver_version="570.86.15", cuda_version="12.8", took_ms=12)
    assert [line.split("  ") for line in map(_squeezed, shown(reading))] == [
        ["gpu", "name", "standard name", "memory", "pci", "link", "power", "temp", "notes"],
        [
            "0",
            "NVIDIA GeForce RTX 4090",
            "nvidia.rtx.4090.24gb",
            "24,564 MiB",
            "00000000:01:00.0",
            "gen1 x1 of 16",
            "270 W",
            "71 °C",
            "drives a display",
        ],
        ["1", *["-"] * 7, "lost"],
        ["2 GPUs by nvml, driver 570.86.15, CUDA 12.8, 12 ms"],
    ]


def _squeezed(line: str) -> str:
    """A line whose cells are two spaces apart, however wide their columns."""
    return re.sub(" {2,}", "  ", line)


def test_parts_of_a_card_are_rows_below_it() -> None:
    """Each under its card's number and with the name by which it is counted."""
    parts = (MigInstance("MIG-1", "1g.5gb", 4864), MigInstance("MIG-2", "2g.10gb"))
    card = SeenGpu(3, "NVIDIA A100-PCIE-40GB", "GPU-1", 40536, link=PcieLink(4, 4, 16, 16), mig=parts)
    words = [line.split() for line in shown(GpuReading((card,), "nvml"))]
    assert [line[:4] for line in words[2:4]] == [
        ["3:0", "MIG", "1g.5gb", "nvidia.a100.pcie.40gb.mig.1g.5gb"],
        ["3:1", "MIG", "2g.10gb", "nvidia.a100.pcie.40gb.mig.2g.10gb"],
    ]
    assert words[1][5:9] == ["MiB", "-", "gen4", "x16"]
    assert words[-1] == ["1", "GPU", "by", "nvml"]


def test_parts_of_a_card_without_a_name_have_none() -> None:
    """Nothing is made up for a card that could not say what it is."""
    card = SeenGpu(0, "", "", mig=(MigInstance("MIG-1", "1g.5gb"),))
    assert shown(GpuReading((card,), "nvml"))[2].split() == ["0:0", "MIG", "1g.5gb", *["-"] * 6]


def test_no_cards_are_reported_in_one_line() -> None:
    """There is no table where there is nothing to list."""
    assert shown(GpuReading((), "pci")) == ["0 GPUs by pci"]


def test_what_nobody_can_say_is_said() -> None:
    """With the reason, and no number."""
    assert shown(GpuReading(None, "no python3")) == ["nobody can say: no python3"]


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (replace(CARD, has_display=False), []),
        (
            replace(CARD, has_display=None, memory_health=GpuMemoryHealth(ecc_uncorrected=2)),
            ["2 uncorrected ECC errors"],
        ),
        (
            SeenGpu(0, "", "", memory_health=GpuMemoryHealth(pending_repair=True, has_remap_failed=True)),
            ["memory repair waits for a reset", "a row could not be remapped"],
        ),
        (
            SeenGpu(0, "", "", nvlinks=3, nvlinks_max=4, fabric_state="failed"),
            ["3 of 4 NVLinks", "fabric failed"],
        ),
        (SeenGpu(0, "", "", nvlinks=4, nvlinks_max=4, fabric_state="completed"), []),
        (
            SeenGpu(0, "", "", processes=(GpuProcess(7, "t-rex"), GpuProcess(8, "t-rex"), GpuProcess(9, ""))),
            ["busy: 9 t-rex"],
        ),
        (SeenGpu(0, "", "", unreadable=("a: b", "c: d")), ["a: b; c: d"]),
        (SeenGpu(0, "", "", is_lost=True, unreadable=("a: b",)), ["lost"]),
    ],
)
def test_notes_say_what_to_look_at(gpu: SeenGpu, expected: list[str]) -> None:
    """A card that is well needs none."""
    assert list(notes(gpu)) == expected
