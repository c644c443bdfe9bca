"""Checks of what runs containers. Silent where the survey says nothing of the machine at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found, numbers, offers_gpus
from ionetctl.core.observed import MachineFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

UNSEEN: Final = MachineFacts()
"""What an older host's survey leaves: nobody looked, which is not the same as nothing installed."""
OLDEST_DOCKER: Final = (19, 3)
"""The first with API 1.40, the least that Nomad's driver speaks (moby/moby/client, MinAPIVersion)."""
CNI_PLUGINS: Final = frozenset({"bridge", "firewall", "host-local", "loopback", "portmap"})
"""What Nomad's bridge networks are made of (client/allocrunner/networking_bridge_linux.go)."""


def docker(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Docker is there and answers."""
    if facts.machine == UNSEEN:
        return
    if facts.machine.docker is None:
        yield found("docker_missing", "Docker is not installed")
    elif facts.machine.docker.version is None:
        yield found("docker_down", "Docker is installed, and its daemon does not answer")


def docker_kind(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether Nomad can work with this Docker."""
    docker = facts.machine.docker
    if docker is None:
        return
    version = numbers(docker.version or "")
    if version and version < OLDEST_DOCKER:
        yield found("docker_old", f"Docker {docker.version} is older than 19.03")
    if docker.cgroup_driver == "cgroupfs" and facts.machine.cgroups == "v2":
        yield found("docker_cgroup_driver", "Docker's cgroup driver is cgroupfs, beside systemd's own (v2)")
    if docker.is_snap:
        yield found("docker_snap", "Docker comes from a snap")


def toolkit(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether containers can be given GPUs."""
    if facts.machine == UNSEEN or not offers_gpus(host, facts):
        return
    if facts.machine.toolkit_version is None:
        yield found("toolkit_missing", "the NVIDIA container toolkit is not installed")
    docker = facts.machine.docker
    if docker and docker.version and "nvidia" not in docker.runtimes:
        yield found("nvidia_runtime_missing", "Docker does not know the nvidia runtime")


def networks(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs can have networks of their own."""
    machine = facts.machine
    missing = CNI_PLUGINS.difference(machine.cni_plugins or ())
    if machine != UNSEEN and missing:
        yield found("cni_missing", f"CNI plugins are missing: {', '.join(sorted(missing))}")
    if machine.modules is not None and "bridge" not in machine.modules:
        yield found("bridge_missing", "the kernel module bridge is not loaded")
