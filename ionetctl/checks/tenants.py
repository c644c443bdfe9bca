"""Checks of what a tenant could do to the host: whoever may submit jobs to it, and is to be nobody there.

What ionetctl's configuration closes on every host has no check; docs/explanation/tenants.md names it, with what stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.checks.fleet import Findings, Fleet
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

PORTS_SHOWN: Final = 6

DOCKER_NOT_REMAPPED: Final = Code(
    "docker_not_remapped",
    Severity.WARN,
    "root in a container is root of the host",
    looks_at="Whether Docker's security options have userns: containers then have users of their own.",
    matters=(
        "A job may name devices of the host, its network (network_mode), and switch off the filter of system calls "
        "(security_opt): Nomad refuses none of them. Without users of their own, a job that names the host's disk as a device reads and "
        "writes all of it: whoever may submit jobs is root of the host. With them, the disk cannot be opened."
    ),
    remedy='"userns-remap": "default" in /etc/docker/daemon.json, then restart Docker, which ends its containers; or prepare: {docker_userns: true}',
    mended_by="docker_userns",
)

LANDLOCK_OFF: Final = Code(
    "landlock_off",
    Severity.WARN,
    "the kernel does not fence downloads of jobs",
    looks_at="Whether landlock is among the kernel's security modules (/sys/kernel/security/lsm), and where there is python3, whether the kernel grants it.",
    matters=(
        "Nomad downloads a job's artifacts in a process that Landlock keeps to the job's own directory, and without it "
        "as root with every file in reach: an artifact git::file:///… delivers a repository that root alone may read. Nomad does not say so."
    ),
    remedy="Linux 5.13 or later, with landlock in the kernel's parameter lsm=; in a container, its system calls in the container's filter",
)

LINKS_FOLLOWED: Final = Code(
    "links_followed",
    Severity.WARN,
    "the agent writes where a job's symbolic links lead",
    looks_at="Whether a mount can be told to follow no symbolic link (nosymfollow), tried in a mount namespace of its own.",
    matters=(
        "The agent writes the logs of jobs as root, and a container may bind its allocation's directory, replace its next log file by a link and print "
        "more than one file may hold: that makes or changes the file of the host that the link names, with users of their own too. Whoever "
        "may submit jobs is root of the host. Where it can, the agent runs in a mount namespace that follows no link there; containers do."
    ),
    remedy="Linux 5.10 or later, and util-linux 2.37 or python3 to ask it for this; else accept only jobs of your own",
)

LOOPBACK_SERVICES: Final = Code(
    "loopback_services",
    Severity.INFO,
    "jobs can fetch from services that only the host itself should reach",
    looks_at="On which TCP ports something listens on loopback alone (/proc/net/tcp), but for Nomad's own.",
    matters=(
        "The agent downloads artifacts for whoever submits a job, from http://127.0.0.1 too, and nothing in Nomad forbids that: what answers there "
        "without a password answers every tenant."
    ),
    remedy="give these services a password or a Unix socket, or switch them off; those that speak no HTTP do not matter",
)

EXEC_ALLOWED: Final = Code(
    "exec_allowed",
    Severity.WARN,
    "jobs may run outside of containers (exec)",
    looks_at="Whether nomad.drivers of the inventory has exec.",
    matters=(
        "Tasks have a root of a few copied tools, no capability, and no user of the host's. It cannot be closed whole: the script that a "
        "template runs on a change is root's, and with the job's own pid_mode = host it may signal every process of the host. "
        "Tasks inherit the agent's environment but for names that are known to be secret: keep secrets out of /etc/nomad.d/nomad.env."
    ),
    remedy="leave exec out of nomad.drivers, or refuse it to tenants by their namespaces (capabilities.enabled_task_drivers)",
)

HOST_DRIVERS_ALLOWED: Final = Code(
    "host_drivers_allowed",
    Severity.WARN,
    "jobs may run with the host's own files (java, qemu, raw_exec)",
    looks_at="Whether nomad.drivers of the inventory has java, qemu or raw_exec.",
    matters=(
        "raw_exec runs what a job names as root. For java every task outside of containers has the host's own files in its root. "
        "A virtual machine of qemu has no fence of Nomad's around it. Whoever may submit such jobs is root of the host, or nearly."
    ),
    remedy="leave them out of nomad.drivers, or refuse them to tenants by their namespaces (capabilities.enabled_task_drivers)",
)


DOOR_OPENS_EXEC: Final = Code(
    "door_opens_exec",
    Severity.WARN,
    "jobs may use exec, for the maintenance door's sake",
    looks_at="Whether the inventory has maintenance, and the host can have a door.",
    matters=(
        "The task that carries signed words to the host runs by exec. So does every job of whoever may submit jobs to a namespace that does not "
        "refuse exec, and exec cannot be closed whole: the script that a template runs on a change is root's."
    ),
    remedy="allow docker alone in every namespace but ionet-maintenance (ionetctl region check; enroll refuses else), or leave maintenance out",
)

DOOR_UNSUPPORTED: Final = Code(
    "door_unsupported",
    Severity.WARN,
    "no maintenance door: the host lacks what it needs",
    looks_at="Where the inventory has maintenance: whether the host has an ssh-keygen that checks signatures (OpenSSH 8.2), and openssl.",
    matters="The host is enrolled without a door: later changes of it need SSH, or an enrolment anew.",
    remedy="install OpenSSH 8.2 or later (the package openssh-client or openssh) and openssl, and enroll again",
)


def docker_users(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether root in a container is the host's."""
    if facts.machine.is_docker_remapped is False:
        yield found(
            DOCKER_NOT_REMAPPED, "Docker's containers have no users of their own: their root is the host's"
        )


