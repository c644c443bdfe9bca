"""What a rehearsal host may be that a survey finds: a condition for each finding, as a change of a sound machine. Pure.

Where ``faults`` are about what happens to an enrolment, these are about what a host is. Conditions of several hosts (a
cloned machine-id) are asked for at least twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.lab.changes import (
    Change,
    all_of,
    by_programs,
    by_way,
    every_gpu,
    first_gpu,
    running,
    saying,
    silent,
    with_docker,
    with_driver,
    with_file,
    with_health,
    with_kernel_log,
    with_library,
    with_text,
    without,
    without_driver,
    without_last_gpu,
    without_module,
)
from ionetctl.lab.gpus import DRIVER_NOT_LOADED, DRIVER_VERSION, HANGS, VERSION_MISMATCH
from ionetctl.lab.machine import (
    ARCHITECTURE,
    HOSTNAME,
    INTERFACE,
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
)
from ionetctl.observed import GpuMemoryHealth, GpuProcess, MigInstance, PcieLink

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Condition:
    """``what`` the host is, as a sentence's predicate; the code of the finding that it is made for."""

    what: str
    finding: str
    change: Change


def changed(machine: Machine, name: str) -> Machine:
    """The machine with this condition, or with what a fault of this name changes; as it is where that is nothing."""
    if name in CATALOGUE:
        return CATALOGUE[name].change(machine)
    return _OF_FAULTS[name](machine) if name in _OF_FAULTS else machine


_OF_FAULTS: Final[Mapping[str, Change]] = {
    "foreign-nomad": lambda machine: replace(machine, has_foreign_nomad=True),
    "gpu-missing": without_last_gpu,
    "noisy": with_text(
        OS_RELEASE,
        "Ubuntu 24.04.1 LTS (rehearsal)",
        "\x1b[31mUbuntu\x1b[0m [red]::error::[/red] =HYPERLINK(1)",
    ),
}
"""What some faults change of the machine."""

