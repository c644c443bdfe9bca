"""Checks of disks: room and rights where we write, and room where jobs will run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found
from ionetctl.core import host_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

FREE_MIB: Final[dict[str, int]] = {
    "/opt/nomad": 512,
    "/etc/nomad.d": 16,
    "/var/lib/ionet": 256,
    "/usr/local/bin": 1,
}
"""Room that an enrolment needs: the releases unpacked (110 and 21 MB) and packed once more in staging."""
EXECUTABLE: Final = frozenset({"/opt/nomad", "/usr/local/bin"})
JOBS_MIB: Final = 10 * 1024
IMAGES_MIB: Final = 20 * 1024
FORGETFUL: Final = frozenset({"overlay", "overlayfs", "squashfs", "tmpfs", "aufs", "ramfs", "rootfs"})
"""File systems of live images: what is written there is in memory, or not at all."""


def rights(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what we install can be written, and started."""
    for disk in facts.disks:
        if disk.is_read_only and disk.path in FREE_MIB:
            yield found("disk_read_only", f"{disk.path} is on a read-only {disk.kind} file system")
        if disk.is_noexec and disk.path in EXECUTABLE:
            yield found("disk_noexec", f"{disk.path} is on a file system mounted noexec")


def room(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the releases fit; what cannot be written has its own finding."""
    for disk in facts.disks:
        needed = FREE_MIB.get(disk.path, 0)
        if disk.available_mib < needed and not disk.is_read_only:
            message = f"{disk.path} has {disk.available_mib} MiB free, {needed} MiB are needed"
            yield found("disk_low", message)


def room_for_jobs(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs will have room for their files."""
    needed = JOBS_MIB + (host.reserve.disk_mib or 0)
    for disk in facts.disks:
        if disk.path == host_paths.DATA_DIR and disk.available_mib < needed:
            message = f"{disk.path}, where jobs run, has {disk.available_mib} MiB free, {needed} MiB would do"
            yield found("jobs_disk_low", message)


def room_for_images(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Docker will have room for images."""
    docker = facts.machine.docker
    for disk in facts.disks:
        if docker and disk.path == docker.root_dir and disk.available_mib < IMAGES_MIB:
            message = (
                f"{disk.path}, where images lie, has {disk.available_mib} MiB free, {IMAGES_MIB} MiB would do"
            )
            yield found("docker_disk_low", message)


def lasting(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what is written will be there after the next boot."""
    forgetful = {
        disk.path: disk.kind
        for disk in facts.disks
        if disk.kind in FORGETFUL and (disk.path == "/" or disk.path in FREE_MIB)
    }
    if forgetful:
        kinds = " and ".join(sorted(set(forgetful.values())))
        message = f"{', '.join(forgetful)}: a file system of the kind {kinds}, which a live image forgets"
        yield found("root_overlay", message)
