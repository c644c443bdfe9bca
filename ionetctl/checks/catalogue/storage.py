"""Codes about disks: room and rights where we write, and room where jobs will run."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "disk_read_only",
        Severity.BLOCK,
        "a directory that is written to is on a read-only file system",
        "The mounts of /opt/nomad, /etc/nomad.d, /var/lib/ionet and /usr/local/bin.",
        "Neither the enrolment nor the agent could write there. A file system that became read-only by itself is a "
        "failing disk.",
        "remount it writable; an overlay or live image forgets the enrolment at its next boot",
        may_be_waived=False,
    ),
    Row(
        "disk_low",
        Severity.BLOCK,
        "too little room for the releases",
        "Free room where releases, configuration and staging go: 512 MiB below /opt/nomad, 256 MiB in /var/lib/ionet.",
        "The releases are unpacked (110 and 21 MB) beside the old ones before they are switched.",
        "free some room, for example old logs and package caches",
        may_be_waived=False,
    ),
    Row(
        "disk_noexec",
        Severity.BLOCK,
        "programs would lie on a file system mounted noexec",
        "The mount options of /opt/nomad and /usr/local/bin.",
        "The Nomad program lies there and could not be started.",
        "mount it without noexec: the Nomad program lies there",
        may_be_waived=False,
    ),
    Row(
        "jobs_disk_low",
        Severity.WARN,
        "little room where jobs will run",
        "Free room at Nomad's data directory, /opt/nomad/data: 10 GiB, and what reserve.disk_mib holds back on top.",
        "Each job has its working directory there. Nomad places jobs by what is free, so few will come, and those that "
        "do fill the disk that the system runs from.",
        "free some room, or mount a larger disk at /opt/nomad/data",
    ),
    Row(
        "docker_disk_low",
        Severity.WARN,
        "little room for container images",
        "Free room at Docker's root directory: 20 GiB.",
        "Images with CUDA are 5 to 15 GB each; a pull that fills the disk fails, and with it the job.",
        "docker system prune, or move data-root in /etc/docker/daemon.json to a larger disk",
    ),
    Row(
        "root_overlay",
        Severity.WARN,
        "the root file system forgets what is written to it",
        "The kind of file system of / and of what an enrolment writes: overlay, squashfs, tmpfs, aufs, ramfs.",
        "Live images keep changes in memory: at the next boot the enrolment is gone, and the host comes back as another "
        "node or not at all. Some systems overlay a disk that stays; only their admin can know.",
        "install the system on a disk, or keep /etc, /opt/nomad, /var/lib and /usr/local on one; waive this where the "
        "overlay stays",
    ),
)
