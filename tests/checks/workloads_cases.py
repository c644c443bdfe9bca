"""Cases of the checks of what the host works for already."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core.observed import GpuProcess, Workload
from tests.checks.host_case import FOREIGN, OURS, UNKNOWN_PROCESS, Case
from tests.support.sample import BARE

CASES: Final = (
    Case(
        ("foreign_nomad block",),
        facts={"nomad": FOREIGN},
        message="a Nomad agent (Nomad v1.9.0) that ionetctl did not install runs here with 3 allocations",
    ),
    Case(
        ("foreign_nomad block",),
        facts={"nomad": replace(FOREIGN, active="inactive", agent_version=None, allocations=0)},
        message="a Nomad agent that ionetctl did not install runs here",
    ),
    Case(("foreign_nomad block",), facts={"nomad": replace(FOREIGN, is_running=False)}),
    Case(facts={"nomad": replace(FOREIGN, is_ours=True)}),
    Case(facts={"nomad": replace(FOREIGN, active="inactive", is_running=False)}),
    Case(("interrupted info",), facts={"nomad": replace(FOREIGN, is_interrupted=True)}),
    Case(("interrupted info",), facts={"nomad": replace(BARE.nomad, is_interrupted=True)}),
    Case(machine={"miners": None, "ionet_workers": None}),
    Case(
        ("ionet_worker_present warn",),
        machine={"ionet_workers": (Workload("io-worker-monitor"),)},
        message="an io.net worker runs: io-worker-monitor",
    ),
    Case(
        ("gpu_busy warn",),
        card={"processes": UNKNOWN_PROCESS},
        second={"processes": (GpuProcess(8, ""),)},
        message="programs compute on the GPUs: process 8, python3",
    ),
    Case(card={"processes": None}),
    Case(
        ("miner_running block",),
        machine={"miners": (Workload("t-rex", 7),)},
        card={"processes": UNKNOWN_PROCESS},
    ),
    Case(
        ("ionet_worker_present warn",),
        machine={"ionet_workers": (Workload("io-worker", 7),), "miners": None},
        card={"processes": UNKNOWN_PROCESS},
    ),
    Case(facts={"nomad": OURS}, card={"processes": UNKNOWN_PROCESS}),
    Case(
        ("gpu_busy warn",), facts={"nomad": replace(OURS, allocations=0)}, card={"processes": UNKNOWN_PROCESS}
    ),
    Case(
        ("foreign_nomad block", "gpu_busy warn"),
        facts={"nomad": FOREIGN},
        card={"processes": UNKNOWN_PROCESS},
    ),
)
