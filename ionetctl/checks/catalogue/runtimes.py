"""Codes about what runs containers.

They warn and do not block: a host without them enrols well, runs what needs no container, and shows its GPUs. A site
that wants them everywhere raises them in its inventory.
"""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

_NOT_BLOCKING: Final = (
    " It does not block: the node registers without it, and sites without containers exist."
)

ROWS: Final = (
    Row(
        "docker_missing",
        Severity.WARN,
        "Docker is not installed",
        "Whether there is a docker program.",
        "io.net's jobs are containers: none could be placed here." + _NOT_BLOCKING,
        "install Docker, or prepare: {docker: true}",
        mended_by="docker",
    ),
    Row(
        "docker_down",
        Severity.WARN,
        "Docker's daemon does not answer",
        "Whether docker info has a server's version.",
        "io.net's jobs are containers: none could be placed here." + _NOT_BLOCKING,
        "systemctl enable --now docker; journalctl -u docker says why it does not start",
        mended_by="docker",
    ),
    Row(
        "docker_old",
        Severity.WARN,
        "Docker is older than Nomad's driver can talk to",
        "The daemon's version against 19.03.",
        "Nomad's Docker driver speaks API 1.40 and later; older daemons are not detected.",
        "upgrade Docker; sites with a hold on it: apt-mark unhold",
    ),
    Row(
        "docker_cgroup_driver",
        Severity.WARN,
        "Docker manages control groups beside systemd",
        "Docker's cgroup driver, where systemd has the unified hierarchy (v2).",
        "Two managers of one tree: limits of jobs may be lost when systemd reloads.",
        'take native.cgroupdriver=cgroupfs out of "exec-opts" in /etc/docker/daemon.json, then restart Docker',
    ),
    Row(
        "docker_snap",
        Severity.WARN,
        "Docker comes from a snap",
        "Whether the docker program is a snap's.",
        "Confined as it is, it sees neither Nomad's directories below /opt nor the NVIDIA runtime.",
        "snap remove docker, then install the distribution's or Docker's own package",
    ),
    Row(
        "toolkit_missing",
        Severity.WARN,
        "the NVIDIA container toolkit is not installed",
        "Whether nvidia-ctk is there, on hosts with GPUs.",
        "Containers could not use the GPUs: jobs that ask for one fail at their start." + _NOT_BLOCKING,
        "install nvidia-container-toolkit, or prepare: {container_toolkit: true}",
        mended_by="container_toolkit",
    ),
    Row(
        "nvidia_runtime_missing",
        Severity.WARN,
        "Docker does not know the nvidia runtime",
        "Docker's runtimes, on hosts with GPUs.",
        "Nomad picks the runtime nvidia when a job asks for a GPU; without it the job fails at its start.",
        "nvidia-ctk runtime configure --runtime=docker, then restart Docker; or prepare: {container_toolkit: true}",
        mended_by="container_toolkit",
    ),
    Row(
        "cni_missing",
        Severity.WARN,
        "CNI plugins are missing",
        "bridge, firewall, host-local, loopback and portmap in /opt/cni/bin.",
        "Jobs with a network of their own (mode bridge) are not placed here.",
        "install the CNI reference plugins into /opt/cni/bin, or prepare: {cni: true}",
        mended_by="cni",
    ),
    Row(
        "bridge_missing",
        Severity.WARN,
        "the kernel's bridge module is not loaded",
        "Whether bridge is loaded or built in.",
        "Nomad looks for the module by file names and misses those of newer systems (Ubuntu 24.04 packs them by zstd): "
        "bridge networks are then not offered, unless the module is loaded already.",
        "modprobe bridge, and its name in /etc/modules-load.d; or prepare: {modules: true}",
        mended_by="modules",
    ),
)
