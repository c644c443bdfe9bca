"""Every code that a check may give, by subject and by name. The codes themselves stand beside their checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks import (
    driver,
    fleet,
    gpu_health,
    gpu_setup,
    gpus,
    machine,
    mining,
    network,
    runtimes,
    storage,
    system,
    tenants,
    tuning,
    workloads,
)
from ionetctl.checks.finding import Code

if TYPE_CHECKING:
    from types import ModuleType


def _codes_of(*modules: ModuleType) -> tuple[Code, ...]:
    """The codes that modules define, in the order of their source."""
    return tuple(each for module in modules for each in vars(module).values() if isinstance(each, Code))


SUBJECTS: Final[dict[str, tuple[Code, ...]]] = {
    "The system": _codes_of(system),
    "The machine": _codes_of(machine),
    "Storage": _codes_of(storage),
    "How the system is tuned": _codes_of(tuning),
    "The network": _codes_of(network),
    "The driver": _codes_of(driver),
    "GPUs": _codes_of(gpus, gpu_health, gpu_setup),
    "Container runtimes": _codes_of(runtimes),
    "What tenants may do": _codes_of(tenants),
    "What runs there already": _codes_of(workloads),
    "Mining": _codes_of(mining),
    "The fleet": _codes_of(fleet),
}
"""Codes by subject, both in the order of the documentation and of ``ionetctl explain``."""

CODES: Final[dict[str, Code]] = {code.name: code for codes in SUBJECTS.values() for code in codes}
"""Codes by name."""
