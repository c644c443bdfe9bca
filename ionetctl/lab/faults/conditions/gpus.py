"""Conditions of a host's GPUs and their driver."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.observed import GpuMemoryHealth, PcieLink
from ionetctl.lab.faults.changes import (
    all_of,
    every_gpu,
    first_gpu,
    with_driver,
    with_file,
    with_health,
    with_kernel_log,
    with_library,
    with_mig_instance,
    with_output,
    with_text,
    without,
    without_driver,
    without_module,
)
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import MODULE_VERSION, MODULES
from ionetctl.lab.host.nvidia_driver import DRIVER_NOT_LOADED, DRIVER_VERSION, HANGS, VERSION_MISMATCH

if TYPE_CHECKING:
    from collections.abc import Mapping

DRIVER: Final[Mapping[str, Condition]] = {
    "driver-missing": Condition("has no NVIDIA driver", "driver_missing", without_driver),
    "driver-not-loaded": Condition(
        "has a driver that is not loaded",
        "driver_not_loaded",
        all_of(without_module, with_driver(DRIVER_VERSION, status=DRIVER_NOT_LOADED)),
    ),
    "driver-mismatch": Condition(
        "has a driver that was updated without a reboot",
        "driver_mismatch",
        all_of(
            with_text(MODULE_VERSION, DRIVER_VERSION, "535.161.07"),
            with_driver(DRIVER_VERSION, status=VERSION_MISMATCH),
        ),
    ),
    "driver-old": Condition(
        "has a driver of 2018",
        "driver_old",
        all_of(
            with_text(MODULE_VERSION, DRIVER_VERSION, "390.48"),
            with_library("390.48"),
            with_driver("390.48", "9.1"),
        ),
    ),
    "nouveau": Condition(
        "has the free driver at its cards",
        "nouveau_loaded",
        all_of(
            without_driver,
            with_text(MODULES, "overlay ", "nouveau 32768 0 - Live 0x0000000000000000\noverlay "),
        ),
    ),
    "driver-hangs": Condition(
        "has a driver that never answers", "driver_hanging", with_driver(DRIVER_VERSION, status=HANGS)
    ),
    "driver-run-file": Condition(
        "has a driver of NVIDIA's installer",
        "driver_run_file",
        all_of(with_file("usr/bin/nvidia-uninstall", ""), with_output("dpkg-query", "")),
    ),
    "secure-boot": Condition(
        "boots signed modules only, and has no driver yet",
        "secure_boot_on",
        all_of(without_driver, with_output("mokutil", "SecureBoot enabled\n")),
    ),
    "not-persistent": Condition(
        "has cards without persistence mode",
        "persistence_off",
        every_gpu(lambda gpu: replace(gpu, is_persistent=False)),
    ),
}

GPUS: Final[Mapping[str, Condition]] = {
    "gpu-unknown": Condition(
        "has nothing that could count its cards",
        "gpu_unknown",
        without("usr/bin/nvidia-smi", "usr/bin/python3"),
    ),
    "gpu-other-model": Condition(
        "has other cards than the inventory promises",
        "gpu_model_mismatch",
        every_gpu(lambda gpu: replace(gpu, name="NVIDIA GeForce GTX 1060 6GB", memory_mib=6144)),
    ),
    "gpu-lost": Condition(
        "has a card that does not answer", "gpu_lost", first_gpu(lambda gpu: replace(gpu, is_lost=True))
    ),
    "gpu-fell-off": Condition(
        "has seen a card fall off its bus",
        "gpu_fell_off_bus",
        with_kernel_log("[  812.331000] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n"),
    ),
    "gpu-xid": Condition(
        "has a card that reported a memory error",
        "gpu_xid",
        with_kernel_log("[  812.331000] NVRM: Xid (PCI:0000:01:00): 48, DBE (double bit error) ECC Error\n"),
    ),
    "gpu-ecc": Condition(
        "has a card with uncorrected memory errors",
        "gpu_ecc_errors",
        with_health(GpuMemoryHealth(is_ecc_on=True, ecc_corrected=512, ecc_uncorrected=3)),
    ),
    "gpu-retired": Condition(
        "has a card with retired pages",
        "gpu_memory_retired",
        with_health(GpuMemoryHealth(is_ecc_on=True, retired_pages=12, pending_repair=False)),
    ),
    "gpu-remap-pending": Condition(
        "has a card whose repair waits for a reset",
        "gpu_remap_pending",
        with_health(
            GpuMemoryHealth(None, None, None, None, 0, 1, pending_repair=True, has_remap_failed=False)
        ),
    ),
    "gpu-remap-failed": Condition(
        "has a card that could not be repaired",
        "gpu_remap_failed",
        with_health(
            GpuMemoryHealth(None, None, None, None, 0, 9, pending_repair=False, has_remap_failed=True)
        ),
    ),
    "riser": Condition(
        "has its cards on risers",
        "pcie_width_low",
        every_gpu(lambda gpu: replace(gpu, link=PcieLink(1, gpu.link.generation_max, 1, 16))),
    ),
    "gpu-hot": Condition(
        "has a card that is too hot", "gpu_hot", first_gpu(lambda gpu: replace(gpu, temperature_c=95))
    ),
    "power-limited": Condition(
        "has cards whose power is limited",
        "gpu_power_limited",
        every_gpu(lambda gpu: replace(gpu, power_limit_w=(gpu.power_default_w or 0) * 0.6)),
    ),
    "mig": Condition("has cards that are split by MIG", "mig_on", every_gpu(with_mig_instance)),
    "mig-mixed": Condition(
        "has one card that is split by MIG",
        "mig_mixed",
        every_gpu(lambda gpu: with_mig_instance(gpu) if gpu.index == 0 else replace(gpu, is_mig_on=False)),
    ),
    "mig-empty": Condition(
        "has cards in MIG mode that nobody has split",
        "mig_empty",
        every_gpu(lambda gpu: replace(gpu, is_mig_on=True)),
    ),
    "display": Condition(
        "has a card that drives a display",
        "display_in_use",
        first_gpu(lambda gpu: replace(gpu, has_display=True)),
    ),
    "fabric": Condition(
        "has a fabric that is not trained yet",
        "fabric_not_ready",
        every_gpu(lambda gpu: replace(gpu, fabric_state="in_progress")),
    ),
    "nvlink": Condition(
        "has a card with a broken bridge",
        "nvlink_down",
        every_gpu(lambda gpu: replace(gpu, nvlinks=3 if gpu.index == 0 else 4, nvlinks_max=4)),
    ),
}
