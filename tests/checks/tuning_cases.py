"""Cases of the checks of how a system was tuned."""

from __future__ import annotations

from typing import Final

from ionetctl.core.observed import Rig
from tests.checks.host_case import HIVE, Case, disk, disks

CASES: Final = (
    Case(
        ("logs_in_memory info",),
        facts=disk("/var/log", kind="tmpfs", mount="/var/log"),
        message="/var/log is in memory: a reboot forgets it",
    ),
    Case(
        (
            "logs_in_memory info",
            "mining_os block",
        ),
        facts=disk("/var/log", kind="tmpfs", mount="/var/log"),
        machine={"rig": HIVE},
        hint="logs-on, then a reboot, brings them back to the disk",
        besides="mining_os",
    ),
    Case(
        (
            "logs_in_memory info",
            "mining_os block",
        ),
        facts=disk("/var/log", kind="tmpfs", mount="/var"),
        machine={"rig": Rig("minerstat")},
        besides="mining_os",
    ),
    Case(facts=disk("/var/log", mount="/var/log")),
    Case(facts=disk("/var/log", kind="tmpfs", mount="/")),
    Case(facts=disk("/srv", kind="tmpfs", mount="/srv")),
    Case(
        ("tmp_small warn",),
        facts=disks(("/tmp", 97), ("/var/tmp", 1_023), kind="tmpfs"),
        message="in memory and small: /tmp (97 MiB free) and /var/tmp (1023 MiB free)",
    ),
    Case(
        ("tmp_small warn",),
        facts=disks(("/tmp", 97), ("/var/tmp", 1_024), kind="tmpfs"),
        message="in memory and small: /tmp (97 MiB free)",
    ),
    Case(facts=disk("/tmp", 97)),
    Case(facts=disk("/run", 97, kind="tmpfs")),
    Case(
        ("remount_read_only info",),
        facts=disk("/", remounts_read_only=True),
        machine={"is_on_stick": True},
        message="the system is on a stick, and read-only from its first fault on",
    ),
    Case(facts=disk("/", remounts_read_only=True)),
    Case(facts=disk("/", remounts_read_only=True), machine={"is_on_stick": None}),
    Case(facts=disk("/"), machine={"is_on_stick": True}),
    Case(facts=disk("/opt/nomad", remounts_read_only=True), machine={"is_on_stick": True}),
    Case(
        ("mitigations_off warn",),
        machine={"has_mitigations": False},
        message="the kernel was started with mitigations=off",
    ),
    Case(machine={"has_mitigations": None}),
)
