"""Cases of the checks of disks."""

from __future__ import annotations

from typing import Final

from ionetctl.core import host_paths
from ionetctl.core.model.host import Prepare, Reserve
from ionetctl.core.observed import Docker, Rig
from tests.checks.host_case import HIVE, Case, Fields, disk, disks


def shared(available_mib: int, mount: str = "/") -> Fields:
    """A stick: all places on one file system."""
    places = ("/", "/opt/nomad", host_paths.DATA_DIR, "/var/lib/ionet", "/var/lib/docker")
    return disks(*((path, available_mib) for path in places), mount=mount)


TOGETHER: Final = 512 + 256 + 10 * 1024 + 20 * 1024
GROWN: Final = "disk-expand grows it where its disk has room left; else install the system on a larger disk, or mount one at "
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
        ("disk_shared_low warn",),
        facts=shared(TOGETHER - 1),
        message=f"/ has {TOGETHER - 1} MiB free, {TOGETHER} MiB would do for Nomad, jobs and images together",
    ),
    Case(facts=shared(TOGETHER)),
    Case(
        ("disk_shared_low warn",),
        host={"reserve": Reserve(disk_mib=2)},
        facts=shared(TOGETHER + 1),
        message=f"/ has {TOGETHER + 1} MiB free, {TOGETHER + 2} MiB would do for Nomad, jobs and images together",
    ),
    Case(("disk_low block", "disk_low block", "disk_shared_low warn"), facts=shared(100)),
    Case(("disk_shared_low warn",), facts=shared(15_000)),
    Case(("jobs_disk_low warn", "docker_disk_low warn"), facts=shared(5_000, mount="")),
    Case(
        ("jobs_disk_low warn",),
        facts={
            "disks": (
                *disk(host_paths.DATA_DIR, 5_000, mount="/opt")["disks"],
                *disk("/var/lib/docker", 25_000, mount="/")["disks"],
            )
        },
    ),
    Case(("jobs_disk_low warn", "docker_missing warn"), facts=shared(5_000), machine={"docker": None}),
    Case(
        ("disk_shared_low warn", "docker_missing info"),
        host={"prepare": Prepare(docker=True)},
        facts=shared(5_000),
        machine={"docker": None},
    ),
    Case(("disk_shared_low warn", "docker_down warn"), facts=shared(5_000), machine={"docker": Docker(None)}),
    Case(
        (
            "disk_shared_low warn",
            "mining_os block",
        ),
        facts=shared(5_000),
        machine={"rig": HIVE},
        hint=GROWN + "/opt/nomad/data and Docker's data-root",
        besides="mining_os",
    ),
    Case(
        (
            "disk_shared_low warn",
            "mining_os block",
        ),
        facts=shared(5_000),
        machine={"rig": HIVE, "unpartitioned_mib": 7_300},
        hint="disk-expand would add the 7300 MiB of its disk that no partition has",
        besides="mining_os",
    ),
    Case(
        ("disk_shared_low warn",),
        facts=shared(5_000),
        machine={"unpartitioned_mib": 1_024},
        hint="growpart and resize2fs would add the 1024 MiB of its disk that no partition has",
    ),
    Case(
        (
            "disk_shared_low warn",
            "mining_os block",
        ),
        facts=shared(5_000),
        machine={"rig": HIVE, "unpartitioned_mib": 1_023},
        besides="mining_os",
    ),
    Case(
        (
            "disk_shared_low warn",
            "mining_os_unknown block",
        ),
        facts=shared(5_000),
        machine={"rig": Rig("RaveOS")},
    ),
    Case(
        (
            "disk_shared_low warn",
            "mining_os block",
        ),
        facts=shared(5_000, mount="/data"),
        machine={"rig": HIVE, "unpartitioned_mib": 7_300},
        besides="mining_os",
    ),
    Case(
        ("root_overlay block",),
        facts=disk("/", kind="overlay"),
        message="/: a file system of the kind overlay, which the next boot makes anew",
    ),
    Case(("root_overlay block",), facts=disk("/var/lib/ionet", kind="tmpfs")),
    Case(facts=disk("/var/lib/docker", kind="overlay")),
)
