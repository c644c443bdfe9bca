"""Cases of the checks of processor and memory."""

from __future__ import annotations

from typing import Final

from ionetctl.core.model.host import Expect
from tests.checks.host_case import Case

CASES: Final = (
    Case(
        ("cpu_mismatch block",),
        host={"expect": Expect(cpu_cores=17)},
        message="16 CPU cores seen, 17 promised",
    ),
    Case(host={"expect": Expect(cpu_cores=16)}),
    Case(host={"expect": Expect(cpu_cores=99, memory_gib=99)}, facts={"cpu_cores": None, "memory_mib": None}),
    Case(
        ("memory_mismatch block",),
        host={"expect": Expect(memory_gib=100)},
        facts={"memory_mib": 95_231},
        message="93.0 GiB of memory seen, 100 promised",
    ),
    Case(host={"expect": Expect(memory_gib=100)}, facts={"memory_mib": 95_232}),
    Case(
        ("memory_low_for_gpus warn",),
        facts={"memory_mib": 22_844},
        message="22 GiB of memory for 2 GPUs, 24 GiB would do",
    ),
    Case(facts={"memory_mib": 22_845}),
    Case(
        ("memory_low_for_gpus warn",),
        facts={"memory_mib": 7_600},
        card={"memory_mib": None},
        second={"memory_mib": 6_144},
    ),
    Case(facts={"memory_mib": 7_700}, card={"memory_mib": None}, second={"memory_mib": 6_144}),
    Case(facts={"memory_mib": 0, "gpus": ()}, machine={"gpus_on_bus": 0}),
    Case(facts={"memory_mib": 0, "gpus": None}, machine={"gpus_on_bus": 0}),
    Case(("swap_on info",), machine={"swap_mib": 2048}, message="2048 MiB of swap space are on"),
    Case(machine={"swap_mib": None}),
    Case(
        ("hugepages_reserved warn",),
        machine={"hugepages_mib": 2560},
        facts={"memory_mib": 51_200},
        message="2560 MiB of 51200 MiB of memory are reserved as huge pages",
    ),
    Case(
        ("hugepages_reserved info",),
        machine={"hugepages_mib": 2559},
        facts={"memory_mib": 51_200},
        message="2559 MiB of 51200 MiB of memory are reserved as huge pages",
    ),
    Case(
        ("hugepages_reserved warn",),
        machine={"hugepages_mib": 1},
        facts={"memory_mib": None},
        message="1 MiB are reserved as huge pages",
    ),
    Case(machine={"hugepages_mib": None}),
)
