"""Checks of disks: free space and mount options where we write, and free space where jobs will run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found
from ionetctl.core import host_paths
from ionetctl.core.model.outcome import Severity
from ionetctl.mining import system_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Disk, Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

FREE_MIB: Final[dict[str, int]] = {
    "/opt/nomad": 512,
    "/etc/nomad.d": 16,
    "/var/lib/ionet": 256,
    "/usr/local/bin": 1,
}
"""Space that an enrolment needs: the releases unpacked (110 and 21 MB) and packed once more in staging."""
EXECUTABLE: Final = frozenset({"/opt/nomad", "/usr/local/bin"})
JOBS_MIB: Final = 10 * 1024
IMAGES_MIB: Final = 20 * 1024
GROWTH_MIB: Final = 1024
"""A smaller rest of a disk is not worth growing into."""
LIVE_IMAGE_KINDS: Final = frozenset({"overlay", "overlayfs", "squashfs", "tmpfs", "aufs", "ramfs", "rootfs"})
"""File systems of live images: what is written there is in memory, or not at all."""

DISK_READ_ONLY: Final = Code(
    "disk_read_only",
    Severity.BLOCK,
    "a directory that is written to is on a read-only file system",
    looks_at="The mounts of /opt/nomad, /etc/nomad.d, /var/lib/ionet and /usr/local/bin.",
    matters=(
        "Neither the enrolment nor the agent could write there. A file system that became read-only by itself is a "
        "failing disk."
    ),
    remedy="remount it writable; an overlay or live image forgets the enrolment at its next boot",
    may_be_waived=False,
)

DISK_LOW: Final = Code(
    "disk_low",
    Severity.BLOCK,
    "too little room for the releases",
    looks_at="Free room where releases, configuration and staging go: 512 MiB below /opt/nomad, 256 MiB in /var/lib/ionet.",
    matters="The releases are unpacked (110 and 21 MB) beside the old ones before they are switched.",
    remedy="free some room, for example old logs and package caches",
    may_be_waived=False,
)

DISK_NOEXEC: Final = Code(
    "disk_noexec",
    Severity.BLOCK,
    "programs would lie on a file system mounted noexec",
    looks_at="The mount options of /opt/nomad and /usr/local/bin.",
    matters="The Nomad program lies there and could not be started.",
    remedy="mount it without noexec: the Nomad program lies there",
    may_be_waived=False,
)


def mount_options(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what we install can be written, and started."""
    for disk in facts.disks:
        if disk.is_read_only and disk.path in FREE_MIB:
            yield found(DISK_READ_ONLY, f"{disk.path} is on a read-only {disk.kind} file system")
        if disk.is_noexec and disk.path in EXECUTABLE:
            yield found(DISK_NOEXEC, f"{disk.path} is on a file system mounted noexec")


