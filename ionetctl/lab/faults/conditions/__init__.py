"""What a rehearsal host may be that a survey finds: a condition for each finding, as a change of a sound machine. Pure.

Where ``faults`` are about what happens to an enrolment, these are about what a host is. Conditions of several hosts (a
cloned machine-id) are asked for at least twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.lab.faults.changes import with_text, without_last_gpu
from ionetctl.lab.faults.conditions import environment, gpus, system
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import OS_RELEASE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.lab.faults.changes import Change
    from ionetctl.lab.host.machine import Machine

__all__ = ["CATALOGUE", "Condition", "changed"]

CATALOGUE: Final[Mapping[str, Condition]] = {
    **system.SYSTEM,
    **system.MACHINE,
    **system.STORAGE,
    **environment.NETWORK,
    **gpus.DRIVER,
    **gpus.GPUS,
    **environment.RUNTIMES,
    **environment.WORK,
    **environment.CLONES,
}
"""Name → condition; the names go where the faults' go."""


def changed(machine: Machine, name: str) -> Machine:
    """The machine with this condition, or with what a fault of this name changes; as it is where that is nothing."""
    if name in CATALOGUE:
        return CATALOGUE[name].change(machine)
    return _OF_FAULTS[name](machine) if name in _OF_FAULTS else machine


_OF_FAULTS: Final[Mapping[str, Change]] = {
    "foreign-nomad": lambda machine: replace(machine, has_foreign_nomad=True),
    "gpu-missing": without_last_gpu,
    "noisy": with_text(
        OS_RELEASE,
        "Ubuntu 24.04.1 LTS (rehearsal)",
        "\x1b[31mUbuntu\x1b[0m [red]::error::[/red] =HYPERLINK(1)",
    ),
}
"""What some faults change of the machine."""
