"""All cases of the checks of one host."""

from __future__ import annotations

from typing import Final

from tests.checks import (
    driver_cases,
    gpu_health_cases,
    gpu_setup_cases,
    gpus_cases,
    machine_cases,
    mining_cases,
    network_cases,
    runtimes_cases,
    storage_cases,
    system_cases,
    tenants_cases,
    tuning_cases,
    workloads_cases,
)
from tests.checks.host_case import Case

CASES: Final = (
    Case(),
    *system_cases.CASES,
    *machine_cases.CASES,
    *storage_cases.CASES,
    *tuning_cases.CASES,
    *network_cases.CASES,
    *driver_cases.CASES,
    *gpus_cases.CASES,
    *gpu_health_cases.CASES,
    *gpu_setup_cases.CASES,
    *runtimes_cases.CASES,
    *tenants_cases.CASES,
    *workloads_cases.CASES,
    *mining_cases.CASES,
)
"""The first is the control of all: a sound host."""
