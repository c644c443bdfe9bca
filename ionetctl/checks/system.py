"""Checks of the operating system, its clock, and whether an apply can work on the host at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found, listed, numbers
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Architecture
    from ionetctl.core.model.outcome import Finding

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}
TESTED_OS: Final = frozenset({"ubuntu", "debian"})
OLDEST_OS: Final[dict[str, tuple[int, ...]]] = {
    "ubuntu": (20, 4),
    "debian": (11,),
    "rhel": (8,),
    "rocky": (8,),
    "almalinux": (8,),
    "centos": (8,),
    "ol": (8,),
    "fedora": (38,),
}
"""The oldest release of a distribution whose C library (2.28 and later) may run today's releases of Nomad."""
OLDEST_KERNEL: Final = (4, 15)
"""The first whose unified control groups have a cpu controller (kernel 4.15, Documentation/cgroup-v2.txt)."""
OLDEST_SYSTEMD: Final = 245
"""That of Ubuntu 20.04."""
CONTROLLERS: Final[dict[str, frozenset[str]]] = {
    "v1": frozenset({"freezer", "memory", "cpu", "cpuset"}),
    "hybrid": frozenset({"freezer", "memory", "cpu", "cpuset"}),
    "v2": frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
}
"""Control group controllers that a Nomad client sets up when it starts (its client/lib/cgroupslib/init.go)."""
CLOCK_WARN_S: Final = 30.0
CLOCK_BLOCK_S: Final = 240.0
"""Certificates are backdated by five minutes; beyond that the node's first handshake fails."""


def root(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the survey ran as root."""
    if not facts.is_root:
        yield found("not_root", "the survey did not run as root")


def locked(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether another apply is at work."""
    if facts.lock_owner:
        since = f" since {facts.lock_started_at}" if facts.lock_started_at else ""
        yield found("host_locked", f"{facts.lock_owner} is at work on this host{since}")


def architecture(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether there are releases for the machine."""
    known = ARCHITECTURES.get(facts.architecture)
    if known is None:
        yield found("architecture_unsupported", f"{facts.architecture} is not supported")
    elif known == "arm64" and host.gpus.count:
        message = "GPUs are promised on an arm64 host, and the device plugin has no arm64 release"
        yield found("gpu_plugin_missing", message)


def init(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the system is run by systemd, and by one that is new enough."""
    version = facts.machine.systemd_version
    if facts.init != "systemd":
        yield found("systemd_missing", f"process 1 is {facts.init}, not systemd")
    elif version is not None and version < OLDEST_SYSTEMD:
        message = f"systemd {version} is older than {OLDEST_SYSTEMD}, the oldest that ionetctl is tested on"
        yield found("systemd_old", message)


def distribution(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the distribution is a tested one, and not too old."""
    name = facts.os_name or facts.os_id
    if facts.os_id not in TESTED_OS:
        message = f"{name} is not among the systems that ionetctl is tested on"
        yield found("os_untested", message, hint=f"tested: {', '.join(sorted(TESTED_OS))}")
    version = numbers(facts.os_version)
    if version and version < OLDEST_OS.get(facts.os_id, ()):
        yield found("os_unsupported", f"{name} is too old")


def kernel(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the kernel can limit jobs."""
    version = numbers(facts.kernel)
    if version and version < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        yield found("kernel_old", f"kernel {facts.kernel} is older than {oldest}")


def control_groups(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Nomad will find the control groups that it starts with."""
    version, usable = facts.machine.cgroups, facts.machine.cgroup_controllers
    if version is None or usable is None:
        return
    missing = CONTROLLERS[version].difference(usable)
    if missing == CONTROLLERS[version]:
        yield found("cgroups_unusable", f"no control group controller ({version}) can be used")
    elif missing:
        message = f"control group controllers ({version}) cannot be used: {', '.join(sorted(missing))}"
        yield found("cgroup_controllers_missing", message)


def tools(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what unpacks the bundle is there."""
    missing = [name for name, has in (("tar", facts.has_tar), ("gzip", facts.has_gzip)) if not has]
    if missing:
        names = listed(missing)
        hint = f"install the package {names} on the host"
        yield found("tool_missing", f"{names} cannot be found", hint=hint)


def clock(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the clock is right by the controller's."""
    offset_s = facts.clock_offset_s
    if offset_s is None or abs(offset_s) < CLOCK_WARN_S:
        return
    direction = "ahead of" if offset_s > 0 else "behind"
    message = f"its clock is {abs(offset_s):.0f} s {direction} the controller's"
    severity = Severity.BLOCK if abs(offset_s) >= CLOCK_BLOCK_S else Severity.WARN
    yield found("clock_off", message, severity=severity)


def time_service(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether anything keeps the clock right; a service that has just begun to is given its time."""
    machine = facts.machine
    if machine.is_time_synchronized is False and not machine.is_ntp_on:
        yield found("clock_unsynchronized", "no time service keeps its clock")


def pending_reboot(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether upgrades wait for a reboot."""
    if facts.machine.needs_reboot:
        yield found("reboot_pending", "upgrades wait for a reboot")