_SYSTEM: Final[Mapping[str, Condition]] = {
    "not-root": Condition("has a sudo that makes nobody root", "not_root", by_programs),
    "arm64": Condition(
        "is an arm64 machine with GPUs", "gpu_plugin_missing", with_file(ARCHITECTURE, "aarch64\n")
    ),
    "riscv64": Condition(
        "has a processor without a Nomad", "architecture_unsupported", with_file(ARCHITECTURE, "riscv64\n")
    ),
    "no-systemd": Condition("boots with another init", "systemd_missing", with_file("proc/1/comm", "init\n")),
    "systemd-old": Condition("has a systemd of 2016", "systemd_old", with_file(SYSTEMD, "229\n")),
    "os-untested": Condition(
        "runs a system that nobody tested", "os_untested", with_text(OS_RELEASE, "ubuntu", "slackware")
    ),
    "os-old": Condition("runs an Ubuntu of 2016", "os_unsupported", with_text(OS_RELEASE, "24.04", "16.04")),
    "kernel-old": Condition(
        "runs a kernel of 2016", "kernel_old", with_file(OS_KERNEL, "4.4.0-21-generic\n")
    ),
    "cgroups-read-only": Condition(
        "has control groups that nobody may write",
        "cgroups_unusable",
        with_text(MOUNTS, "cgroup2 rw", "cgroup2 ro"),
    ),
    "no-memory-controller": Condition(
        "has a kernel that does not limit memory",
        "cgroup_controllers_missing",
        with_file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n"),
    ),
    "no-gzip": Condition(
        "has no gzip", "tool_missing", lambda machine: replace(machine, lacks=frozenset({"gzip"}))
    ),
    "clock-apart": Condition("has a clock a minute ahead", "clock_apart", by_programs),
    "unsynchronized": Condition(
        "keeps its clock by nobody's",
        "clock_unsynchronized",
        saying("timedatectl", "NTP=no\nNTPSynchronized=no\n"),
    ),
    "reboot-pending": Condition(
        "waits for a reboot",
        "reboot_pending",
        with_file("run/reboot-required", "*** System restart required ***\n"),
    ),
}
_MACHINE: Final[Mapping[str, Condition]] = {
    "cpu-missing": Condition(
        "has two CPU cores", "cpu_mismatch", with_file("proc/cpuinfo", "processor\t: 0\n\nprocessor\t: 1\n\n")
    ),
    "memory-missing": Condition(
        "has lost most of its memory", "memory_mismatch", with_file(MEMINFO, f"MemTotal: {8 << 20} kB\n")
    ),
    "memory-low": Condition(
        "has 8 GiB of memory for all its GPUs",
        "memory_low_for_gpus",
        with_file(MEMINFO, f"MemTotal: {8 << 20} kB\n"),
    ),
    "swap": Condition(
        "swaps", "swap_on", with_text(MEMINFO, "SwapTotal:             0", "SwapTotal:       8388604")
    ),
    "hugepages": Condition(
        "keeps memory back as huge pages",
        "hugepages_reserved",
        with_text(MEMINFO, "Hugetlb:               0", "Hugetlb:         8388608"),
    ),
}
_STORAGE: Final[Mapping[str, Condition]] = {
    "root-read-only": Condition(
        "has a root mounted read-only", "disk_read_only", with_text(MOUNTS, "ext4 rw", "ext4 ro")
    ),
    "root-full": Condition("has hardly any room left", "disk_low", with_file(ROOM, f"{64 << 10}\n")),
    "root-noexec": Condition(
        "has a root mounted noexec", "disk_noexec", with_text(MOUNTS, "ext4 rw", "ext4 rw,noexec")
    ),
    "root-small": Condition("has no room for jobs", "jobs_disk_low", with_file(ROOM, f"{4 << 20}\n")),
    "images-crowded": Condition(
        "has little room for images", "docker_disk_low", with_file(ROOM, f"{15 << 20}\n")
    ),
    "live-image": Condition(
        "runs off a live image",
        "root_overlay",
        with_text(MOUNTS, "/dev/nvme0n1p2 / ext4", "overlay / overlay"),
    ),
}
_NETWORK: Final[Mapping[str, Condition]] = {
    "rpc-blocked": Condition(
        "cannot reach the region's servers",
        "servers_unreachable",
        by_way(lambda way: replace(way, way_out="timeout")),
    ),
    "rpc-blocked-in-part": Condition(
        "reaches only servers that are given by address",
        "servers_partly_unreachable",
        by_way(lambda way: replace(way, names="astray")),
    ),
    "dns": Condition(
        "cannot resolve names", "dns_failing", by_way(lambda way: replace(way, names="unresolved"))
    ),
    "far": Condition(
        "is far from its region", "region_far", by_way(lambda way: replace(way, delay_ms=300.0))
    ),
    "mtu": Condition("has an MTU of 1280", "mtu_low", with_file(f"{INTERFACE}/mtu", "1280\n")),
    "firewall": Condition(
        "has a firewall that lets nothing out",
        "firewall_blocks_rpc",
        all_of(
            saying(
                "nft",
                "table inet filter {\n\tchain output {\n"
                "\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n",
            ),
            by_way(lambda way: replace(way, way_out="timeout")),
        ),
    ),
}
_DRIVER: Final[Mapping[str, Condition]] = {
    "driver-missing": Condition("has no NVIDIA driver", "driver_missing", without_driver),
    "driver-not-loaded": Condition(
        "has a driver that is not loaded",
        "driver_not_loaded",
        all_of(without_module, with_driver(DRIVER_VERSION, status=DRIVER_NOT_LOADED)),
    ),
    "driver-mismatch": Condition(
        "has a driver that was updated without a reboot",
        "driver_mismatch",
        all_of(
            with_text(MODULE_VERSION, DRIVER_VERSION, "535.161.07"),
            with_driver(DRIVER_VERSION, status=VERSION_MISMATCH),
        ),
    ),
    "driver-old": Condition(
        "has a driver of 2018",
        "driver_old",
        all_of(
            with_text(MODULE_VERSION, DRIVER_VERSION, "390.48"),
            with_library("390.48"),
            with_driver("390.48", "9.1"),
        ),
    ),
    "nouveau": Condition(
        "has the free driver at its cards",
        "nouveau_loaded",
        all_of(
            without_driver,
            with_text(MODULES, "overlay ", "nouveau 32768 0 - Live 0x0000000000000000\noverlay "),
        ),
    ),
    "driver-hangs": Condition(
        "has a driver that never answers", "driver_hanging", with_driver(DRIVER_VERSION, status=HANGS)
    ),
    "secure-boot": Condition(
        "boots signed modules only, and has no driver yet",
        "secure_boot_on",
        all_of(without_driver, saying("mokutil", "SecureBoot enabled\n")),
    ),
    "not-persistent": Condition(
        "has cards without persistence mode",
        "persistence_off",
        every_gpu(lambda gpu: replace(gpu, is_persistent=False)),
    ),
}
_GPUS: Final[Mapping[str, Condition]] = {
    "gpu-unknown": Condition(
        "has nothing that could count its cards",
        "gpu_unknown",
        without("usr/bin/nvidia-smi", "usr/bin/python3"),
    ),
    "gpu-other-model": Condition(
        "has other cards than the inventory promises",
        "gpu_model_mismatch",
        every_gpu(lambda gpu: replace(gpu, name="NVIDIA GeForce GTX 1060 6GB", memory_mib=6144)),
    ),
    "gpu-lost": Condition(
        "has a card that does not answer", "gpu_lost", first_gpu(lambda gpu: replace(gpu, is_lost=True))
    ),
    "gpu-fell-off": Condition(
        "has seen a card fall off its bus",
        "gpu_fell_off_bus",
        with_kernel_log("[  812.331000] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n"),
    ),
    "gpu-xid": Condition(
        "has a card that reported a memory error",
        "gpu_xid",
        with_kernel_log("[  812.331000] NVRM: Xid (PCI:0000:01:00): 48, DBE (double bit error) ECC Error\n"),
    ),
    "gpu-ecc": Condition(
        "has a card with uncorrected memory errors",
        "gpu_ecc_errors",
        with_health(GpuMemoryHealth(is_ecc_on=True, ecc_corrected=512, ecc_uncorrected=3)),
    ),
    "gpu-retired": Condition(
        "has a card with retired pages",
        "gpu_memory_retired",
        with_health(GpuMemoryHealth(is_ecc_on=True, retired_pages=12, pending_repair=False)),
    ),
    "gpu-remap-pending": Condition(
        "has a card whose repair waits for a reset",
        "gpu_remap_pending",
        with_health(
            GpuMemoryHealth(None, None, None, None, 0, 1, pending_repair=True, has_remap_failed=False)
        ),
    ),
    "gpu-remap-failed": Condition(
        "has a card that could not be repaired",
        "gpu_remap_failed",
        with_health(
            GpuMemoryHealth(None, None, None, None, 0, 9, pending_repair=False, has_remap_failed=True)
        ),
    ),
    "riser": Condition(
        "has its cards on risers",
        "pcie_width_low",
        every_gpu(lambda gpu: replace(gpu, link=PcieLink(1, gpu.link.generation_max, 1, 16))),
    ),
    "gpu-hot": Condition(
        "has a card that is too hot", "gpu_hot", first_gpu(lambda gpu: replace(gpu, temperature_c=95))
    ),
    "power-limited": Condition(
        "has cards whose power is limited",
        "gpu_power_limited",
        every_gpu(lambda gpu: replace(gpu, power_limit_w=(gpu.power_default_w or 0) * 0.6)),
    ),
    "mig": Condition(
        "has cards that are split by MIG",
        "mig_on",
        every_gpu(
            lambda gpu: replace(
                gpu, is_mig_on=True, mig=(MigInstance(f"MIG-{gpu.uuid[4:]}", "1g.10gb", 9_728),)
            )
        ),
    ),
    "mig-mixed": Condition(
        "has one card that is split by MIG",
        "mig_mixed",
        all_of(
            every_gpu(lambda gpu: replace(gpu, is_mig_on=gpu.index == 0)),
        ),
    ),
    "display": Condition(
        "has a card that drives a display",
        "display_in_use",
        first_gpu(lambda gpu: replace(gpu, has_display=True)),
    ),
    "fabric": Condition(
        "has a fabric that is not trained yet",
        "fabric_not_ready",
        every_gpu(lambda gpu: replace(gpu, fabric_state="in_progress")),
    ),
    "nvlink": Condition(
        "has a card with a broken bridge",
        "nvlink_down",
        every_gpu(lambda gpu: replace(gpu, nvlinks=3 if gpu.index == 0 else 4, nvlinks_max=4)),
    ),
}
_RUNTIMES: Final[Mapping[str, Condition]] = {
    "docker-missing": Condition(
        "has no Docker",
        "docker_missing",
        all_of(without("usr/bin/docker"), lambda machine: replace(machine, docker=None)),
    ),
    "docker-down": Condition(
        "has a Docker that does not answer", "docker_down", with_docker(DockerDaemon(version=None))
    ),
    "docker-old": Condition(
        "has a Docker of 2017", "docker_old", with_docker(DockerDaemon(version="17.09.1-ce"))
    ),
    "docker-cgroupfs": Condition(
        "has a Docker that keeps control groups itself",
        "docker_cgroup_driver",
        with_docker(DockerDaemon(cgroup_driver="cgroupfs")),
    ),
    "docker-snap": Condition(
        "has a Docker from a snap",
        "docker_snap",
        lambda machine: replace(machine, tools=machine.tools - {"usr/bin/docker"} | {"snap/bin/docker"}),
    ),
    "toolkit-missing": Condition("has no NVIDIA container toolkit", "toolkit_missing", silent("nvidia-ctk")),
    "runtime-missing": Condition(
        "has a Docker that does not know the NVIDIA runtime",
        "nvidia_runtime_missing",
        with_docker(DockerDaemon(runtimes=("io.containerd.runc.v2", "runc"))),
    ),
    "cni-missing": Condition("has no CNI plugins", "cni_missing", without("opt/cni/bin")),
    "bridge-missing": Condition(
        "has no bridge module",
        "bridge_missing",
        all_of(
            with_text(MODULES, "br_netfilter 32768 0 - Live 0x0000000000000000\n", ""),
            with_text(MODULES, "bridge 32768 0 - Live 0x0000000000000000\n", ""),
        ),
    ),
}
_WORK: Final[Mapping[str, Condition]] = {
    "miner": Condition("mines", "miner_running", running(7001, "t-rex")),
    "hiveos": Condition("has HiveOS on its disk", "mining_os", with_file("hive/bin/miner", "#!/bin/sh\n")),
    "ionet-worker": Condition(
        "works for io.net already", "ionet_worker_present", running(7003, "io-worker-vc")
    ),
    "gpu-busy": Condition(
        "has cards that compute for somebody",
        "gpu_busy",
        every_gpu(
            lambda gpu: replace(
                gpu, utilization_percent=100, processes=(GpuProcess(7700 + gpu.index, "train", 4096),)
            )
        ),
    ),
    "interrupted": Condition(
        "was left by an apply that was cut off", "interrupted", with_file("var/lib/ionet/pending", "")
    ),
}
_CLONES: Final[Mapping[str, Condition]] = {
    "same-client-id": Condition(
        "has another's Nomad client id",
        "client_id_cloned",
        with_file("opt/nomad/data/client/client-id", "c10ec10e-c10e-c10e-c10e-c10ec10ec10e"),
    ),
    "same-machine-id": Condition(
        "has another's machine-id", "machine_id_doubled", with_file(MACHINE_ID, f"{'c10e' * 8}\n")
    ),
    "same-gpu": Condition(
        "shows a GPU that another shows too",
        "gpu_doubled",
        first_gpu(lambda gpu: replace(gpu, uuid="GPU-c10ec10e-c10e-c10e-c10e-c10ec10ec10e")),
    ),
    "same-mac": Condition(
        "has another's MAC address", "mac_doubled", with_file(f"{INTERFACE}/address", "02:c1:0e:c1:0e:c1\n")
    ),
    "same-hostname": Condition("has another's hostname", "hostname_doubled", with_file(HOSTNAME, "rig\n")),
    "same-address": Condition(
        "comes from another's address",
        "address_doubled",
        by_way(lambda way: replace(way, address="10.77.255.254")),
    ),
}
CATALOGUE: Final[Mapping[str, Condition]] = {
    **_SYSTEM,
    **_MACHINE,
    **_STORAGE,
    **_NETWORK,
    **_DRIVER,
    **_GPUS,
    **_RUNTIMES,
    **_WORK,
    **_CLONES,
}
"""Name → condition; the names go where the faults' go."""
