"""Codes about the operating system, and about whether an apply can work on the host at all."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "not_root",
        Severity.BLOCK,
        "the survey did not run as root",
        "The user id under which the survey ran, after sudo where the inventory asks for it.",
        "An apply writes below /etc, /opt and /usr/local and starts a service: only root can.",
        "log in as root, or allow the user sudo",
        may_be_waived=False,
    ),
    Row(
        "host_locked",
        Severity.BLOCK,
        "another rollout is at work on the host",
        "The lock that every apply takes on its host; one that is about to end is waited for some seconds.",
        "Two applies at once would undo each other's work. Owner and start of the other one are named.",
        "wait for that rollout to end, or stop it where it runs",
        exit_code=ExitCode.LOCKED,
        may_be_waived=False,
    ),
    Row(
        "architecture_unsupported",
        Severity.BLOCK,
        "the processor is neither x86_64 nor arm64",
        "The machine's own word (uname -m).",
        "There is no Nomad release for it.",
        "Nomad clients run on x86_64 and arm64",
        may_be_waived=False,
    ),
    Row(
        "gpu_plugin_missing",
        Severity.BLOCK,
        "GPUs are promised on arm64",
        "The architecture against gpus.count of the inventory.",
        "The NVIDIA device plugin has no arm64 release, so the region would never see a GPU of this host.",
        "enrol the host with gpus: {count: 0}, or leave it out",
    ),
    Row(
        "systemd_missing",
        Severity.BLOCK,
        "process 1 is not systemd",
        "The name of process 1.",
        "Nomad is installed as a systemd service: nothing else would start it, restart it or keep its log.",
        "Nomad runs as a systemd service here; install a distribution that boots with systemd",
        may_be_waived=False,
    ),
    Row(
        "systemd_old",
        Severity.WARN,
        "systemd is older than any that ionetctl is tested on",
        "The first line of systemctl --version.",
        "Older ones ignore settings of units that they do not know, so the service may restart or stop differently.",
        "upgrade the distribution",
    ),
    Row(
        "os_untested",
        Severity.WARN,
        "a system that ionetctl is not tested on",
        "ID in /etc/os-release.",
        "It may well work: what is needed is systemd, a POSIX shell, tar and gzip. Paths and packages may differ.",
        "begin with one such host; if it enrols well, waive this for the others",
    ),
    Row(
        "os_unsupported",
        Severity.WARN,
        "a release of a known distribution that is too old",
        "ID and VERSION_ID in /etc/os-release.",
        "Releases of Nomad and of the device plugin are linked against a newer C library than such systems have, and "
        "nobody mends their kernels any more, on which strangers' jobs will run. A program that does not start is "
        "found before the old one is replaced.",
        "upgrade the distribution",
    ),
    Row(
        "kernel_old",
        Severity.WARN,
        "the kernel is too old to limit jobs well",
        "The kernel's release (uname -r).",
        "Before 4.15 the unified control groups have no cpu controller, and overlayfs and seccomp lack what Docker "
        "uses.",
        "install a newer kernel",
    ),
    Row(
        "cgroups_unusable",
        Severity.BLOCK,
        "no control group controller can be used",
        "Mounts below /sys/fs/cgroup, and which controllers may be written.",
        "Nomad makes its control groups when it starts, and does not start without them.",
        "mount the controllers writable; in a container, give it a writable cgroup tree",
    ),
    Row(
        "cgroup_controllers_missing",
        Severity.BLOCK,
        "control group controllers that Nomad needs are missing or read-only",
        "Controllers that may be written: freezer, memory, cpu and cpuset (v1), cpuset, cpu, io, memory and pids (v2).",
        "Nomad switches all of them on when it starts, and does not start when one is refused.",
        "enable them on the kernel's command line (cgroup_enable=memory), or mount them writable",
    ),
    Row(
        "tool_missing",
        Severity.BLOCK,
        "tar or gzip is missing",
        "Whether the programs are found.",
        "What is sent to the host travels as a compressed archive.",
        "install the missing package on the host",
        may_be_waived=False,
    ),
    Row(
        "clock_off",
        Severity.BLOCK,
        "the host's clock differs from the controller's",
        "The host's time while the survey ran: a warning from 30 s on, blocking from 240 s.",
        "Certificates are backdated by five minutes; beyond that the node's first handshake fails. Introduction tokens "
        "live for minutes. Where all hosts differ alike, the controller's clock is the wrong one.",
        "set the clock and keep it by NTP (timedatectl set-ntp true): certificates and tokens depend on it",
    ),
    Row(
        "clock_unsynchronized",
        Severity.WARN,
        "nothing keeps the host's clock right",
        "Whether a time service runs and the clock is synchronized (timedatectl).",
        "A clock that drifts is right today and ends the node's connections in some months.",
        "timedatectl set-ntp true, or prepare: {time_sync: true}",
        mended_by="time_sync",
    ),
    Row(
        "reboot_pending",
        Severity.WARN,
        "the host waits for a reboot",
        "/run/reboot-required, as the Debian families leave it after upgrades.",
        "A reboot is cheap now and costs running jobs later; until then the installed driver or kernel is not the one "
        "that runs.",
        "reboot the host before it is enrolled",
    ),
)
