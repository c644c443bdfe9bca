"""What a survey can find of a rehearsal host: conditions of the machine, each a change of a sound one. Pure.

Where ``faults`` are about what happens to an enrolment, these are about what a host is: each is made for a finding of
the checks. Conditions that only several hosts can have (a cloned machine-id) are asked for at least twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.lab.gpus import DRIVER_NOT_LOADED, HANGS, VERSION_MISMATCH, Gpu, NvidiaDriver
from ionetctl.lab.machine import (
    HOSTNAME,
    INTERFACE,
    LIBRARY_DIR,
    MACHINE_ID,
    MEMINFO,
    MODULE_VERSION,
    MODULES,
    MOUNTS,
    OS_KERNEL,
    OS_RELEASE,
    ROOM,
    SYSTEMD,
    DockerDaemon,
    Machine,
    WayOut,
)
from ionetctl.observed import GpuMemoryHealth, GpuProcess, MigInstance, PcieLink

if TYPE_CHECKING:
    from collections.abc import Mapping

Change = Callable[[Machine], Machine]


@dataclass(frozen=True, slots=True)
class Condition:
    """``what`` the host is, as a sentence's predicate, and the change that makes a sound machine so."""

    what: str
    change: Change


def changed(machine: Machine, name: str) -> Machine:
    """The machine with this condition, or with what a fault of this name changes; as it is where that is nothing."""
    condition = CATALOGUE.get(name)
    change = condition.change if condition else _OF_FAULTS.get(name)
    return change(machine) if change else machine


# --- changes ---------------------------------------------------------------------------------------------------------


def _file(path: str, text: str) -> Change:
    """With this file, or with another text in it."""
    return lambda machine: replace(machine, files={**machine.files, path: text})


def _without_files(*prefixes: str) -> Change:
    """Without the files, links and programs below these paths."""

    def change(machine: Machine) -> Machine:
        return replace(
            machine,
            files={path: text for path, text in machine.files.items() if not path.startswith(prefixes)},
            links={path: target for path, target in machine.links.items() if not path.startswith(prefixes)},
            executables=tuple(path for path in machine.executables if not path.startswith(prefixes)),
        )

    return change


def _reading(path: str, old: str, new: str) -> Change:
    """With ``new`` where a file has ``old``."""

    def change(machine: Machine) -> Machine:
        text = machine.files[path]
        if old not in text:
            raise ValueError(f"{path} has no {old!r}")
        return _file(path, text.replace(old, new))(machine)

    return change


def _says(program: str, text: str) -> Change:
    """With a program that says this."""
    return lambda machine: replace(machine, says={**machine.says, program: text})


def _without_program(name: str) -> Change:
    return lambda machine: replace(
        machine,
        tools=machine.tools - {name},
        says={program: text for program, text in machine.says.items() if program != name},
    )


def _all(*changes: Change) -> Change:
    """One change after the other."""

    def change(machine: Machine) -> Machine:
        for each in changes:
            machine = each(machine)
        return machine

    return change


def _docker(daemon: DockerDaemon) -> Change:
    return lambda machine: replace(machine, docker=daemon)


def _driver_is(status: int) -> Change:
    """With a driver that does not answer, and why."""
    return lambda machine: replace(machine, driver=NvidiaDriver(machine.gpus, status=status))


def _first_gpu(card: Callable[[Gpu], Gpu]) -> Change:
    """With another first card, as the driver sees it."""

    def change(machine: Machine) -> Machine:
        first, *others = machine.gpus
        return replace(machine, driver=NvidiaDriver((card(first), *others)))

    return change


def _every_gpu(card: Callable[[Gpu], Gpu]) -> Change:
    return lambda machine: replace(machine, driver=NvidiaDriver(tuple(map(card, machine.gpus))))


def _memory_health(health: GpuMemoryHealth) -> Change:
    return _first_gpu(lambda gpu: replace(gpu, memory_health=health))


def _process(pid: int, name: str, group: str = "/user.slice/user-1000.slice/session-1.scope") -> Change:
    """With a process in its process table, by the name that the kernel has of it and in a cgroup."""
    return _all(
        _file(f"proc/{pid}/comm", f"{name}\n"),
        _file(f"proc/{pid}/cmdline", f"/opt/{name}/{name}\0--algo\0kawpow\0"),
        _file(f"proc/{pid}/cgroup", f"0::{group}\n"),
    )


def _way(way_out: WayOut) -> Change:
    return lambda machine: replace(machine, way=replace(machine.way, way_out=way_out))


def _kernel_log(line: str) -> Change:
    return lambda machine: _says("dmesg", machine.says["dmesg"] + line)(machine)


def _mig_on(gpu: Gpu) -> Gpu:
    return replace(gpu, is_mig_on=True, mig=(MigInstance(f"MIG-{gpu.uuid[4:]}", "1g.10gb", 9_728),))


def _without_last_gpu(machine: Machine) -> Machine:
    gpus = machine.gpus[:-1]
    return replace(machine, gpus=gpus, driver=NvidiaDriver(gpus))


