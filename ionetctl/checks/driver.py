"""Checks of the NVIDIA driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import cards, found, numbers, offers_gpus, weight_of_promise, weight_of_use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

OLDEST_DRIVER: Final = 450
"""Since this branch NVML has nvmlDeviceGetMigMode, which the device plugin calls for every card.

The plugin's nvml/driver_linux.go (ListDeviceUUIDs) links it lazily: where it is missing, the plugin's process ends.
"""


def _is_mismatched(facts: Facts) -> bool:
    driver = facts.machine.driver
    return bool(
        driver.module_version and driver.library_version and driver.module_version != driver.library_version
    )


def _is_absent(facts: Facts) -> bool:
    """Whether there are cards, and nothing that could drive them is loaded."""
    return bool(facts.machine.gpus_on_bus) and not facts.gpus and not facts.machine.driver.module_version


def hanging(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the driver answers at all."""
    if facts.is_driver_hanging:
        message = "the NVIDIA driver does not answer"
        yield found("driver_hanging", message, severity=weight_of_use(host))


def presence(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a driver has the cards; the gravest reason why none has is told alone."""
    if host.gpus.count == 0 or facts.is_driver_hanging or not _is_absent(facts):
        return
    driver, count = facts.machine.driver, facts.machine.gpus_on_bus
    if driver.is_nouveau_loaded:
        message = f"the nouveau driver has the {count} NVIDIA cards"
        yield found("nouveau_loaded", message, severity=weight_of_promise(host))
    elif driver.library_version or driver.package:
        version = f" ({driver.library_version or driver.package})"
        message = f"the NVIDIA driver{version} is installed, and its module is not loaded"
        yield found("driver_not_loaded", message, severity=weight_of_promise(host))
    else:
        message = f"{count} NVIDIA cards are on the bus, and there is no driver"
        yield found("driver_missing", message, severity=weight_of_promise(host))


def versions(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether module and library belong together, and are new enough."""
    if host.gpus.count == 0:
        return
    driver = facts.machine.driver
    if _is_mismatched(facts):
        message = f"the loaded module is {driver.module_version}, the library {driver.library_version}"
        yield found("driver_mismatch", message, severity=weight_of_promise(host))
    version = facts.driver_version or driver.module_version or ""
    if version and numbers(version) < (OLDEST_DRIVER,):
        message = f"driver {version} is older than {OLDEST_DRIVER}, which the device plugin needs"
        yield found("driver_old", message, severity=weight_of_promise(host))


def secure_boot(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Secure Boot stands in the way of a driver that is yet to be loaded."""
    wants_driver = _is_absent(facts) and offers_gpus(host, facts)
    if facts.machine.driver.is_secure_boot_on and wants_driver:
        yield found("secure_boot_on", "Secure Boot is on, and no NVIDIA driver is loaded")


def persistence(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the driver stays loaded between jobs."""
    off = [gpu.index for gpu in facts.gpus or () if gpu.is_persistent is False]
    if off and offers_gpus(host, facts):
        yield found("persistence_off", f"persistence mode is off on {cards(off)}")
