"""Conditions of hosts that a survey finds, at least one for each finding: changes of a sound machine. Pure.

Faults (``assignment``) disturb an enrolment; conditions describe a host. A condition that two hosts share, such as a
cloned machine-id, has to be requested for two hosts at least.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.lab.faults.changes import with_text, without_last_gpu
from ionetctl.lab.faults.conditions import environment, gpus, rigs, system
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import OS_RELEASE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.lab.faults.changes import Change
    from ionetctl.lab.host.machine import Machine

__all__ = ["CONDITIONS", "Condition", "with_fault"]

CONDITIONS: Final[Mapping[str, Condition]] = {
    **system.SYSTEM,
    **system.MACHINE,
    **system.STORAGE,
    **system.TUNING,
    **environment.NETWORK,
    **gpus.DRIVER,
    **gpus.GPUS,
    **environment.RUNTIMES,
    **environment.WORK,
    **rigs.RIGS,
    **environment.CLONES,
}
"""Name → condition; names and those of ``FAULTS`` are distinct."""


def with_fault(machine: Machine, name: str) -> Machine:
    """The machine with the condition or fault of this name; unchanged for a fault that does not concern the machine."""
    if name in CONDITIONS:
        return CONDITIONS[name].change(machine)
    return _CHANGES_BY_FAULT[name](machine) if name in _CHANGES_BY_FAULT else machine


_CHANGES_BY_FAULT: Final[Mapping[str, Change]] = {
    "foreign-nomad": lambda machine: replace(machine, has_foreign_nomad=True),
    "gpu-missing": without_last_gpu,
    "noisy": with_text(
        OS_RELEASE,
        "Ubuntu 24.04.1 LTS (rehearsal)",
        "\x1b[31mUbuntu\x1b[0m [red]::error::[/red] =HYPERLINK(1)",
    ),
}
"""The changes that belong to faults; the other faults are made by programs or by the host's process."""