_WITHOUT_LIBRARY: Final = _all(
    lambda machine: replace(machine, driver=None),
    _without_files(LIBRARY_DIR),
    _without_program("nvidia-smi"),
    _without_program("dpkg-query"),
)
_MODULE_GONE: Final = _all(
    _without_files(MODULE_VERSION), _reading(MODULES, "nvidia 32768 0 - Live 0x0000000000000000\n", "")
)
_NOISY_OS: Final = "\x1b[31mUbuntu\x1b[0m [red]::error::[/red] =HYPERLINK(1)"
_OF_FAULTS: Final[Mapping[str, Change]] = {
    "foreign-nomad": lambda machine: replace(machine, has_foreign_nomad=True),
    "gpu-missing": _without_last_gpu,
    "noisy": _reading(OS_RELEASE, "Ubuntu 24.04.1 LTS (rehearsal)", _NOISY_OS),
}
"""What some faults change of the machine."""

# --- the catalogue ---------------------------------------------------------------------------------------------------

_SYSTEM: Final[Mapping[str, Condition]] = {
    "os-old": Condition("runs an Ubuntu of 2016", _reading(OS_RELEASE, "24.04", "16.04")),
    "os-untested": Condition("runs a system that nobody tested", _reading(OS_RELEASE, "ubuntu", "slackware")),
    "kernel-old": Condition("runs a kernel of 2016", _file(OS_KERNEL, "4.4.0-21-generic\n")),
    "systemd-old": Condition("has a systemd of 2016", _file(SYSTEMD, "229\n")),
    "no-systemd": Condition("boots with another init", _file("proc/1/comm", "init\n")),
    "no-cgroups": Condition(
        "has no cgroups mounted", _file(MOUNTS, "/dev/nvme0n1p2 / ext4 rw,relatime 0 0\n")
    ),
    "disk-low": Condition("has hardly any room left", _file(ROOM, "65536\n")),
    "overlay-root": Condition(
        "runs off a live image: its root forgets",
        _reading(MOUNTS, "/dev/nvme0n1p2 / ext4", "overlay / overlay"),
    ),
    "read-only-root": Condition("has a root mounted read-only", _reading(MOUNTS, "ext4 rw", "ext4 ro")),
    "noexec-root": Condition("has a root mounted noexec", _reading(MOUNTS, "ext4 rw", "ext4 rw,noexec")),
    "low-memory": Condition(
        "has 8 GiB of memory for all its GPUs",
        _file(MEMINFO, f"MemTotal:       {8 << 20} kB\nSwapTotal:             0 kB\n"),
    ),
    "swap": Condition("swaps", _reading(MEMINFO, "SwapTotal:             0", "SwapTotal:       8388604")),
    "hugepages": Condition(
        "keeps memory back as huge pages",
        _reading(MEMINFO, "Hugetlb:               0", "Hugetlb:        41943040"),
    ),
    "unsynchronized": Condition("keeps its clock by nobody's", _says("timedatectl", "NTPSynchronized=no\n")),
    "reboot-pending": Condition(
        "waits for a reboot", _file("run/reboot-required", "*** System restart required ***\n")
    ),
    "virtual": Condition("is a virtual machine", _says("systemd-detect-virt", "kvm\n")),
    "no-python": Condition("has no Python", _without_program("python3")),
}
_CONTAINERS: Final[Mapping[str, Condition]] = {
    "docker-missing": Condition(
        "has no Docker", _all(_without_program("docker"), lambda m: replace(m, docker=None))
    ),
    "docker-down": Condition("has a Docker that does not answer", _docker(DockerDaemon(version=None))),
    "docker-old": Condition("has a Docker of 2017", _docker(DockerDaemon(version="17.09.1-ce"))),
    "docker-cgroupfs": Condition(
        "has a Docker that keeps cgroups itself", _docker(DockerDaemon(cgroup_driver="cgroupfs"))
    ),
    "toolkit-missing": Condition("has no NVIDIA container toolkit", _without_program("nvidia-ctk")),
    "runtime-missing": Condition(
        "has a Docker that does not know the NVIDIA runtime",
        _docker(DockerDaemon(runtimes=("io.containerd.runc.v2", "runc"))),
    ),
    "cni-missing": Condition("has no CNI plugins", _without_files("opt/cni/bin")),
    "bridge-missing": Condition(
        "has no bridge module",
        _reading(
            MODULES,
            "br_netfilter 32768 0 - Live 0x0000000000000000\nbridge 32768 0 - Live 0x0000000000000000\n",
            "",
        ),
    ),
}
_DRIVER: Final[Mapping[str, Condition]] = {
    "driver-missing": Condition("has no NVIDIA driver", _all(_WITHOUT_LIBRARY, _MODULE_GONE)),
    "driver-not-loaded": Condition(
        "has a driver that is not loaded", _all(_MODULE_GONE, _driver_is(DRIVER_NOT_LOADED))
    ),
    "driver-mismatch": Condition(
        "has a driver that was updated without a reboot",
        _all(_reading(MODULE_VERSION, "550.54.15", "535.161.07"), _driver_is(VERSION_MISMATCH)),
    ),
    "driver-old": Condition(
        "has a driver of 2018",
        _all(
            _reading(MODULE_VERSION, "550.54.15", "390.48"),
            lambda m: replace(m, driver=NvidiaDriver(m.gpus, "390.48", "9.1")),
            _without_files(LIBRARY_DIR),
            _file(f"{LIBRARY_DIR}/libnvidia-ml.so.390.48", ""),
            lambda m: replace(m, links={f"{LIBRARY_DIR}/libnvidia-ml.so.1": "libnvidia-ml.so.390.48"}),
        ),
    ),
    "driver-hangs": Condition("has a driver that never answers", _driver_is(HANGS)),
    "nouveau": Condition(
        "has nouveau at its cards",
        _all(
            _WITHOUT_LIBRARY,
            _without_files(MODULE_VERSION),
            _reading(MODULES, "nvidia 32768", "nouveau 32768"),
        ),
    ),
}
_GPUS: Final[Mapping[str, Condition]] = {
    "gpu-lost": Condition(
        "has a card that fell off the bus", _first_gpu(lambda gpu: replace(gpu, is_lost=True))
    ),
    "gpu-fell-off": Condition(
        "has seen a card fall off the bus since it booted",
        _kernel_log(
            "[  812.331] NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"
        ),
    ),
    "gpu-ecc": Condition(
        "has a card with uncorrectable memory errors",
        _memory_health(GpuMemoryHealth(is_ecc_on=True, ecc_corrected=512, ecc_uncorrected=3)),
    ),
    "gpu-remap-failed": Condition(
        "has a card that cannot put a bad row out of use",
        _memory_health(
            GpuMemoryHealth(
                remapped_corrected=0, remapped_uncorrected=8, pending_repair=False, has_remap_failed=True
            )
        ),
    ),
    "riser": Condition(
        "has its cards on risers",
        _every_gpu(
            lambda gpu: replace(gpu, link=PcieLink(1, gpu.link.generation_max, 1, gpu.link.width_max))
        ),
    ),
    "gpu-hot": Condition(
        "has a card that is too hot", _first_gpu(lambda gpu: replace(gpu, temperature_c=95))
    ),
    "power-limited": Condition(
        "has cards whose power is limited",
        _every_gpu(lambda gpu: replace(gpu, power_limit_w=(gpu.power_default_w or 0) * 0.6)),
    ),
    "not-persistent": Condition(
        "has cards without persistence mode", _every_gpu(lambda gpu: replace(gpu, is_persistent=False))
    ),
    "mig": Condition("has a card that is split by MIG", _first_gpu(_mig_on)),
    "gpu-busy": Condition(
        "has cards that compute for somebody",
        _every_gpu(
            lambda gpu: replace(
                gpu, utilization_percent=100, processes=(GpuProcess(7700 + gpu.index, "python3", 4096),)
            )
        ),
    ),
    "gpu-other-model": Condition(
        "has other cards than the inventory promises",
        _every_gpu(lambda gpu: replace(gpu, name="NVIDIA GeForce GTX 1060 6GB", memory_mib=6144)),
    ),
    "display": Condition(
        "has a card that drives a display", _first_gpu(lambda gpu: replace(gpu, has_display=True))
    ),
}
_WORK: Final[Mapping[str, Condition]] = {
    "miner": Condition("mines", _process(7001, "t-rex", "/system.slice/miner.service")),
    "hiveos": Condition("is a HiveOS rig", _all(_file("hive/bin/miner", ""), _process(7002, "hiveon"))),
    "ionet-worker": Condition("works for io.net already", _process(7003, "io-worker-vc")),
}
_NETWORK: Final[Mapping[str, Condition]] = {
    "rpc-blocked": Condition("cannot reach the region's servers", _way("timeout")),
    "dns": Condition("cannot resolve names", _way("unresolved")),
    "mtu": Condition("has an MTU of 1280", _file(f"{INTERFACE}/mtu", "1280\n")),
    "firewall": Condition(
        "has a firewall that lets nothing out",
        _says(
            "nft",
            "table inet filter {\n\tchain output {\n\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n",
        ),
    ),
}
_CLONES: Final[Mapping[str, Condition]] = {
    "same-machine-id": Condition("has another's machine-id", _file(MACHINE_ID, f"{'c10e' * 8}\n")),
    "same-hostname": Condition("has another's hostname", _file(HOSTNAME, "rig\n")),
    "same-mac": Condition("has another's MAC address", _file(f"{INTERFACE}/address", "02:00:00:00:00:01\n")),
    "same-gpu": Condition(
        "shows a GPU that another shows too",
        _first_gpu(lambda gpu: replace(gpu, uuid="GPU-00000000-c10e-c10e-c10e-000000000000")),
    ),
}
CATALOGUE: Final[Mapping[str, Condition]] = {
    **_SYSTEM,
    **_CONTAINERS,
    **_DRIVER,
    **_GPUS,
    **_WORK,
    **_NETWORK,
    **_CLONES,
}
"""Name → condition; the names go where the faults' go."""
