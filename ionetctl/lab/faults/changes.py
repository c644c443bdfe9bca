"""Functions that return a changed copy of a ``Machine``: the building blocks of faults and conditions. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.observed import MigInstance
from ionetctl.lab.host.machine import LIBRARY_DIR, MODULE_VERSION, MODULES, MOUNTS, DockerDaemon, Machine
from ionetctl.lab.host.nvidia_driver import Gpu, NvidiaDriver
from ionetctl.lab.host.standin_files import FREE_KIB_FILE

if TYPE_CHECKING:
    from ionetctl.core.observed import GpuMemoryHealth
    from ionetctl.lab.host.machine import Network

UNUSED_PID: Final = (1 << 22) + 1
"""Above Linux's highest process id: ending this fictitious process cannot hit a real one of the machine."""

Change = Callable[[Machine], Machine]
GpuChange = Callable[[Gpu], Gpu]


def all_of(*changes: Change) -> Change:
    """All these changes, in order."""

    def change(machine: Machine) -> Machine:
        for each in changes:
            machine = each(machine)
        return machine

    return change


def by_standin_program(machine: Machine) -> Machine:
    """The same machine: the condition is made by a program in the directory of its name below ``standins/faults``."""
    return machine


# --- files and programs ----------------------------------------------------------------------------------------------


def with_file(path: str, text: str) -> Change:
    """With this file, which replaces one of the same path."""
    return lambda machine: replace(machine, files={**machine.files, path: text})


def with_text(path: str, old: str, new: str) -> Change:
    """With ``old`` replaced by ``new`` in a file; the change raises ``ValueError`` when the file has no ``old``."""

    def change(machine: Machine) -> Machine:
        text = machine.files[path]
        if old not in text:
            raise ValueError(f"{path} has no {old!r}")
        return with_file(path, text.replace(old, new))(machine)

    return change


def with_mount(place: str, kind: str, free_kib: int) -> Change:
    """With another file system of this kind mounted at an absolute path."""

    def change(machine: Machine) -> Machine:
        mounts = f"{machine.files[MOUNTS]}{kind} {place} {kind} rw,relatime 0 0\n"
        room = f"{machine.files[FREE_KIB_FILE]}{free_kib} {place}\n"
        directory = with_file(f"{place.lstrip('/')}/lost+found/.keep", "")
        return all_of(with_file(MOUNTS, mounts), with_file(FREE_KIB_FILE, room), directory)(machine)

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


def with_output(program: str, text: str) -> Change:
    """With a program that always prints this."""
    return lambda machine: replace(machine, outputs={**machine.outputs, program: text})


def without_output(*programs: str) -> Change:
    """Without these programs, of those that always print the same."""
    return lambda machine: replace(
        machine, outputs={name: text for name, text in machine.outputs.items() if name not in programs}
    )


def with_kernel_log(line: str) -> Change:
    """With one more line in the kernel log (dmesg)."""
    return lambda machine: with_output("dmesg", machine.outputs["dmesg"] + line)(machine)


def with_process(name: str) -> Change:
    """With a process of this name in ``/proc``."""
    return all_of(
        with_file(f"proc/{UNUSED_PID}/comm", f"{name}\n"),
        with_file(f"proc/{UNUSED_PID}/cmdline", f"/opt/{name}/{name}\0--algo\0kawpow\0"),
        with_file(f"proc/{UNUSED_PID}/cgroup", f"0::/system.slice/{name}.service\n"),
    )


# --- Docker and the network ------------------------------------------------------------------------------------------


def with_docker(daemon: DockerDaemon) -> Change:
    """With another Docker daemon."""
    return lambda machine: replace(machine, docker=daemon)


def with_network(change: Callable[[Network], Network]) -> Change:
    """With a changed network."""
    return lambda machine: replace(machine, network=change(machine.network))


# --- GPUs and their driver -------------------------------------------------------------------------------------------


def with_driver(version: str, cuda_version: str = "12.4", status: int = 0) -> Change:
    """With another driver version, and ``status`` as the result of ``nvmlInit``."""
    return lambda machine: replace(machine, driver=NvidiaDriver(machine.gpus, version, cuda_version, status))


def without_driver(machine: Machine) -> Machine:
    """Without the NVIDIA driver: its library, module, package and ``nvidia-smi``."""
    change = all_of(without(LIBRARY_DIR, "usr/bin/nvidia-smi"), without_output("dpkg-query"), without_module)
    return replace(change(machine), driver=None)


def without_module(machine: Machine) -> Machine:
    """With the NVIDIA kernel module not loaded."""
    line = "nvidia 32768 0 - Live 0x0000000000000000\n"
    return all_of(without(MODULE_VERSION), with_text(MODULES, line, ""))(machine)


def with_library(version: str) -> Change:
    """With another version of the driver's library."""

    def change(machine: Machine) -> Machine:
        machine = with_file(f"{LIBRARY_DIR}/libnvidia-ml.so.{version}", "")(without(LIBRARY_DIR)(machine))
        link = {f"{LIBRARY_DIR}/libnvidia-ml.so.1": f"libnvidia-ml.so.{version}"}
        return replace(machine, links={**machine.links, **link})

    return change


def every_gpu(change: GpuChange) -> Change:
    """With every GPU changed in the driver's answers; the PCI bus stays as it is."""
    return lambda machine: replace(machine, driver=NvidiaDriver(tuple(map(change, machine.gpus))))


def first_gpu(change: GpuChange) -> Change:
    """With the first GPU changed in the driver's answers; the PCI bus stays as it is."""
    return every_gpu(lambda gpu: change(gpu) if gpu.index == 0 else gpu)


def with_health(health: GpuMemoryHealth) -> Change:
    """With this memory health of the first GPU."""
    return first_gpu(lambda gpu: replace(gpu, memory_health=health))


def with_mig_instance(gpu: Gpu) -> Gpu:
    """The GPU in MIG mode, with one instance."""
    return replace(gpu, is_mig_on=True, mig=(MigInstance(f"MIG-{gpu.uuid[4:]}", "1g.10gb", 9_728),))


def without_last_gpu(machine: Machine) -> Machine:
    """With one GPU fewer, on the PCI bus too."""
    gpus = machine.gpus[:-1]
    return replace(machine, gpus=gpus, driver=NvidiaDriver(gpus))