def free_space(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the releases fit; what cannot be written has its own finding."""
    for disk in facts.disks:
        needed = FREE_MIB.get(disk.path, 0)
        if disk.available_mib < needed and not disk.is_read_only:
            message = f"{disk.path} has {disk.available_mib} MiB free, {needed} MiB are needed"
            yield found(DISK_LOW, message)


JOBS_DISK_LOW: Final = Code(
    "jobs_disk_low",
    Severity.WARN,
    "little room where jobs will run",
    looks_at="Free room at Nomad's data directory, /opt/nomad/data: 10 GiB, and what reserve.disk_mib holds back on top.",
    matters=(
        "Each job has its working directory there. Nomad places jobs by what is free, so few will come, and those that "
        "do fill the disk that the system runs from."
    ),
    remedy="free some room, or mount a larger disk at /opt/nomad/data",
)


def free_space_for_jobs(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs will have space for their files."""
    needed = _jobs_mib(host)
    for disk in _disks_apart(host, facts):
        if disk.path == host_paths.DATA_DIR and disk.available_mib < needed:
            message = f"{disk.path}, where jobs run, has {disk.available_mib} MiB free, {needed} MiB would do"
            yield found(JOBS_DISK_LOW, message)


DOCKER_DISK_LOW: Final = Code(
    "docker_disk_low",
    Severity.WARN,
    "little room for container images",
    looks_at="Free room at Docker's root directory: 20 GiB.",
    matters="Images with CUDA are 5 to 15 GB each; a pull that fills the disk fails, and with it the job.",
    remedy="docker system prune, or move data-root in /etc/docker/daemon.json to a larger disk",
)


def free_space_for_images(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Docker will have space for images."""
    docker = facts.machine.docker
    for disk in _disks_apart(host, facts):
        if docker and disk.path == docker.root_dir and disk.available_mib < IMAGES_MIB:
            message = (
                f"{disk.path}, where images lie, has {disk.available_mib} MiB free, {IMAGES_MIB} MiB would do"
            )
            yield found(DOCKER_DISK_LOW, message)


DISK_SHARED_LOW: Final = Code(
    "disk_shared_low",
    Severity.WARN,
    "too little room for Nomad, jobs and container images together",
    looks_at=(
        "Free room where Nomad's data directory and Docker's root directory are on one file system (or will be, with "
        "prepare: {docker: true}): what is asked of each place, together 31 GiB, and reserve.disk_mib on top."
    ),
    matters=(
        "Each would fit by itself. The first CUDA image (5 to 15 GB) and a job's files fill a small stick, from which the "
        "system runs too: then the agent, Docker and the host's log stop at once."
    ),
    remedy="install the system on a larger disk, or mount one at /opt/nomad/data and Docker's data-root",
)


def free_space_for_all(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what shares one file system fits on it together."""
    disk = _shared_disk(host, facts)
    if disk is None:
        return
    ours = sum(FREE_MIB.get(other.path, 0) for other in facts.disks if other.mount == disk.mount)
    needed = ours + _jobs_mib(host) + IMAGES_MIB
    if disk.available_mib < needed:
        message = f"{disk.mount} has {disk.available_mib} MiB free, {needed} MiB would do for Nomad, jobs and images together"
        yield found(DISK_SHARED_LOW, message, hint=_how_to_grow(facts) if disk.mount == "/" else "")


def _shared_disk(host: Host, facts: Facts) -> Disk | None:
    """The disk of jobs where images are on the same file system, or will be once prepare has installed Docker."""
    docker = facts.machine.docker
    if docker is None and not host.prepare.docker:
        return None
    by_path = {disk.path: disk for disk in facts.disks}
    jobs = by_path.get(host_paths.DATA_DIR)
    images = by_path.get((docker and docker.root_dir) or host_paths.OUR_DIR)
    return jobs if jobs and images and jobs.mount and jobs.mount == images.mount else None


def _disks_apart(host: Host, facts: Facts) -> tuple[Disk, ...]:
    """The disks to be looked at one by one: none where jobs and images share one."""
    return () if _shared_disk(host, facts) else facts.disks


def _jobs_mib(host: Host) -> int:
    return JOBS_MIB + (host.reserve.disk_mib or 0)


def _how_to_grow(facts: Facts) -> str:
    """How the root file system gets the rest of its disk; empty where there is none, or nobody knows a way."""
    unused_mib = facts.machine.unpartitioned_mib
    system = system_of(facts.machine.rig)
    command = system.grow_disk if system else None
    if unused_mib is None:
        return (
            f"{command} grows it where its disk has room left; else {DISK_SHARED_LOW.remedy}"
            if command
            else ""
        )
    if unused_mib < GROWTH_MIB:
        return ""
    return f"{command or 'growpart and resize2fs'} would add the {unused_mib} MiB of its disk that no partition has"


ROOT_OVERLAY: Final = Code(
    "root_overlay",
    Severity.BLOCK,
    "the root file system forgets what is written to it",
    looks_at="The kind of file system of / and of what an enrolment writes: overlay, squashfs, tmpfs, aufs, ramfs.",
    matters=(
        "Live images and diskless rigs keep changes in memory. The next boot is the old system: the enrolment is gone, a "
        "mining system mines again, and the node stays behind as down. To enrol at each boot is not supported. Some "
        "systems overlay a disk that stays; only their admin can know."
    ),
    remedy=(
        "install the system on a disk and enrol that, or keep /etc, /opt/nomad, /var/lib and /usr/local on one; waive this "
        "where what is written to the overlay stays"
    ),
)


def live_image(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what is written will still be there after the next boot."""
    in_memory = {
        disk.path: disk.kind
        for disk in facts.disks
        if disk.kind in LIVE_IMAGE_KINDS and (disk.path == "/" or disk.path in FREE_MIB)
    }
    if in_memory:
        kinds = " and ".join(sorted(set(in_memory.values())))
        message = f"{', '.join(in_memory)}: a file system of the kind {kinds}, which the next boot makes anew"
        yield found(ROOT_OVERLAY, message)
