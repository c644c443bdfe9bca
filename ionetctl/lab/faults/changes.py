"""Ways in which a rehearsal host may differ from a sound one: functions that give another ``Machine``. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.observed import MigInstance
from ionetctl.lab.cards import Gpu, NvidiaDriver
from ionetctl.lab.host.machine import LIBRARY_DIR, MODULE_VERSION, MODULES, DockerDaemon, Machine

if TYPE_CHECKING:
    from ionetctl.core.observed import GpuMemoryHealth
    from ionetctl.lab.host.machine import Way

NOBODYS_PID: Final = (1 << 22) + 1
"""Beyond what Linux gives: a host's processes are made up, and whoever ends one must not hit one of this machine."""

Change = Callable[[Machine], Machine]
OfGpu = Callable[[Gpu], Gpu]


def all_of(*changes: Change) -> Change:
    """One change after the other."""

    def change(machine: Machine) -> Machine:
        for each in changes:
            machine = each(machine)
        return machine

    return change


def by_programs(machine: Machine) -> Machine:
    """As it is: what differs is a program, in the folder of the condition's name (``standins/faults``)."""
    return machine


# --- files and programs ----------------------------------------------------------------------------------------------


def with_file(path: str, text: str) -> Change:
    """With this file, or with another text in it."""
    return lambda machine: replace(machine, files={**machine.files, path: text})


def with_text(path: str, old: str, new: str) -> Change:
    """With ``new`` where a file has ``old``; the change raises ``ValueError`` where it has not."""

    def change(machine: Machine) -> Machine:
        text = machine.files[path]
        if old not in text:
            raise ValueError(f"{path} has no {old!r}")
        return with_file(path, text.replace(old, new))(machine)

    return change


def without(*prefixes: str) -> Change:
    """Without the files, links, tools and programs below these paths."""

    def change(machine: Machine) -> Machine:
        return replace(
            machine,
            files={path: text for path, text in machine.files.items() if not path.startswith(prefixes)},
            links={path: target for path, target in machine.links.items() if not path.startswith(prefixes)},
            executables=tuple(path for path in machine.executables if not path.startswith(prefixes)),
            tools=frozenset(path for path in machine.tools if not path.startswith(prefixes)),
        )

    return change


def saying(program: str, text: str) -> Change:
    """With a program that says this."""
    return lambda machine: replace(machine, says={**machine.says, program: text})


def silent(*programs: str) -> Change:
    """Without these programs of those that always say the same."""
    return lambda machine: replace(
        machine, says={name: text for name, text in machine.says.items() if name not in programs}
    )


def with_kernel_log(line: str) -> Change:
    """With one line more in this boot's kernel log."""
    return lambda machine: saying("dmesg", machine.says["dmesg"] + line)(machine)


def running(name: str) -> Change:
    """With a process of this name in its process table."""
    return all_of(
        with_file(f"proc/{NOBODYS_PID}/comm", f"{name}\n"),
        with_file(f"proc/{NOBODYS_PID}/cmdline", f"/opt/{name}/{name}\0--algo\0kawpow\0"),
        with_file(f"proc/{NOBODYS_PID}/cgroup", f"0::/system.slice/{name}.service\n"),
    )


# --- Docker and the network ------------------------------------------------------------------------------------------


def with_docker(daemon: DockerDaemon) -> Change:
    """With another Docker daemon."""
    return lambda machine: replace(machine, docker=daemon)


def by_way(change_way: Callable[[Way], Way]) -> Change:
    """With another way to the network."""
    return lambda machine: replace(machine, way=change_way(machine.way))


# --- GPUs and their driver -------------------------------------------------------------------------------------------


def with_driver(version: str, cuda_version: str = "12.4", status: int = 0) -> Change:
    """With another driver, as NVML tells."""
    return lambda machine: replace(machine, driver=NvidiaDriver(machine.gpus, version, cuda_version, status))


def without_driver(machine: Machine) -> Machine:
    """Without the NVIDIA driver: no library, no module, no package, no tool of it."""
    change = all_of(without(LIBRARY_DIR, "usr/bin/nvidia-smi"), silent("dpkg-query"), without_module)
    return replace(change(machine), driver=None)


def without_module(machine: Machine) -> Machine:
    """Without the loaded module."""
    line = "nvidia 32768 0 - Live 0x0000000000000000\n"
    return all_of(without(MODULE_VERSION), with_text(MODULES, line, ""))(machine)


def with_library(version: str) -> Change:
    """With the driver's library in another version."""

    def change(machine: Machine) -> Machine:
        machine = with_file(f"{LIBRARY_DIR}/libnvidia-ml.so.{version}", "")(without(LIBRARY_DIR)(machine))
        link = {f"{LIBRARY_DIR}/libnvidia-ml.so.1": f"libnvidia-ml.so.{version}"}
        return replace(machine, links={**machine.links, **link})

    return change


def every_gpu(card: OfGpu) -> Change:
    """With all cards changed, as the driver sees them."""
    return lambda machine: replace(machine, driver=NvidiaDriver(tuple(map(card, machine.gpus))))


def first_gpu(card: OfGpu) -> Change:
    """With the first card changed, as the driver sees it."""
    return every_gpu(lambda gpu: card(gpu) if gpu.index == 0 else gpu)


def with_health(health: GpuMemoryHealth) -> Change:
    """With a first card whose memory is in this state."""
    return first_gpu(lambda gpu: replace(gpu, memory_health=health))


def split(gpu: Gpu) -> Gpu:
    """The card in MIG mode, with one instance."""
    return replace(gpu, is_mig_on=True, mig=(MigInstance(f"MIG-{gpu.uuid[4:]}", "1g.10gb", 9_728),))


def without_last_gpu(machine: Machine) -> Machine:
    """With one card fewer, on the bus too."""
    gpus = machine.gpus[:-1]
    return replace(machine, gpus=gpus, driver=NvidiaDriver(gpus))
