"""The GPUs and the NVIDIA driver of a rehearsal host: GPU models, and the JSON file that holds what NVML answers.

The file is read by the stand-ins for NVML, ``nvidia-smi`` and the Nomad agent's device plugin. Without the file the
driver's library is not installed.
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

DRIVER_VERSION: Final = "550.54.15"
HANGS: Final = -1
"""A value of ``NvidiaDriver.status``: no call returns."""
DRIVER_NOT_LOADED: Final = 9
VERSION_MISMATCH: Final = 18
"""Error numbers of NVML (nvml.h, ``nvmlReturn_t``)."""


@dataclass(frozen=True, slots=True)
class GpuModel:
    """A GPU model and the host it is usual in: ``short`` is its name in an inventory, ``name`` that of NVML.

    ``count``, ``cpu_cores`` and ``memory_gib`` are the host's. Models with ``nvlinks`` are connected by an NVLink fabric.
    """

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


GPU_MODELS: Final = (
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
    """One GPU. ``refusals`` maps NVML functions to the error number that they return for it."""

    memory_mib: int = 0
    pci_bus_id: str = ""
    refusals: Mapping[str, int] = field(default_factory=dict)

    @property
    def pci(self) -> str:
        """Its PCI address as NVML writes it, such as ``00000000:01:00.0``."""
        return self.pci_bus_id


@dataclass(frozen=True, slots=True)
class NvidiaDriver:
    """What NVML answers on a host; ``status`` is the result of ``nvmlInit``, 0 for success."""

    gpus: tuple[Gpu, ...] = ()
    version: str = DRIVER_VERSION
    cuda_version: str = "12.4"
    status: int = 0


def make_gpus(model: GpuModel, host: str, count: int, first: int = 0) -> list[Gpu]:
    """``count`` idle GPUs of a host, from index ``first``; their UUIDs depend on host name and index alone."""
    return [_gpu(model, host, index) for index in range(first, first + count)]


def gpu_uuid(host: str, index: int) -> str:
    """The UUID of a host's GPU."""
    digits = hashlib.sha256(f"{host}/{index}".encode()).hexdigest()
    return f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def _gpu(model: GpuModel, host: str, index: int) -> Gpu:
    """An idle GPU: its PCIe link runs at generation 1, with all lanes."""
    is_datacenter = model.is_datacenter
    return Gpu(
        index,
        model.name,
        gpu_uuid(host, index),
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
    """Write the driver file."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(driver)) + b"\n")


def read_driver(path: Path) -> NvidiaDriver | None:
    """The driver of a host; ``None`` where its library is not installed (no file)."""
    if not path.is_file():
        return None
    return msgspec.json.decode(path.read_bytes(), type=NvidiaDriver)


def read_gpus(path: Path) -> list[Gpu]:
    """The GPUs that the driver lists; none without a driver, or when ``nvmlInit`` fails."""
    driver = read_driver(path)
    return list(driver.gpus) if driver is not None and driver.status == 0 else []
