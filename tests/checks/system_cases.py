"""Cases of the checks of the system."""

from __future__ import annotations

from typing import Final

from tests.checks.host_case import Case, promised

CASES: Final = (
    Case(("not_root block",), facts={"is_root": False}),
    Case(
        ("host_locked block",),
        facts={"lock_owner": "ops@ctl (rollout r-1)"},
        message="ops@ctl (rollout r-1) is at work on this host",
    ),
    Case(
        ("host_locked block",),
        facts={"lock_owner": "ops@ctl (rollout r-1)", "lock_started_at": "2026-11-23T01:00:00Z"},
        message="ops@ctl (rollout r-1) is at work on this host since 2026-11-23T01:00:00Z",
    ),
    Case(("architecture_unsupported block",), facts={"architecture": "riscv64"}),
    Case(("gpu_plugin_missing block",), host=promised(count=2), facts={"architecture": "aarch64"}),
    Case(facts={"architecture": "aarch64"}),
    Case(host=promised(count=0), facts={"architecture": "aarch64", "gpus": ()}, machine={"gpus_on_bus": 0}),
    Case(("systemd_missing block",), facts={"init": "openrc"}),
    Case(("systemd_missing block",), facts={"init": "openrc"}, machine={"systemd_version": 200}),
    Case(("systemd_old warn",), machine={"systemd_version": 244}),
    Case(machine={"systemd_version": 245}),
    Case(machine={"systemd_version": None}),
    Case(
        ("os_untested warn",),
        facts={"os_id": "gentoo", "os_name": "Gentoo Linux"},
        message="Gentoo Linux is not among the systems that ionetctl is tested on",
        hint="tested: debian, ubuntu",
    ),
    Case(
        ("os_untested warn",),
        facts={"os_id": "gentoo", "os_name": ""},
        message="gentoo is not among the systems that ionetctl is tested on",
        hint="tested: debian, ubuntu",
    ),
    Case(("os_unsupported warn",), facts={"os_version": "18.04"}, message="Ubuntu 24.04.3 LTS is too old"),
    Case(facts={"os_version": "20.04"}),
    Case(facts={"os_version": ""}),
    Case(
        ("os_untested warn", "os_unsupported warn"),
        facts={"os_id": "centos", "os_version": "7"},
        hint="tested: debian, ubuntu",
    ),
    Case(("os_untested warn",), facts={"os_id": "arch", "os_version": "1"}, hint="tested: debian, ubuntu"),
    Case(("kernel_old warn",), facts={"kernel": "4.14.11"}, message="kernel 4.14.11 is older than 4.15"),
    Case(facts={"kernel": "4.15.0-20-generic"}),
    Case(facts={"kernel": "custom"}),
    Case(
        ("cgroups_unusable block",),
        machine={"cgroup_controllers": ()},
        message="no control group controller (v2) can be used",
    ),
    Case(
        ("cgroup_controllers_missing block",),
        machine={"cgroup_controllers": ("cpuset", "cpu", "pids")},
        message="control group controllers (v2) cannot be used: io, memory",
    ),
    Case(machine={"cgroups": "v1", "cgroup_controllers": ("cpu", "cpuset", "freezer", "memory")}),
    Case(machine={"cgroups": "hybrid", "cgroup_controllers": ("cpu", "cpuset", "freezer", "memory")}),
    Case(machine={"cgroup_controllers": None}),
    Case(machine={"cgroups": None, "cgroup_controllers": ()}),
    Case(
        ("tool_missing block",),
        facts={"has_tar": False},
        message="tar cannot be found",
        hint="install the package tar on the host",
    ),
    Case(
        ("tool_missing block",),
        facts={"has_gzip": False},
        message="gzip cannot be found",
        hint="install the package gzip on the host",
    ),
    Case(
        ("tool_missing block",),
        facts={"has_tar": False, "has_gzip": False},
        message="tar and gzip cannot be found",
        hint="install the package tar and gzip on the host",
    ),
    Case(facts={"clock_offset_s": 29.9}),
    Case(facts={"clock_offset_s": -29.9}),
    Case(facts={"clock_offset_s": None}),
    Case(
        ("clock_off warn",),
        facts={"clock_offset_s": 30.0},
        message="its clock is 30 s ahead of the controller's",
    ),
    Case(
        ("clock_off warn",),
        facts={"clock_offset_s": -31.4},
        message="its clock is 31 s behind the controller's",
    ),
    Case(("clock_off warn",), facts={"clock_offset_s": 239.9}),
    Case(("clock_off block",), facts={"clock_offset_s": -240.0}),
    Case(("clock_unsynchronized warn",), machine={"is_time_synchronized": False, "is_ntp_on": False}),
    Case(("clock_unsynchronized warn",), machine={"is_time_synchronized": False, "is_ntp_on": None}),
    Case(machine={"is_time_synchronized": False, "is_ntp_on": True}),
    Case(machine={"is_time_synchronized": None, "is_ntp_on": None}),
    Case(("reboot_pending warn",), machine={"needs_reboot": True}),
    Case(machine={"needs_reboot": None}),
)
