"""Conditions of a host's operating system, processor, memory and disks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.lab.faults.changes import (
    all_of,
    by_standin_program,
    with_file,
    with_mount,
    with_output,
    with_text,
)
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import ARCHITECTURE, MEMINFO, MOUNTS, OS_KERNEL, OS_RELEASE, ROOT_DEVICE
from ionetctl.lab.host.standin_files import FREE_KIB_FILE, SYSTEMD_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM: Final[Mapping[str, Condition]] = {
    "not-root": Condition("has a sudo that makes nobody root", "not_root", by_standin_program),
    "arm64": Condition(
        "is an arm64 machine with GPUs", "gpu_plugin_missing", with_file(ARCHITECTURE, "aarch64\n")
    ),
    "riscv64": Condition(
        "has a processor without a Nomad", "architecture_unsupported", with_file(ARCHITECTURE, "riscv64\n")
    ),
    "no-systemd": Condition("boots with another init", "systemd_missing", with_file("proc/1/comm", "init\n")),
    "systemd-old": Condition("has a systemd of 2016", "systemd_old", with_file(SYSTEMD_FILE, "229\n")),
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
        "has no gzip", "tool_missing", lambda machine: replace(machine, missing_programs=frozenset({"gzip"}))
    ),
    "clock-apart": Condition("has a clock a minute ahead", "clock_apart", by_standin_program),
    "unsynchronized": Condition(
        "keeps its clock by nobody's",
        "clock_unsynchronized",
        with_output("timedatectl", "NTP=no\nNTPSynchronized=no\n"),
    ),
    "reboot-pending": Condition(
        "waits for a reboot",
        "reboot_pending",
        with_file("run/reboot-required", "*** System restart required ***\n"),
    ),
}

MACHINE: Final[Mapping[str, Condition]] = {
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

TUNING: Final[Mapping[str, Condition]] = {
    "logs-in-memory": Condition(
        "keeps its logs in memory", "logs_in_memory", with_mount("/var/log", "tmpfs", 4 << 20)
    ),
    "tmp-in-memory": Condition(
        "has 100 MB for temporary files",
        "tmp_small",
        with_mount("/tmp", "tmpfs", 100 << 10),  # noqa: S108
    ),
    "stick": Condition(
        "boots from a stick that becomes read-only at its first fault",
        "remount_read_only",
        all_of(
            with_text(MOUNTS, "ext4 rw", "ext4 rw,errors=remount-ro"),
            with_file(f"{ROOT_DEVICE}/removable", "1\n"),
        ),
    ),
    "mitigations-off": Condition(
        "does not guard against processor faults",
        "mitigations_off",
        with_file("proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz mitigations=off\n"),
    ),
}

STORAGE: Final[Mapping[str, Condition]] = {
    "root-read-only": Condition(
        "has a root mounted read-only", "disk_read_only", with_text(MOUNTS, "ext4 rw", "ext4 ro")
    ),
    "root-full": Condition("has hardly any room left", "disk_low", with_file(FREE_KIB_FILE, f"{64 << 10}\n")),
    "root-noexec": Condition(
        "has a root mounted noexec", "disk_noexec", with_text(MOUNTS, "ext4 rw", "ext4 rw,noexec")
    ),
    "root-small": Condition(
        "has little room for jobs and images together",
        "disk_shared_low",
        with_file(FREE_KIB_FILE, f"{25 << 20}\n"),
    ),
    "jobs-crowded": Condition(
        "has no room for jobs", "jobs_disk_low", with_mount("/opt/nomad/data", "ext4", 4 << 20)
    ),
    "images-crowded": Condition(
        "has little room for images", "docker_disk_low", with_mount("/var/lib/docker", "ext4", 15 << 20)
    ),
    "live-image": Condition(
        "runs off a live image",
        "root_overlay",
        with_text(MOUNTS, "/dev/nvme0n1p2 / ext4", "overlay / overlay"),
    ),
}
