"""Checks of the operating system, its clock, and whether an apply can work on the host at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed, numbers
from ionetctl.core.errors import ExitCode
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
"""The first kernel whose unified control groups have a cpu controller (kernel 4.15, Documentation/cgroup-v2.txt)."""
OLDEST_SYSTEMD: Final = 245
"""The version of Ubuntu 20.04."""
CONTROLLERS: Final[dict[str, frozenset[str]]] = {
    "v1": frozenset({"freezer", "memory", "cpu", "cpuset"}),
    "hybrid": frozenset({"freezer", "memory", "cpu", "cpuset"}),
    "v2": frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
}
"""Control group controllers that a Nomad client sets up when it starts (its client/lib/cgroupslib/init.go)."""
CLOCK_WARN_S: Final = 30.0
CLOCK_BLOCK_S: Final = 240.0
"""Certificates are backdated by five minutes; beyond that the node's first handshake fails."""

NOT_ROOT: Final = Code(
    "not_root",
    Severity.BLOCK,
    "the survey did not run as root",
    looks_at="The user id under which the survey ran, after sudo where the inventory asks for it.",
    matters="An apply writes below /etc, /opt and /usr/local and starts a service: only root can.",
    remedy="log in as root, or allow the user sudo",
    may_be_waived=False,
)


