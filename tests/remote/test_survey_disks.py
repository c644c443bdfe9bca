"""What the survey finds of mounts, and of the disk that the system lies on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.facts import Disk
from tests.remote.rehearsal import shim

if TYPE_CHECKING:
    from tests.remote.rehearsal import Host


def test_mounts_of_odd_names_are_told(one_host: Host) -> None:
    """A mount's name may have spaces and tabs; what the first error does to the root is among its options."""
    row = "/dev/sda1 1000 1 2097152 1% "
    rows = [f"{row}/", f"{row}/my data", f"{row}/odd\tname", *[f"{row}/"] * 6]
    one_host.write(
        "/standin/df", "\n".join(["Filesystem 1024-blocks Used Available Capacity Mounted on", *rows])
    )
    shim(one_host, "df", f"cat '{one_host.path('/standin/df')}'")
    mounts = ["/ ext4 rw,errors=remount-ro", r"/my\040data xfs ro", r"/odd\011name ext4 rw,noexec"]
    one_host.write("/proc/mounts", "".join(f"/dev/sda1 {mount} 0 0\n" for mount in mounts))
    root, first, second, *_ = one_host.survey().disks
    assert root == Disk(
        "/", 2048, "ext4", is_read_only=False, is_noexec=False, mount="/", remounts_read_only=True
    )
    assert (first.kind, first.is_read_only, first.mount) == ("xfs", True, r"/my\040data")
    assert (second.is_noexec, second.mount) == (True, r"/odd\011name")


def test_a_place_that_fails_takes_no_other_with_it(host: Host) -> None:
    """Where ``df`` ends badly for one of them, each is asked for by itself."""
    host.path("/tmp").mkdir(exist_ok=True)
    row = "/dev/sda1 1000 1 2097152 1% /"
    script = (
        f'case "$*" in *"{host.path("/tmp")} "*) status=1 ;; *) status=0 ;; esac\n'
        f"echo Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        f'shift; for each; do [ "$each" = "{host.path("/tmp")}" ] || echo "{row}"; done; exit "$status"'
    )
    shim(host, "df", script)
    assert [disk.path for disk in host.survey().disks] == [
        *("/", "/opt/nomad", "/opt/nomad/data", "/etc/nomad.d", "/var/lib/ionet", "/usr/local/bin"),
        *("/var/tmp", "/var/log"),
    ]


def disk_of(host: Host, name: str, partition: str, *, bus: str, **sizes: int) -> None:
    """A disk with partitions of these sizes in sectors, below a bus, on whose ``partition`` the root lies."""
    device = f"/sys/devices/pci0000:00/{bus}/block/{name}"
    host.write(f"{device}/removable", "0\n")
    host.write(f"{device}/size", f"{sizes.pop('whole')}\n")
    for number, (part, size) in enumerate(sizes.items(), 1):
        host.write(f"{device}/{part}/size", f"{size}\n")
        host.write(f"{device}/{part}/partition", f"{number}\n")
    host.path("/sys/class/block").mkdir(parents=True)
    for each in (name, *sizes):
        target = device if each == name else f"{device}/{each}"
        host.path(f"/sys/class/block/{each}").symlink_to(f"../../{target.removeprefix('/sys/')}")
    row = f"/dev/{partition} 1000 1 2097152 1% /"
    rows = [row] * 9
    host.write("/standin/df", "\n".join(["Filesystem 1024-blocks Used Available Capacity Mounted on", *rows]))
    shim(host, "df", f"cat '{host.path('/standin/df')}'")


GIB = 2 << 20
"""In sectors."""


@pytest.mark.parametrize(
    ("bus", "expected"),
    [
        ("0000:00:14.0/usb1/1-4", True),
        ("mmc_host/mmc0/mmc0:0001", True),
        ("0000:00:17.0/ata1/host0", False),
    ],
)
def test_a_stick_is_told(host: Host, bus: str, expected: bool) -> None:  # noqa: FBT001
    """A disk on USB or in a card reader is one, and what its partitions leave over is known."""
    disk_of(host, "sda", "sda3", bus=bus, whole=16 * GIB, sda1=GIB // 32, sda2=GIB // 32, sda3=7 * GIB)
    machine = host.survey().machine
    assert (machine.is_on_stick, machine.unpartitioned_mib) == (expected, 9 * 1024 - 64)


def test_a_removable_disk_is_a_stick(one_host: Host) -> None:
    """The kernel says that of some; the root may lie on a whole disk, of which nothing is left over."""
    disk_of(one_host, "vda", "vda", bus="virtio1", whole=16 * GIB)
    one_host.write("/sys/class/block/vda/removable", "1\n")
    machine = one_host.survey().machine
    assert (machine.is_on_stick, machine.unpartitioned_mib) == (True, None)


@pytest.mark.parametrize("size", ["", "-1", "07", "1e9", "9" * 16, "0x10", "$(id)"])
def test_a_size_of_nonsense_is_not_known(host: Host, size: str) -> None:
    """What is no number is not calculated with: of a disk that makes the rest unknown, of a partition it is left out."""
    disk_of(host, "sda", "sda1", bus="ata1", whole=2 * GIB, sda1=GIB, sda2=GIB // 2)
    host.write("/sys/class/block/sda2/size", f"{size}\n")
    assert host.survey().machine.unpartitioned_mib == 1024
    host.write("/sys/class/block/sda/size", f"{size}\n")
    assert host.survey().machine.unpartitioned_mib is None


def test_partitions_that_exceed_their_disk_leave_an_unknown_rest(host: Host) -> None:
    """Less than nothing is no number of the protocol."""
    disk_of(host, "sda", "sda1", bus="ata1", whole=2 * GIB, sda1=3 * GIB)
    assert host.survey().machine.unpartitioned_mib is None


@pytest.mark.parametrize("device", ["overlay", "/dev/mapper/vg-root", "/dev/root", "../sda", "tmpfs"])
def test_a_root_on_no_disk_has_nothing_left_over(host: Host, device: str) -> None:
    """Only what the kernel lists as a block device is looked at."""
    disk_of(host, "sda", "sda1", bus="ata1", whole=2 * GIB, sda1=GIB)
    shim(host, "df", f"sed 's,/dev/sda1,{device},' '{host.path('/standin/df')}'")
    machine = host.survey().machine
    assert (machine.is_on_stick, machine.unpartitioned_mib) == (None, None)