def landlock(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the kernel fences what downloads artifacts."""
    if facts.machine.has_landlock is False:
        yield found(
            LANDLOCK_OFF, "Landlock is off: artifacts are downloaded with all of root's files in reach"
        )


def links(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the agent can be kept from following what a job has put in place of its logs."""
    if facts.machine.can_refuse_links is False:
        yield found(LINKS_FOLLOWED, "the agent follows symbolic links that jobs put in place of their logs")


def loopback(_host: Host, facts: Facts) -> Iterator[Finding]:
    """What a job could fetch from the host's loopback."""
    if ports := facts.machine.loopback_ports:
        names = [str(port) for port in ports[:PORTS_SHOWN]]
        names += [f"{len(ports) - PORTS_SHOWN} more"] * (len(ports) > PORTS_SHOWN)
        yield found(LOOPBACK_SERVICES, f"on loopback alone something listens: TCP {listed(names)}")


def doors(fleet: Fleet) -> Iterator[Findings]:
    """Which hosts get a maintenance door, and which of them cannot have one."""
    if fleet.releases is None or not fleet.releases.signers:
        return
    for member in fleet.hosts:
        name, facts = member.host.name, member.facts
        if not facts.machine.verifies_signatures:
            yield name, found(DOOR_UNSUPPORTED, "it has no ssh-keygen that checks signatures")
        elif not facts.has_openssl:
            yield name, found(DOOR_UNSUPPORTED, "it has no openssl")
        else:
            yield name, found(DOOR_OPENS_EXEC, "jobs may use the driver exec: the door's task does")


def drivers(fleet: Fleet) -> Iterator[Findings]:
    """Which drivers the inventory lets jobs use beside Docker's."""
    allowed = fleet.releases.drivers if fleet.releases else ()
    unfenced = [driver for driver in allowed if driver in {"java", "qemu", "raw_exec"}]
    for member in fleet.hosts:
        if "exec" in allowed:
            yield member.host.name, found(EXEC_ALLOWED, "jobs may use the driver exec")
        if unfenced:
            yield member.host.name, found(HOST_DRIVERS_ALLOWED, f"jobs may use {listed(unfenced)}")