def survey_user(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the survey ran as root."""
    if not facts.is_root:
        yield found(NOT_ROOT, "the survey did not run as root")


HOST_LOCKED: Final = Code(
    "host_locked",
    Severity.BLOCK,
    "another rollout is at work on the host",
    looks_at="The lock that every apply takes on its host; one that is about to end is waited for some seconds.",
    matters="Two applies at once would undo each other's work. Owner and start of the other one are named.",
    remedy="wait for that rollout to end, or stop it where it runs",
    exit_code=ExitCode.LOCKED,
    may_be_waived=False,
)


def lock(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether another apply is at work."""
    if facts.lock_owner:
        since = f" since {facts.lock_started_at}" if facts.lock_started_at else ""
        yield found(HOST_LOCKED, f"{facts.lock_owner} is at work on this host{since}")


ARCHITECTURE_UNSUPPORTED: Final = Code(
    "architecture_unsupported",
    Severity.BLOCK,
    "the processor is neither x86_64 nor arm64",
    looks_at="The machine's own word (uname -m).",
    matters="There is no Nomad release for it.",
    remedy="Nomad clients run on x86_64 and arm64",
    may_be_waived=False,
)

GPU_PLUGIN_MISSING: Final = Code(
    "gpu_plugin_missing",
    Severity.BLOCK,
    "GPUs are promised on arm64",
    looks_at="The architecture against gpus.count of the inventory.",
    matters="The NVIDIA device plugin has no arm64 release, so the region would never see a GPU of this host.",
    remedy="enrol the host with gpus: {count: 0}, or leave it out",
)


def architecture(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether there are releases for the machine."""
    known = ARCHITECTURES.get(facts.architecture)
    if known is None:
        yield found(ARCHITECTURE_UNSUPPORTED, f"{facts.architecture} is not supported")
    elif known == "arm64" and host.gpus.count:
        message = "GPUs are promised on an arm64 host, and the device plugin has no arm64 release"
        yield found(GPU_PLUGIN_MISSING, message)


SYSTEMD_MISSING: Final = Code(
    "systemd_missing",
    Severity.BLOCK,
    "process 1 is not systemd",
    looks_at="The name of process 1.",
    matters="Nomad is installed as a systemd service: nothing else would start it, restart it or keep its log.",
    remedy="Nomad runs as a systemd service here; install a distribution that boots with systemd",
    may_be_waived=False,
)

SYSTEMD_OLD: Final = Code(
    "systemd_old",
    Severity.WARN,
    "systemd is older than any that ionetctl is tested on",
    looks_at="The first line of systemctl --version.",
    matters="Older ones ignore settings of units that they do not know, so the service may restart or stop differently.",
    remedy="upgrade the distribution",
)


def systemd(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the system is run by systemd, and by one that is new enough."""
    version = facts.machine.systemd_version
    if facts.init != "systemd":
        yield found(SYSTEMD_MISSING, f"process 1 is {facts.init}, not systemd")
    elif version is not None and version < OLDEST_SYSTEMD:
        message = f"systemd {version} is older than {OLDEST_SYSTEMD}, the oldest that ionetctl is tested on"
        yield found(SYSTEMD_OLD, message)


OS_UNTESTED: Final = Code(
    "os_untested",
    Severity.WARN,
    "a system that ionetctl is not tested on",
    looks_at="ID in /etc/os-release.",
    matters="It may well work: what is needed is systemd, a POSIX shell, tar and gzip. Paths and packages may differ.",
    remedy="begin with one such host; if it enrols well, waive this for the others",
)

OS_UNSUPPORTED: Final = Code(
    "os_unsupported",
    Severity.WARN,
    "a release of a known distribution that is too old",
    looks_at="ID and VERSION_ID in /etc/os-release.",
    matters=(
        "Releases of Nomad and of the device plugin are linked against a newer C library than such systems have, and "
        "nobody mends their kernels any more, on which strangers' jobs will run. A program that does not start is "
        "found before the old one is replaced."
    ),
    remedy="upgrade the distribution",
)


def distribution(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the distribution is a tested one, and not too old."""
    name = facts.os_name or facts.os_id
    if facts.os_id not in TESTED_OS:
        message = f"{name} is not among the systems that ionetctl is tested on"
        yield found(OS_UNTESTED, message, hint=f"tested: {', '.join(sorted(TESTED_OS))}")
    version = numbers(facts.os_version)
    if version and version < OLDEST_OS.get(facts.os_id, ()):
        yield found(OS_UNSUPPORTED, f"{name} is too old")


KERNEL_OLD: Final = Code(
    "kernel_old",
    Severity.WARN,
    "the kernel is too old to limit jobs well",
    looks_at="The kernel's release (uname -r).",
    matters=(
        "Before 4.15 the unified control groups have no cpu controller, and overlayfs and seccomp lack what Docker "
        "uses."
    ),
    remedy="install a newer kernel",
)


def kernel(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the kernel can limit jobs."""
    version = numbers(facts.kernel)
    if version and version < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        yield found(KERNEL_OLD, f"kernel {facts.kernel} is older than {oldest}")


CGROUPS_UNUSABLE: Final = Code(
    "cgroups_unusable",
    Severity.BLOCK,
    "no control group controller can be used",
    looks_at="Mounts below /sys/fs/cgroup, and which controllers may be written.",
    matters="Nomad makes its control groups when it starts, and does not start without them.",
    remedy="mount the controllers writable; in a container, give it a writable cgroup tree",
)

CGROUP_CONTROLLERS_MISSING: Final = Code(
    "cgroup_controllers_missing",
    Severity.BLOCK,
    "control group controllers that Nomad needs are missing or read-only",
    looks_at="Controllers that may be written: freezer, memory, cpu and cpuset (v1), cpuset, cpu, io, memory and pids (v2).",
    matters="Nomad switches all of them on when it starts, and does not start when one is refused.",
    remedy="enable them on the kernel's command line (cgroup_enable=memory), or mount them writable",
)


def control_groups(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Nomad will find the control groups that it starts with."""
    version, usable = facts.machine.cgroups, facts.machine.cgroup_controllers
    if version is None or usable is None:
        return
    missing = CONTROLLERS[version].difference(usable)
    if missing == CONTROLLERS[version]:
        yield found(CGROUPS_UNUSABLE, f"no control group controller ({version}) can be used")
    elif missing:
        message = f"control group controllers ({version}) cannot be used: {', '.join(sorted(missing))}"
        yield found(CGROUP_CONTROLLERS_MISSING, message)


TOOL_MISSING: Final = Code(
    "tool_missing",
    Severity.BLOCK,
    "tar or gzip is missing",
    looks_at="Whether the programs are found.",
    matters="What is sent to the host travels as a compressed archive.",
    remedy="install the missing package on the host",
    may_be_waived=False,
)


def tools(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether what unpacks the bundle is there."""
    missing = [name for name, has in (("tar", facts.has_tar), ("gzip", facts.has_gzip)) if not has]
    if missing:
        names = listed(missing)
        hint = f"install the package {names} on the host"
        yield found(TOOL_MISSING, f"{names} cannot be found", hint=hint)


CLOCK_OFF: Final = Code(
    "clock_off",
    Severity.BLOCK,
    "the host's clock differs from the controller's",
    looks_at="The host's time while the survey ran: a warning from 30 s on, blocking from 240 s.",
    matters=(
        "Certificates are backdated by five minutes; beyond that the node's first handshake fails. Introduction tokens "
        "live for minutes. Where all hosts differ alike, the controller's clock is the wrong one."
    ),
    remedy="set the clock and keep it by NTP (timedatectl set-ntp true): certificates and tokens depend on it",
)


def clock(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the clock agrees with the controller's."""
    offset_s = facts.clock_offset_s
    if offset_s is None or abs(offset_s) < CLOCK_WARN_S:
        return
    direction = "ahead of" if offset_s > 0 else "behind"
    message = f"its clock is {abs(offset_s):.0f} s {direction} the controller's"
    severity = Severity.BLOCK if abs(offset_s) >= CLOCK_BLOCK_S else Severity.WARN
    yield found(CLOCK_OFF, message, severity=severity)


CLOCK_UNSYNCHRONIZED: Final = Code(
    "clock_unsynchronized",
    Severity.WARN,
    "nothing keeps the host's clock right",
    looks_at="Whether a time service runs and the clock is synchronized (timedatectl).",
    matters="A clock that drifts is right today and ends the node's connections in some months.",
    remedy="timedatectl set-ntp true, or prepare: {time_sync: true}",
    mended_by="time_sync",
)


def time_service(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether anything keeps the clock right; a service that runs and has not synchronized yet is no finding."""
    machine = facts.machine
    if machine.is_time_synchronized is False and not machine.is_ntp_on:
        yield found(CLOCK_UNSYNCHRONIZED, "no time service keeps its clock")


REBOOT_PENDING: Final = Code(
    "reboot_pending",
    Severity.WARN,
    "the host waits for a reboot",
    looks_at="/run/reboot-required, as the Debian families leave it after upgrades.",
    matters=(
        "A reboot is cheap now and costs running jobs later; until then the installed driver or kernel is not the one "
        "that runs."
    ),
    remedy="reboot the host before it is enrolled",
)


def pending_reboot(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether upgrades wait for a reboot."""
    if facts.machine.needs_reboot:
        yield found(REBOOT_PENDING, "upgrades wait for a reboot")
