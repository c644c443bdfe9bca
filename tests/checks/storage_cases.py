"""Cases of the checks of disks."""

from __future__ import annotations

from typing import Final

from ionetctl.core import host_paths
from ionetctl.core.model.host import Reserve
from tests.checks.host_case import Case, disk

CASES: Final = (
    Case(
        ("disk_read_only block",),
        facts=disk(is_read_only=True),
        message="/opt/nomad is on a read-only ext4 file system",
    ),
    Case(("disk_read_only block",), facts=disk(available_mib=0, is_read_only=True)),
    Case(facts=disk("/", is_read_only=True)),
    Case(
        ("disk_low block",),
        facts=disk(available_mib=511),
        message="/opt/nomad has 511 MiB free, 512 MiB are needed",
    ),
    Case(facts=disk(available_mib=512)),
    Case(facts=disk("/somewhere", 0)),
    Case(("disk_noexec block",), facts=disk(is_noexec=True)),
    Case(facts=disk("/etc/nomad.d", 20, is_noexec=True)),
    Case(
        ("jobs_disk_low warn",),
        facts=disk(host_paths.DATA_DIR, 10_239),
        message="/opt/nomad/data, where jobs run, has 10239 MiB free, 10240 MiB would do",
    ),
    Case(facts=disk(host_paths.DATA_DIR, 10_240)),
    Case(
        ("jobs_disk_low warn",),
        host={"reserve": Reserve(disk_mib=1)},
        facts=disk(host_paths.DATA_DIR, 10_240),
    ),
    Case(
        ("docker_disk_low warn",),
        facts=disk("/var/lib/docker", 20_479),
        message="/var/lib/docker, where images lie, has 20479 MiB free, 20480 MiB would do",
    ),
    Case(facts=disk("/var/lib/docker", 20_480)),
    Case(("docker_missing warn",), facts=disk("/var/lib/docker", 0), machine={"docker": None}),
    Case(facts=disk("/srv", 0)),
    Case(
        ("root_overlay warn",),
        facts=disk("/", kind="overlay"),
        message="/: a file system of the kind overlay, which a live image forgets",
    ),
    Case(("root_overlay warn",), facts=disk("/var/lib/ionet", kind="tmpfs")),
    Case(facts=disk("/var/lib/docker", kind="overlay")),
)
