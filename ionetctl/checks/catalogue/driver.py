"""Codes about the NVIDIA driver."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

_WEIGHT: Final = (
    " Blocks where the inventory promises GPUs, warns where it does not say, is silent for gpus: {count: 0}."
)

ROWS: Final = (
    Row(
        "driver_missing",
        Severity.BLOCK,
        "NVIDIA cards are on the bus, and there is no driver",
        "The PCI bus, the loaded modules, the driver's library." + _WEIGHT,
        "Without a driver the device plugin finds nothing: the node would register without a GPU.",
        "install the distribution's NVIDIA driver package, or prepare: {driver: 550}",
        mended_by="driver",
    ),
    Row(
        "driver_not_loaded",
        Severity.BLOCK,
        "the NVIDIA driver is installed, and its module is not loaded",
        "The driver's library or package is there, /proc/driver/nvidia/version is not." + _WEIGHT,
        "The module was not built for the running kernel (DKMS), refused by Secure Boot, or the host was not rebooted "
        "since the driver came.",
        "modprobe nvidia says why it does not load; often a reboot or linux-headers for the running kernel",
        mended_by="driver",
    ),
    Row(
        "driver_mismatch",
        Severity.BLOCK,
        "module and library of the NVIDIA driver are of different versions",
        "/proc/driver/nvidia/version against the version of libnvidia-ml." + _WEIGHT,
        "After an upgrade without a reboot the old module is still loaded. NVML refuses to work (Driver/library version "
        "mismatch), and with it the device plugin and every container.",
        "reboot the host, or prepare: {driver: 550, reboot: true}",
        mended_by="driver",
    ),
    Row(
        "driver_old",
        Severity.BLOCK,
        "the NVIDIA driver is older than the device plugin needs",
        "The driver's version against 450." + _WEIGHT,
        "The plugin asks every card for its MIG mode (nvmlDeviceGetMigMode), a function that NVML has since driver 450: "
        "with an older one the plugin ends at once and the region sees no GPU. Jobs built for CUDA 12 need 525.",
        "install a newer driver branch, or prepare: {driver: 550}",
        mended_by="driver",
    ),
    Row(
        "nouveau_loaded",
        Severity.BLOCK,
        "the free nouveau driver has the cards",
        "The loaded kernel modules, where nothing could count the GPUs." + _WEIGHT,
        "Only one driver can have a card, and nouveau knows no CUDA.",
        "install the NVIDIA driver (its package switches nouveau off), then reboot; or prepare: {driver: 550}",
        mended_by="driver",
    ),
    Row(
        "driver_hanging",
        Severity.BLOCK,
        "the NVIDIA driver does not answer",
        "Whether the probe got an answer from NVML within its 10 s. A warning for gpus: {count: 0}.",
        "Whatever asks the driver hangs with it, Nomad's start included, and cannot be killed. Usually a card that fell "
        "off its bus.",
        "look for Xid in dmesg, reboot the host, reseat the card that it names",
    ),
    Row(
        "secure_boot_on",
        Severity.WARN,
        "Secure Boot may refuse the driver that is to be installed",
        "Whether Secure Boot is on, where no driver is loaded that could be used.",
        "The kernel then loads signed modules only: those that DKMS builds here need a key that somebody enrols at the "
        "console.",
        "switch Secure Boot off in the firmware, or install the signed modules (linux-modules-nvidia-…)",
    ),
    Row(
        "persistence_off",
        Severity.INFO,
        "persistence mode is off",
        "The persistence mode of each card.",
        "The driver unloads between jobs: each start then costs seconds, and power limits are forgotten.",
        "systemctl enable --now nvidia-persistenced, or prepare: {persistence: true}",
        mended_by="persistence",
    ),
)
