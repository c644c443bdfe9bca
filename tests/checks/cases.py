"""All cases of the checks of one host."""

from __future__ import annotations

from typing import Final

from tests.checks import (
    on_driver,
    on_gpus,
    on_health,
    on_machine,
    on_network,
    on_runtimes,
    on_storage,
    on_system,
    on_workloads,
)
from tests.checks.case import Case

CASES: Final = (
    Case(),
    *on_system.CASES,
    *on_machine.CASES,
    *on_storage.CASES,
    *on_network.CASES,
    *on_driver.CASES,
    *on_gpus.CASES,
    *on_health.CASES,
    *on_runtimes.CASES,
    *on_workloads.CASES,
)
"""The first is the control of all: a sound host."""
