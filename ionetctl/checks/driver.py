"""Checks of the NVIDIA driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import (
    Code,
    cards,
    found,
    listed,
    numbers,
    offers_gpus,
    severity_if_harmful,
    severity_if_unusable,
)
from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted
from ionetctl.mining import system_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

OLDEST_DRIVER: Final = 450
"""Since this branch NVML has nvmlDeviceGetMigMode, which the device plugin calls for every card.

The plugin's nvml/driver_linux.go (ListDeviceUUIDs) links it lazily: where it is missing, the plugin's process ends.
"""
_BY_PROMISE: Final = (
    " Blocks where the inventory promises GPUs, warns where it does not say, is silent for gpus: {count: 0}."
)


def _is_mismatched(facts: Facts) -> bool:
    driver = facts.machine.driver
    return bool(
        driver.module_version and driver.library_version and driver.module_version != driver.library_version
    )


def _is_absent(facts: Facts) -> bool:
    """Whether there are cards, and nothing that could drive them is loaded."""
    return bool(facts.machine.gpus_on_bus) and not facts.gpus and not facts.machine.driver.module_version


DRIVER_MISSING: Final = Code(
    "driver_missing",
    Severity.BLOCK,
    "NVIDIA cards are on the bus, and there is no driver",
    looks_at="The PCI bus, the loaded modules, the driver's library." + _BY_PROMISE,
    matters="Without a driver the device plugin finds nothing: the node would register without a GPU.",
    remedy="install the distribution's NVIDIA driver package, or prepare: {driver: 550}",
    mended_by="driver",
)

DRIVER_NOT_LOADED: Final = Code(
    "driver_not_loaded",
    Severity.BLOCK,
    "the NVIDIA driver is installed, and its module is not loaded",
    looks_at="The driver's library or package is there, /proc/driver/nvidia/version is not." + _BY_PROMISE,
    matters=(
        "The module was not built for the running kernel (DKMS), refused by Secure Boot, or the host was not rebooted "
        "since the driver came."
    ),
    remedy="modprobe nvidia says why it does not load; often a reboot or linux-headers for the running kernel",
    mended_by="driver",
)

DRIVER_MISMATCH: Final = Code(
    "driver_mismatch",
    Severity.BLOCK,
    "module and library of the NVIDIA driver are of different versions",
    looks_at="/proc/driver/nvidia/version against the version of libnvidia-ml." + _BY_PROMISE,
    matters=(
        "After an upgrade without a reboot the old module is still loaded. NVML refuses to work (Driver/library version "
        "mismatch), and with it the device plugin and every container."
    ),
    remedy="reboot the host, or prepare: {driver: 550, reboot: true}",
    mended_by="driver",
)

DRIVER_OLD: Final = Code(
    "driver_old",
    Severity.BLOCK,
    "the NVIDIA driver is older than the device plugin needs",
    looks_at="The driver's version against 450." + _BY_PROMISE,
    matters=(
        "The plugin asks every card for its MIG mode (nvmlDeviceGetMigMode), a function that NVML has since driver 450: "
        "with an older one the plugin ends at once and the region sees no GPU. Jobs built for CUDA 12 need 525."
    ),
    remedy="install a newer driver branch, or prepare: {driver: 550}",
    mended_by="driver",
)

NOUVEAU_LOADED: Final = Code(
    "nouveau_loaded",
    Severity.BLOCK,
    "the free nouveau driver has the cards",
    looks_at="The loaded kernel modules, where nothing could count the GPUs." + _BY_PROMISE,
    matters="Only one driver can have a card, and nouveau knows no CUDA.",
    remedy="install the NVIDIA driver (its package switches nouveau off), then reboot; or prepare: {driver: 550}",
    mended_by="driver",
)


def presence(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a driver has the cards; of several reasons why none has only the first is reported."""
    if host.gpus.count == 0 or facts.is_driver_hanging or not _is_absent(facts):
        return
    driver, count = facts.machine.driver, facts.machine.gpus_on_bus
    if driver.is_nouveau_loaded:
        message = f"the nouveau driver has {counted(count or 0, 'NVIDIA card')}"
        yield found(NOUVEAU_LOADED, message, severity=severity_if_unusable(host))
    elif driver.library_version or driver.package:
        version = f" ({driver.library_version or driver.package})"
        message = f"the NVIDIA driver{version} is installed, and its module is not loaded"
        yield found(DRIVER_NOT_LOADED, message, severity=severity_if_unusable(host))
    else:
        message = f"{counted(count or 0, 'NVIDIA card')} on the bus, and there is no driver"
        yield found(DRIVER_MISSING, message, severity=severity_if_unusable(host))


