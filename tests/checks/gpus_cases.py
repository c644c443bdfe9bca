"""Cases of the checks of GPUs against what was promised."""

from __future__ import annotations

from typing import Final

from ionetctl.core.model.host import Reserve
from ionetctl.core.observed import Driver
from tests.checks.host_case import NO_GPU, Case, promised

CASES: Final = (
    Case(
        ("gpu_unknown warn",),
        host=promised(count=2),
        facts=NO_GPU,
        machine={"driver": Driver(), "gpus_on_bus": None},
        message="2 GPUs promised, and the host cannot say what it has: no driver",
    ),
    Case(facts=NO_GPU, machine={"driver": Driver(), "gpus_on_bus": None}),
    Case(host=promised(count=0), facts=NO_GPU),
    Case(("gpu_count_mismatch block",), host=promised(count=8), message="2 GPUs seen, 8 promised"),
    Case(host=promised("rtx-4090", 2)),
    Case(
        ("gpu_model_mismatch block",),
        host=promised("rtx-4090"),
        second={"name": "NVIDIA GeForce RTX 3060"},
        message="rtx-4090 is promised, NVIDIA GeForce RTX 3060 seen",
    ),
    Case(host=promised("rtx-4090"), facts=NO_GPU),
    Case(
        ("reserved_gpu_unknown block",),
        host={"reserve": Reserve(gpus=("0", "5", "GPU-2", "GPU-9"))},
        message="reserve.gpus names 5, GPU-9, which this host does not have",
    ),
    Case(host={"reserve": Reserve(gpus=("0", "GPU-2"))}),
    Case(host={"reserve": Reserve(gpus=("5",))}, facts=NO_GPU),
    Case(("gpu_lost block",), card={"is_lost": True}, message="no answer any more from GPU 0"),
    Case(("gpu_count_mismatch block", "gpu_lost warn"), host=promised(count=0), card={"is_lost": True}),
    Case(
        ("gpu_lost block",),
        machine={"gpus_on_bus": 3},
        message="3 NVIDIA cards on the bus, and the driver lists 2",
    ),
    Case(("gpu_count_mismatch block", "gpu_lost warn"), host=promised(count=0), machine={"gpus_on_bus": 3}),
    Case(machine={"gpus_on_bus": 1}),
    Case(machine={"gpus_on_bus": None}),
    Case(facts=NO_GPU, machine={"gpus_on_bus": 3}),
    Case(machine={"gpus_on_bus": 3, "driver": Driver()}),
)
