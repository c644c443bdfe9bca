"""The stand-in for NVML, called by pynvml in a process of its own, as the GPU probe calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from ionetctl.core.observed import GpuMemoryHealth, GpuProcess, MigInstance
from ionetctl.lab.host.nvidia_driver import (
    DRIVER_NOT_LOADED,
    GPU_MODELS,
    Gpu,
    NvidiaDriver,
    make_gpus,
    write_driver,
)
from ionetctl.lab.host.programs import PYTHON, TOOLS, install_programs
from ionetctl.lab.host.standin_files import GPU_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

CONSUMER = make_gpus(GPU_MODELS[0], "rig", 2)
H100 = make_gpus(GPU_MODELS[3], "rig", 2)
PYNVML = Path(pynvml.__file__).parent
ASK = """
import json, sys
sys.path.append(sys.argv[1])
from pynvml import *
def told(question):
    try:
        return question()
    except NVMLError as error:
        return type(error).__name__
try:
    nvmlInit()
    card = nvmlDeviceGetHandleByIndex(0)
    print(json.dumps(told(lambda: {question})))
except NVMLError as error:
    print(json.dumps(type(error).__name__))
"""


@dataclass(frozen=True, slots=True)
class Rig:
    """A host with a driver, and the programs of a rehearsal."""

    tree: Path
    programs: Path

    def ask(self, question: str, driver: NvidiaDriver | None, *options: str) -> Any:
        """The value of a pynvml expression about the first ``card``, or the name of its error."""
        (self.tree / GPU_FILE).unlink(missing_ok=True)
        if driver is not None:
            write_driver(self.tree / GPU_FILE, driver)
        done = subprocess.run(
            [self.programs / TOOLS / "python3", *options, "-", str(PYNVML)],
            input=ASK.replace("{question}", question),
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "IONET_ROOT": str(self.tree),
            "LAB_PYTHON": sys.executable,
            "LAB_PYTHON_STANDINS": str(self.programs / PYTHON),
        }


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig(tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("programs") / "bin")
    (rig.tree / GPU_FILE).parent.mkdir(parents=True)
    install_programs(rig.programs)
    return rig


SOUND = NvidiaDriver(tuple(CONSUMER))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("nvmlDeviceGetCount()", 2),
        ("nvmlSystemGetDriverVersion()", "550.54.15"),
        ("nvmlSystemGetCudaDriverVersion()", 12_040),
        ("nvmlDeviceGetName(card)", "NVIDIA GeForce RTX 4090"),
        ("nvmlDeviceGetUUID(card)", CONSUMER[0].uuid),
        ("nvmlDeviceGetPciInfo(card).busId", "00000000:01:00.0"),
        ("nvmlDeviceGetMemoryInfo(card).total", 24_564 << 20),
        ("nvmlDeviceGetMemoryInfo(card, nvmlMemory_v2).total", 24_564 << 20),
        ("[nvmlDeviceGetCurrPcieLinkGeneration(card), nvmlDeviceGetMaxPcieLinkGeneration(card)]", [1, 4]),
        ("[nvmlDeviceGetCurrPcieLinkWidth(card), nvmlDeviceGetMaxPcieLinkWidth(card)]", [16, 16]),
        ("nvmlDeviceGetPowerManagementLimit(card)", 450_000),
        ("nvmlDeviceGetPowerManagementLimitConstraints(card)", [450_000, 450_000]),
        ("nvmlDeviceGetTemperature(card, NVML_TEMPERATURE_GPU)", 34),
        ("nvmlDeviceGetTemperatureV(card, NVML_TEMPERATURE_GPU)", 34),
        ("nvmlDeviceGetTemperatureThreshold(card, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)", 92),
        ("nvmlDeviceGetUtilizationRates(card).gpu", 0),
        ("nvmlDeviceGetPersistenceMode(card)", 1),
        ("nvmlDeviceGetDisplayActive(card)", 0),
        ("nvmlDeviceGetComputeRunningProcesses(card)", []),
        ("nvmlDeviceGetEccMode(card)", "NVMLError_NotSupported"),
        ("nvmlDeviceGetMigMode(card)", "NVMLError_NotSupported"),
        ("nvmlDeviceGetRemappedRows(card)", "NVMLError_NotSupported"),
        ("nvmlDeviceGetRetiredPages(card, 0)", "NVMLError_NotSupported"),
        ("nvmlDeviceGetNvLinkState(card, 0)", "NVMLError_NotSupported"),
        ("nvmlDeviceGetHandleByIndex(2)", "NVMLError_InvalidArgument"),
        ("nvmlDeviceGetFanSpeed(card)", "NVMLError_FunctionNotFound"),
    ],
)
def test_a_consumer_card_answers_as_one_does(rig: Rig, question: str, expected: object) -> None:
    """Unsupported values are answered by that error."""
    assert rig.ask(question, SOUND) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("nvmlDeviceGetEccMode(card)", [1, 1]),
        (
            "nvmlDeviceGetTotalEccErrors(card, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_AGGREGATE_ECC)",
            0,
        ),
        ("nvmlDeviceGetMigMode(card)", [0, 0]),
        ("nvmlDeviceGetRemappedRows(card)", [0, 0, 0, 0]),
        (
            "[nvmlDeviceGetNvLinkState(card, 17), told(lambda: nvmlDeviceGetNvLinkState(card, 18))]",
            [1, "NVMLError_InvalidArgument"],
        ),
        (
            "[one.value.uiVal for one in nvmlDeviceGetFieldValues(card, [NVML_FI_DEV_NVLINK_LINK_COUNT])]",
            [18],
        ),
        (
            "(lambda info: [nvmlDeviceGetGpuFabricInfo(card, byref(info)), info.state])(c_nvmlGpuFabricInfo_t())",
            [0, 3],
        ),
    ],
)
def test_a_data_centre_card_has_more_values(rig: Rig, question: str, expected: object) -> None:
    """ECC, MIG, remapped rows, links and fabric."""
    assert rig.ask(question, NvidiaDriver(tuple(H100))) == expected


def with_first(change: Callable[[Gpu], Gpu]) -> NvidiaDriver:
    first, *others = H100
    return NvidiaDriver((change(first), *others))


BUSY = with_first(lambda gpu: replace(gpu, processes=(GpuProcess(77, "t-rex", 4096),)))
SPLIT = with_first(lambda gpu: replace(gpu, is_mig_on=True, mig=(MigInstance("MIG-1", "1g.10gb", 9728),)))
WORN = with_first(
    lambda gpu: replace(gpu, memory_health=GpuMemoryHealth(retired_pages=3, pending_repair=True))
)
LOST = with_first(lambda gpu: replace(gpu, is_lost=True))
ODD = with_first(lambda gpu: replace(gpu, refusals={"nvmlDeviceGetTemperature": 999}))


@pytest.mark.parametrize(
    ("driver", "question", "expected"),
    [
        (
            BUSY,
            "[[one.pid, one.usedGpuMemory] for one in nvmlDeviceGetComputeRunningProcesses(card)]",
            [[77, 4 << 30]],
        ),
        (BUSY, "nvmlSystemGetProcessName(77)", "/opt/t-rex/t-rex"),
        (BUSY, "nvmlSystemGetProcessName(78)", "NVMLError_NotFound"),
        (SPLIT, "nvmlDeviceGetMaxMigDeviceCount(card)", 7),
        (SPLIT, "nvmlDeviceGetUUID(nvmlDeviceGetMigDeviceHandleByIndex(card, 0))", "MIG-1"),
        (
            SPLIT,
            "nvmlDeviceGetName(nvmlDeviceGetMigDeviceHandleByIndex(card, 0))",
            "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        ),
        (SPLIT, "nvmlDeviceGetAttributes(nvmlDeviceGetMigDeviceHandleByIndex(card, 0)).memorySizeMB", 9728),
        (SPLIT, "nvmlDeviceGetMigDeviceHandleByIndex(card, 1)", "NVMLError_NotFound"),
        (WORN, "len(nvmlDeviceGetRetiredPages(card, 0)) + len(nvmlDeviceGetRetiredPages(card, 1))", 3),
        (WORN, "nvmlDeviceGetRetiredPagesPendingStatus(card)", 1),
        (LOST, "0", "NVMLError_GpuIsLost"),
        (ODD, "nvmlDeviceGetTemperature(card, 0)", "NVMLError_Unknown"),
        (ODD, "nvmlDeviceGetPersistenceMode(card)", 1),
        (None, "0", "NVMLError_LibraryNotFound"),
        (NvidiaDriver(status=DRIVER_NOT_LOADED), "0", "NVMLError_DriverNotLoaded"),
    ],
)
def test_faults_of_a_card(rig: Rig, driver: NvidiaDriver | None, question: str, expected: object) -> None:
    """Each fault with NVML's error or value."""
    assert rig.ask(question, driver) == expected


@pytest.mark.parametrize("option", ["-I", "-S", "-Es"])
def test_no_option_keeps_a_program_from_the_stand_in(rig: Rig, option: str) -> None:
    """Not even those for isolated mode."""
    assert rig.ask("nvmlDeviceGetCount()", SOUND, option) == 2


def test_a_hanging_driver_does_not_answer(rig: Rig) -> None:
    """The program waits until it is killed."""
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(
            [rig.programs / TOOLS / "python3", "-c", HANG], env=hanging(rig), timeout=1, check=True
        )


HANG = 'import ctypes; ctypes.CDLL("libnvidia-ml.so.1").nvmlInit_v2()'


def hanging(rig: Rig) -> dict[str, str]:
    write_driver(rig.tree / GPU_FILE, NvidiaDriver(status=-1))
    return rig.environment
