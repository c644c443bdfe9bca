"""The GPUs that rehearsal hosts pretend to have: a small catalogue, and the file that stands for a host's driver.

The file holds what NVML would say. Whoever plays the driver reads it, nobody else: the NVML and ``nvidia-smi``
stand-ins and the agent's. Where it is missing, the driver's library is not installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping  # noqa: TC003  (msgspec reads the annotations at run time)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from ionetctl.core.observed import GpuMemoryHealth, PcieLink, SeenGpu

if TYPE_CHECKING:
    from pathlib import Path

GPU_FILE: Final = "run/lab/gpus.json"
DRIVER_VERSION: Final = "550.54.15"
HANGS: Final = -1
"""As ``NvidiaDriver.status``: no call ever returns."""
DRIVER_NOT_LOADED: Final = 9
VERSION_MISMATCH: Final = 18
"""As NVML numbers its errors (nvml.h, ``nvmlReturn_t``)."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A model as an inventory names it, and as NVML does. ``nvlinks`` also says that it belongs to a fabric."""

    short: str
    name: str
    memory_mib: int
    count: int
    cpu_cores: int
    memory_gib: int
    power_w: float
    pcie_generation: int = 4
    nvlinks: int = 0

    @property
    def is_datacenter(self) -> bool:
        """Whether it has ECC and MIG."""
        return self.nvlinks > 0


CATALOGUE: Final = (
    GpuModel("rtx-4090", "NVIDIA GeForce RTX 4090", 24_564, 8, cpu_cores=16, memory_gib=64, power_w=450),
    GpuModel("rtx-3090", "NVIDIA GeForce RTX 3090", 24_576, 6, cpu_cores=8, memory_gib=32, power_w=350),
    GpuModel("rtx-3080", "NVIDIA GeForce RTX 3080", 10_240, 8, cpu_cores=4, memory_gib=32, power_w=320),
    GpuModel(
        "h100-80gb",
        "NVIDIA H100 80GB HBM3",
        81_559,
        8,
        cpu_cores=32,
        memory_gib=256,
        power_w=700,
        pcie_generation=5,
        nvlinks=18,
    ),
)


@dataclass(frozen=True, slots=True)
class Gpu(SeenGpu):
    """One card of a host. ``refusals``: NVML function → the error by which the card answers it."""

    memory_mib: int = 0
    pci_bus_id: str = ""
    refusals: Mapping[str, int] = field(default_factory=dict)

    @property
    def pci(self) -> str:
        """Its address on the bus, as NVML writes it."""
        return self.pci_bus_id


@dataclass(frozen=True, slots=True)
class NvidiaDriver:
    """What the driver of a host says; ``status`` is what ``nvmlInit`` answers, 0 where all is well."""

    gpus: tuple[Gpu, ...] = ()
    version: str = DRIVER_VERSION
    cuda_version: str = "12.4"
    status: int = 0


def cards(model: GpuModel, host: str, count: int, first: int = 0) -> list[Gpu]:
    """That many cards, from index ``first``; a host's UUIDs are the same in every rehearsal."""
    return [_card(model, host, index) for index in range(first, first + count)]


def _card(model: GpuModel, host: str, index: int) -> Gpu:
    """A card at rest: its link has slowed down, and never narrowed."""
    digits = hashlib.sha256(f"{host}/{index}".encode()).hexdigest()
    is_datacenter = model.is_datacenter
    return Gpu(
        index,
        model.name,
        f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}",
        model.memory_mib,
        f"00000000:{index + 1:02X}:00.0",
        link=PcieLink(1, model.pcie_generation, 16, 16),
        memory_health=_HEALTHY_ECC if is_datacenter else _WITHOUT_ECC,
        power_limit_w=model.power_w,
        power_default_w=model.power_w,
        power_max_w=model.power_w,
        temperature_c=34,
        slowdown_c=92,
        utilization_percent=0,
        is_persistent=True,
        is_mig_on=False if is_datacenter else None,
        has_display=False,
        processes=(),
        nvlinks=model.nvlinks or None,
        nvlinks_max=model.nvlinks or None,
        fabric_state="completed" if is_datacenter else None,
    )


_HEALTHY_ECC: Final = GpuMemoryHealth(True, 0, 0, None, 0, 0, False, False)
_WITHOUT_ECC: Final = GpuMemoryHealth()


def write_driver(path: Path, driver: NvidiaDriver) -> None:
    """Let a host have this driver."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(driver)) + b"\n")


def read_driver(path: Path) -> NvidiaDriver | None:
    """The driver that a host has; ``None`` where the library is not installed."""
    if not path.is_file():
        return None
    return msgspec.json.decode(path.read_bytes(), type=NvidiaDriver)


def read_gpus(path: Path) -> list[Gpu]:
    """The cards that the driver shows; none where there is no driver, or none that answers."""
    driver = read_driver(path)
    return list(driver.gpus) if driver is not None and driver.status == 0 else []