def versions(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether module and library belong together, and are new enough."""
    if host.gpus.count == 0:
        return
    driver = facts.machine.driver
    if _is_mismatched(facts):
        message = f"the loaded module is {driver.module_version}, the library {driver.library_version}"
        yield found(DRIVER_MISMATCH, message, severity=severity_if_unusable(host))
    version = facts.driver_version or driver.module_version or ""
    if version and numbers(version) < (OLDEST_DRIVER,):
        message = f"driver {version} is older than {OLDEST_DRIVER}, which the device plugin needs"
        yield found(DRIVER_OLD, message, severity=severity_if_unusable(host))


DRIVER_RUN_FILE: Final = Code(
    "driver_run_file",
    Severity.BLOCK,
    "the driver is from NVIDIA's installer (.run), not from packages",
    looks_at=(
        "Whether /usr/bin/nvidia-uninstall is there and no package owns the driver's library. Blocks where prepare.driver "
        "asks for more than is loaded, else it is for information."
    ),
    matters=(
        "Packages would put their library over the installer's, and its module stays: then neither works. So "
        "prepare.driver changes nothing here, and upgrades of the distribution do not touch this driver."
    ),
    remedy="update it by a newer installer of NVIDIA's; nvidia-uninstall removes it, and packages can follow",
)


def run_file(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether packages would cover a driver that is none."""
    driver, wanted = facts.machine.driver, host.prepare.driver
    if not driver.is_run_file:
        return
    loaded = driver.module_version or ""
    version = loaded or driver.library_version or "of unknown version"
    message = f"the NVIDIA driver {version} is from NVIDIA's installer (.run), not from packages"
    severity = Severity.INFO
    if (
        wanted
        and offers_gpus(host, facts)
        and (numbers(loaded) < numbers(wanted)[:1] or _is_mismatched(facts))
    ):
        message += f"; prepare: {{driver: {wanted}}} would put packages over it"
        severity = Severity.BLOCK
    system = system_of(facts.machine.rig)
    hint = f"update it by the system's own {system.driver_update}" if system and system.driver_update else ""
    yield found(DRIVER_RUN_FILE, message, hint=hint, severity=severity)


DRIVER_HELD: Final = Code(
    "driver_held",
    Severity.BLOCK,
    "packages of the driver are on hold, and another branch is asked for",
    looks_at="Held packages called nvidia-…, libnvidia-…, cuda-drivers… or linux-modules-nvidia-…, where prepare.driver would install.",
    matters="What somebody put on hold is left alone, so the preparation would end with package_held.",
    remedy="apt-mark unhold them, or take prepare.driver out",
)


def held(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the driver that is asked for cannot be installed because packages are on hold."""
    driver, wanted = facts.machine.driver, host.prepare.driver
    if not (driver.held and wanted) or driver.is_run_file or not offers_gpus(host, facts):
        return
    installed = driver.library_version or driver.module_version or ""
    if numbers(installed) < numbers(wanted)[:1]:
        message = f"{listed(driver.held)} on hold; prepare: {{driver: {wanted}}} would change them"
        yield found(DRIVER_HELD, message)


DRIVER_HANGING: Final = Code(
    "driver_hanging",
    Severity.BLOCK,
    "the NVIDIA driver does not answer",
    looks_at="Whether the probe got an answer from NVML within its 10 s. A warning for gpus: {count: 0}.",
    matters=(
        "Whatever asks the driver hangs with it, Nomad's start included, and cannot be killed. Usually a card that fell "
        "off its bus."
    ),
    remedy="look for Xid in dmesg, reboot the host, reseat the card that it names",
)


def hanging(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the driver answers at all."""
    if facts.is_driver_hanging:
        message = "the NVIDIA driver does not answer"
        yield found(DRIVER_HANGING, message, severity=severity_if_harmful(host))


SECURE_BOOT_ON: Final = Code(
    "secure_boot_on",
    Severity.WARN,
    "Secure Boot may refuse the driver that is to be installed",
    looks_at="Whether Secure Boot is on, where no driver is loaded that could be used.",
    matters=(
        "The kernel then loads signed modules only: those that DKMS builds here need a key that somebody enrols at the "
        "console."
    ),
    remedy="switch Secure Boot off in the firmware, or install the signed modules (linux-modules-nvidia-…)",
)


def secure_boot(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Secure Boot may refuse a driver that is yet to be loaded."""
    wants_driver = _is_absent(facts) and offers_gpus(host, facts)
    if facts.machine.driver.is_secure_boot_on and wants_driver:
        yield found(SECURE_BOOT_ON, "Secure Boot is on, and no NVIDIA driver is loaded")


PERSISTENCE_OFF: Final = Code(
    "persistence_off",
    Severity.INFO,
    "persistence mode is off",
    looks_at="The persistence mode of each card.",
    matters="The driver unloads between jobs: each start then costs seconds, and power limits are forgotten.",
    remedy="systemctl enable --now nvidia-persistenced, or prepare: {persistence: true}",
    mended_by="persistence",
)


def persistence(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the driver stays loaded between jobs."""
    off = [gpu.index for gpu in facts.gpus or () if gpu.is_persistent is False]
    if off and offers_gpus(host, facts):
        yield found(PERSISTENCE_OFF, f"persistence mode is off on {cards(off)}")
