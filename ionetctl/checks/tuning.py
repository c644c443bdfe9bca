"""Checks of how the system was tuned: for mining, for a stick that is to last, or for benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed
from ionetctl.core.model.outcome import Severity
from ionetctl.mining import system_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

IN_MEMORY: Final = "tmpfs"
LOGS: Final = "/var/log"
TEMPORARY: Final = frozenset({"/tmp", "/var/tmp"})  # noqa: S108 - looked at, never written to
TEMPORARY_MIB: Final = 1024

LOGS_IN_MEMORY: Final = Code(
    "logs_in_memory",
    Severity.INFO,
    "logs are kept in memory",
    looks_at="Whether /var/log is a file system in memory of its own.",
    matters=(
        "At a reboot all that agent, driver and kernel logged is gone, so nobody can tell why a node went away; and what a "
        "failed start shows of its log may be short. The logs take memory from jobs."
    ),
    remedy="take /var/log out of /etc/fstab, or send the logs to another machine",
)


def logs(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether logs are gone after a reboot; a whole system in memory has its own finding."""
    for disk in facts.disks:
        if disk.path == LOGS and disk.kind == IN_MEMORY and disk.mount != "/":
            system = system_of(facts.machine.rig)
            command = system.logs_to_disk if system else None
            hint = f"{command}, then a reboot, brings them back to the disk" if command else ""
            yield found(LOGS_IN_MEMORY, f"{LOGS} is in memory: a reboot forgets it", hint=hint)


TMP_SMALL: Final = Code(
    "tmp_small",
    Severity.WARN,
    "a small file system in memory holds temporary files",
    looks_at="Free room in /tmp and /var/tmp where they are in memory: 1 GiB.",
    matters=(
        "NVIDIA's installer, the build of kernel modules and update-initramfs unpack hundreds of megabytes there, and jobs "
        "outside containers write there: they end with 'No space left on device' on a disk that has room."
    ),
    remedy="mount -o remount,size=2G, and the same in /etc/fstab; or take it out of there to have it on the disk",
)


def temporary_files(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether temporary files have room; on a disk they share it with all else."""
    small = [
        f"{disk.path} ({disk.available_mib} MiB free)"
        for disk in facts.disks
        if disk.path in TEMPORARY and disk.kind == IN_MEMORY and disk.available_mib < TEMPORARY_MIB
    ]
    if small:
        yield found(TMP_SMALL, f"in memory and small: {listed(small)}")


REMOUNT_READ_ONLY: Final = Code(
    "remount_read_only",
    Severity.INFO,
    "the first fault of the stick makes the system read-only",
    looks_at="The option errors=remount-ro of the root file system, where that is on a USB device or a memory card.",
    matters=(
        "It saves the data, and stops the node: jobs cannot write, the agent cannot keep its state, and the host still "
        "answers. Sticks wear out by container images and logs."
    ),
    remedy="move the system to an SSD, or /opt/nomad and Docker's data-root; dmesg shows why it became read-only",
)


def remounts(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a fault of a stick would turn the host read-only."""
    for disk in facts.disks:
        if disk.path == "/" and disk.remounts_read_only and facts.machine.is_on_stick:
            yield found(REMOUNT_READ_ONLY, "the system is on a stick, and read-only from its first fault on")


MITIGATIONS_OFF: Final = Code(
    "mitigations_off",
    Severity.WARN,
    "the kernel does not guard against processor faults",
    looks_at="mitigations=off on the kernel's command line (/proc/cmdline).",
    matters=(
        "With Spectre, Meltdown and their kin left open a job can read the memory of other jobs and of the host, the "
        "node's key among it. Mining systems switch the guard off for speed that jobs on GPUs do not notice."
    ),
    remedy="take mitigations=off out of /etc/default/grub, run update-grub, reboot; or waive it where all jobs are yours",
)


def mitigations(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs are kept from each other's memory."""
    if facts.machine.has_mitigations is False:
        yield found(MITIGATIONS_OFF, "the kernel was started with mitigations=off")
