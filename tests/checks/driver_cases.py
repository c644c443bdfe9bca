"""Cases of the checks of the NVIDIA driver."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core.model.host import Prepare
from ionetctl.core.observed import Driver, Rig
from tests.checks.host_case import DRIVER, HIVE, NO_GPU, ON_BUS, Case, Fields, promised

RUN_FILE: Final = replace(DRIVER, package=None, is_run_file=True)
HELD: Final = replace(DRIVER, held=("nvidia-settings", "libnvidia-gl-550"))


def wanted(branch: str) -> Fields:
    return {"prepare": Prepare(driver=branch)}


CASES: Final = (
    Case(("driver_hanging block",), facts=NO_GPU | {"is_driver_hanging": True}),
    Case(("driver_hanging block",), host=promised(count=2), facts=NO_GPU | {"is_driver_hanging": True}),
    Case(
        ("driver_hanging block",),
        host=promised(count=2),
        facts=NO_GPU | {"is_driver_hanging": True},
        machine=ON_BUS,
    ),
    Case(("driver_hanging warn",), host=promised(count=0), facts=NO_GPU | {"is_driver_hanging": True}),
    Case(
        ("driver_missing block",),
        host=promised(count=2),
        facts=NO_GPU | {"driver_version": None},
        machine=ON_BUS,
        message="2 NVIDIA cards on the bus, and there is no driver",
    ),
    Case(("driver_missing warn",), facts=NO_GPU | {"driver_version": None}, machine=ON_BUS),
    Case(host=promised(count=0), facts=NO_GPU | {"driver_version": None}, machine=ON_BUS),
    Case(facts=NO_GPU | {"driver_version": None}, machine={"driver": Driver(), "gpus_on_bus": None}),
    Case(machine=ON_BUS),
    Case(
        ("driver_not_loaded block",),
        host=promised(count=2),
        facts=NO_GPU,
        machine=ON_BUS | {"driver": Driver(library_version="550.54.15", package="nvidia-driver-550")},
        message="the NVIDIA driver (550.54.15) is installed, and its module is not loaded",
    ),
    Case(
        ("driver_not_loaded warn",),
        facts=NO_GPU,
        machine=ON_BUS | {"driver": Driver(package="nvidia-driver-550")},
        message="the NVIDIA driver (nvidia-driver-550) is installed, and its module is not loaded",
    ),
    Case(
        ("nouveau_loaded block",),
        host=promised(count=2),
        facts=NO_GPU,
        machine=ON_BUS | {"driver": Driver(is_nouveau_loaded=True, library_version="550.54.15")},
        message="the nouveau driver has 2 NVIDIA cards",
    ),
    Case(
        ("driver_mismatch block",),
        host=promised(count=2),
        facts=NO_GPU,
        machine={"driver": replace(DRIVER, module_version="535.1")},
        message="the loaded module is 535.1, the library 550.54.15",
    ),
    Case(("driver_mismatch warn",), machine={"driver": replace(DRIVER, module_version="535.1")}),
    Case(
        host=promised(count=0),
        facts={"gpus": ()},
        machine={"driver": replace(DRIVER, module_version="535.1"), "gpus_on_bus": 0},
    ),
    Case(machine={"driver": replace(DRIVER, library_version=None)}),
    Case(machine={"driver": replace(DRIVER, module_version=None)}),
    Case(
        ("driver_old block",),
        host=promised(count=2),
        facts={"driver_version": "440.33.01"},
        message="driver 440.33.01 is older than 450, which the device plugin needs",
    ),
    Case(("driver_old warn",), facts={"driver_version": "440.33.01"}),
    Case(
        ("driver_old warn",),
        facts={"driver_version": None},
        machine={"driver": Driver(module_version="390.157")},
    ),
    Case(facts={"driver_version": "450.51"}),
    Case(facts={"driver_version": None}, machine={"driver": Driver()}),
    Case(
        ("driver_missing block", "secure_boot_on warn"),
        host=promised(count=2),
        facts=NO_GPU | {"driver_version": None},
        machine=ON_BUS | {"driver": Driver(is_secure_boot_on=True)},
    ),
    Case(
        ("driver_missing warn", "secure_boot_on warn"),
        facts=NO_GPU | {"driver_version": None},
        machine=ON_BUS | {"driver": Driver(is_secure_boot_on=True)},
    ),
    Case(
        host=promised(count=0),
        facts=NO_GPU | {"driver_version": None},
        machine=ON_BUS | {"driver": Driver(is_secure_boot_on=True)},
    ),
    Case(machine={"driver": replace(DRIVER, is_secure_boot_on=True)}),
    Case(
        ("driver_run_file info",),
        machine={"driver": RUN_FILE},
        message="the NVIDIA driver 550.54.15 is from NVIDIA's installer (.run), not from packages",
    ),
    Case(("driver_run_file info",), host=wanted("550"), machine={"driver": RUN_FILE}),
    Case(
        ("driver_run_file block",),
        host=wanted("570-server"),
        machine={"driver": RUN_FILE},
        message=(
            "the NVIDIA driver 550.54.15 is from NVIDIA's installer (.run), not from packages; "
            "prepare: {driver: 570-server} would put packages over it"
        ),
    ),
    Case(
        (
            "mining_os block",
            "driver_run_file block",
        ),
        host=wanted("570"),
        machine={"driver": RUN_FILE, "rig": HIVE},
        hint="update it by the system's own nvidia-driver-update",
        besides="mining_os",
    ),
    Case(
        (
            "mining_os block",
            "driver_run_file info",
        ),
        machine={"driver": RUN_FILE, "rig": Rig("mmpOS")},
        besides="mining_os",
    ),
    Case(
        ("driver_run_file info",),
        host=wanted("570") | promised(count=0),
        facts={"gpus": ()},
        machine={"driver": RUN_FILE, "gpus_on_bus": 0},
    ),
    Case(
        ("driver_mismatch info", "driver_run_file block"),
        host=wanted("550"),
        machine={"driver": replace(RUN_FILE, library_version="550.90")},
    ),
    Case(
        ("driver_run_file block",),
        host=wanted("550"),
        machine={"driver": replace(RUN_FILE, module_version=None)},
        message=(
            "the NVIDIA driver 550.54.15 is from NVIDIA's installer (.run), not from packages; "
            "prepare: {driver: 550} would put packages over it"
        ),
    ),
    Case(
        ("driver_run_file info",),
        machine={"driver": Driver(is_run_file=True)},
        message="the NVIDIA driver of unknown version is from NVIDIA's installer (.run), not from packages",
    ),
    Case(machine={"driver": replace(DRIVER, is_run_file=False)}),
    Case(
        ("driver_held block",),
        host=wanted("570"),
        machine={"driver": HELD},
        message="nvidia-settings and libnvidia-gl-550 on hold; prepare: {driver: 570} would change them",
    ),
    Case(
        ("driver_held block",),
        host=wanted("550"),
        machine={"driver": replace(HELD, module_version=None, library_version=None)},
    ),
    Case(
        ("driver_held block",),
        host=wanted("570"),
        machine={"driver": replace(HELD, library_version=None)},
    ),
    Case(host=wanted("550"), machine={"driver": HELD}),
    Case(host=wanted("550"), machine={"driver": replace(HELD, module_version=None)}),
    Case(machine={"driver": HELD}),
    Case(host=wanted("570"), machine={"driver": replace(HELD, held=())}),
    Case(
        host=wanted("570") | promised(count=0),
        facts={"gpus": ()},
        machine={"driver": HELD, "gpus_on_bus": 0},
    ),
    Case(
        ("driver_run_file block",),
        host=wanted("570"),
        machine={"driver": replace(RUN_FILE, held=("nvidia-settings",))},
    ),
    Case(
        ("persistence_off info",),
        card={"is_persistent": False},
        message="persistence mode is off on GPU 0",
    ),
    Case(
        ("persistence_off info",),
        card={"is_persistent": False},
        second={"is_persistent": False},
        message="persistence mode is off on GPUs 0 and 1",
    ),
    Case(card={"is_persistent": None}),
    Case(("gpu_count_mismatch block",), host=promised(count=0), card={"is_persistent": False}),
)
