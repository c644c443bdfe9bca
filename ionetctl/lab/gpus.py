"""The GPUs that rehearsal hosts pretend to have: a small catalogue, and the file in which a host's cards are listed.

The file stands for the driver: the ``nvidia-smi`` stand-in and the agent's stand-in both read it, nobody else.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

GPU_FILE: Final = "run/lab/gpus.csv"


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A model as an inventory names it, and as NVML does."""

    short: str
    name: str
    memory_mib: int
    count: int
    cpu_cores: int
    memory_gib: int


CATALOGUE: Final = (
    GpuModel("rtx-4090", "NVIDIA GeForce RTX 4090", 24_564, count=8, cpu_cores=16, memory_gib=64),
    GpuModel("rtx-3090", "NVIDIA GeForce RTX 3090", 24_576, count=6, cpu_cores=8, memory_gib=32),
    GpuModel("rtx-3080", "NVIDIA GeForce RTX 3080", 10_240, count=8, cpu_cores=4, memory_gib=16),
    GpuModel("h100-80gb", "NVIDIA H100 80GB HBM3", 81_559, count=8, cpu_cores=32, memory_gib=256),
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card of a host."""

    index: int
    name: str
    uuid: str
    memory_mib: int
    pci: str


def cards(model: GpuModel, host: str, count: int, first: int = 0) -> list[Gpu]:
    """That many cards, from index ``first``; a host's UUIDs are the same in every rehearsal."""
    return [_card(model, host, index) for index in range(first, first + count)]


def _card(model: GpuModel, host: str, index: int) -> Gpu:
    digits = hashlib.sha256(f"{host}/{index}".encode()).hexdigest()
    uuid = f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
    return Gpu(index, model.name, uuid, model.memory_mib, f"00000000:{index + 1:02X}:00.0")


def write_gpus(path: Path, gpus: list[Gpu]) -> None:
    """List cards as ``nvidia-smi --query-gpu=index,name,uuid,memory.total,pci.bus_id --format=csv,noheader,nounits`` does."""
    rows = (f"{gpu.index}, {gpu.name}, {gpu.uuid}, {gpu.memory_mib}, {gpu.pci}\n" for gpu in gpus)
    path.write_text("".join(rows))


def read_gpus(path: Path) -> list[Gpu]:
    """The cards listed; none where the file is missing (no driver)."""
    if not path.is_file():
        return []
    with path.open() as file:
        rows = list(csv.reader(file, skipinitialspace=True))
    return [Gpu(int(row[0]), row[1], row[2], int(row[3]), row[4]) for row in rows]
