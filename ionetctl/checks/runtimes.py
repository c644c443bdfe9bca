"""Checks of what runs containers. Silent where the survey says nothing of the machine at all.

They warn and do not block: a host without them enrols well and shows its GPUs, and Docker may be installed later. A site
that wants them everywhere raises them in its inventory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, numbers, offers_gpus
from ionetctl.core.model.outcome import Severity
from ionetctl.core.observed import MachineFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

NOT_SURVEYED: Final = MachineFacts()
"""What an older host's survey leaves: not looked at, which is not the same as not installed."""
OLDEST_DOCKER: Final = (19, 3)
"""The first with API 1.40, the least that Nomad's driver speaks (moby/moby/client, MinAPIVersion)."""
CNI_PLUGINS: Final = frozenset({"bridge", "firewall", "host-local", "loopback", "portmap"})
"""What Nomad's bridge networks are made of (client/allocrunner/networking_bridge_linux.go)."""
_NOT_BLOCKING: Final = (
    " It does not block: the node registers without it, and sites without containers exist (nomad.drivers)."
)

DOCKER_MISSING: Final = Code(
    "docker_missing",
    Severity.WARN,
    "Docker is not installed",
    looks_at="Whether there is a docker program, and that it is not Podman's stand-in.",
    matters="Jobs may use the driver docker alone, unless nomad.drivers says otherwise: none could be placed here."
    + _NOT_BLOCKING,
    remedy="install Docker, or prepare: {docker: true}",
    mended_by="docker",
)

DOCKER_DOWN: Final = Code(
    "docker_down",
    Severity.WARN,
    "Docker's daemon does not answer",
    looks_at="Whether docker info has a server's version.",
    matters="Jobs may use the driver docker alone, unless nomad.drivers says otherwise: none could be placed here."
    + _NOT_BLOCKING,
    remedy="systemctl enable --now docker; journalctl -u docker says why it does not start",
    mended_by="docker",
)


def docker(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Docker is there and answers."""
    if facts.machine == NOT_SURVEYED:
        return
    if facts.machine.docker is None:
        podman = "docker is Podman's stand-in, and Nomad's docker driver needs Docker's daemon"
        yield found(DOCKER_MISSING, podman if facts.machine.is_docker_podman else "Docker is not installed")
    elif facts.machine.docker.version is None:
        yield found(DOCKER_DOWN, "Docker is installed, and its daemon does not answer")


DOCKER_OLD: Final = Code(
    "docker_old",
    Severity.WARN,
    "Docker is older than Nomad's driver can talk to",
    looks_at="The daemon's version against 19.03.",
    matters="Nomad's Docker driver speaks API 1.40 and later; older daemons are not detected.",
    remedy="upgrade Docker; sites with a hold on it: apt-mark unhold",
)

DOCKER_CGROUP_DRIVER: Final = Code(
    "docker_cgroup_driver",
    Severity.WARN,
    "Docker manages control groups beside systemd",
    looks_at="Docker's cgroup driver, where systemd has the unified hierarchy (v2).",
    matters="Two managers of one tree: limits of jobs may be lost when systemd reloads.",
    remedy='take native.cgroupdriver=cgroupfs out of "exec-opts" in /etc/docker/daemon.json, then restart Docker',
)

DOCKER_SNAP: Final = Code(
    "docker_snap",
    Severity.WARN,
    "Docker comes from a snap",
    looks_at="Whether the docker program is a snap's.",
    matters="Confined as it is, it sees neither Nomad's directories below /opt nor the NVIDIA runtime.",
    remedy="snap remove docker, then install the distribution's or Docker's own package",
)


def docker_kind(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Nomad can work with this Docker."""
    docker = facts.machine.docker
    if docker is None:
        return
    version = numbers(docker.version or "")
    if version and version < OLDEST_DOCKER:
        yield found(DOCKER_OLD, f"Docker {docker.version} is older than 19.03")
    if docker.cgroup_driver == "cgroupfs" and facts.machine.cgroups == "v2":
        yield found(DOCKER_CGROUP_DRIVER, "Docker's cgroup driver is cgroupfs, beside systemd's own (v2)")
    if docker.is_snap:
        yield found(DOCKER_SNAP, "Docker comes from a snap")


TOOLKIT_MISSING: Final = Code(
    "toolkit_missing",
    Severity.WARN,
    "the NVIDIA container toolkit is not installed",
    looks_at="Whether nvidia-ctk is there, on hosts with GPUs.",
    matters="Containers could not use the GPUs: jobs that ask for one fail at their start." + _NOT_BLOCKING,
    remedy="install nvidia-container-toolkit, or prepare: {container_toolkit: true}",
    mended_by="container_toolkit",
)

NVIDIA_RUNTIME_MISSING: Final = Code(
    "nvidia_runtime_missing",
    Severity.WARN,
    "Docker does not know the nvidia runtime",
    looks_at="Docker's runtimes, on hosts with GPUs.",
    matters="Nomad picks the runtime nvidia when a job asks for a GPU; without it the job fails at its start.",
    remedy="nvidia-ctk runtime configure --runtime=docker, then restart Docker; or prepare: {container_toolkit: true}",
    mended_by="container_toolkit",
)


def toolkit(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether containers can be given GPUs."""
    if facts.machine == NOT_SURVEYED or not offers_gpus(host, facts):
        return
    if facts.machine.toolkit_version is None:
        yield found(TOOLKIT_MISSING, "the NVIDIA container toolkit is not installed")
    docker = facts.machine.docker
    if docker and docker.version and "nvidia" not in docker.runtimes:
        yield found(NVIDIA_RUNTIME_MISSING, "Docker does not know the nvidia runtime")


CNI_MISSING: Final = Code(
    "cni_missing",
    Severity.WARN,
    "CNI plugins are missing",
    looks_at="bridge, firewall, host-local, loopback and portmap in /opt/cni/bin.",
    matters="Jobs with a network of their own (mode bridge) are not placed here.",
    remedy="install the CNI reference plugins into /opt/cni/bin, or prepare: {cni: true}",
    mended_by="cni",
)

BRIDGE_MISSING: Final = Code(
    "bridge_missing",
    Severity.WARN,
    "the kernel's bridge module is not loaded",
    looks_at="Whether bridge is loaded or built in.",
    matters=(
        "Nomad looks for the module by file names and misses those of newer systems (Ubuntu 24.04 packs them by zstd): "
        "bridge networks are then not offered, unless the module is loaded already."
    ),
    remedy="modprobe bridge, and its name in /etc/modules-load.d; or prepare: {modules: true}",
    mended_by="modules",
)


def networks(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs can have networks of their own."""
    machine = facts.machine
    missing = CNI_PLUGINS.difference(machine.cni_plugins or ())
    if machine != NOT_SURVEYED and missing:
        yield found(CNI_MISSING, f"CNI plugins are missing: {', '.join(sorted(missing))}")
    if machine.modules is not None and "bridge" not in machine.modules:
        yield found(BRIDGE_MISSING, "the kernel module bridge is not loaded")
