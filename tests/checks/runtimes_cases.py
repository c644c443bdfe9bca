"""Cases of the checks of what runs containers."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core.observed import Docker, MachineFacts
from tests.checks.host_case import DOCKER, NO_GPU, Case, promised

CASES: Final = (
    Case(("docker_missing warn",), machine={"docker": None}, message="Docker is not installed"),
    Case(
        ("docker_missing warn",),
        machine={"docker": None, "is_docker_podman": True},
        message="docker is Podman's stand-in, and Nomad's docker driver needs Docker's daemon",
    ),
    Case(("docker_down warn",), machine={"docker": Docker(None)}),
    Case(
        ("docker_old warn",),
        machine={"docker": replace(DOCKER, version="18.09.1")},
        message="Docker 18.09.1 is older than 19.03",
    ),
    Case(machine={"docker": replace(DOCKER, version="19.03.0")}),
    Case(machine={"docker": replace(DOCKER, version="dev")}),
    Case(("docker_cgroup_driver warn",), machine={"docker": replace(DOCKER, cgroup_driver="cgroupfs")}),
    Case(
        machine={
            "docker": replace(DOCKER, cgroup_driver="cgroupfs"),
            "cgroups": "v1",
            "cgroup_controllers": None,
        }
    ),
    Case(("docker_snap warn",), machine={"docker": replace(DOCKER, is_snap=True)}),
    Case(("toolkit_missing warn",), machine={"toolkit_version": None}),
    Case(
        ("gpu_unknown warn", "toolkit_missing warn"),
        host=promised(count=2),
        facts=NO_GPU,
        machine={"toolkit_version": None, "gpus_on_bus": 2},
    ),
    Case(facts={"gpus": ()}, machine={"toolkit_version": None, "gpus_on_bus": 0}),
    Case(host=promised(count=0), facts=NO_GPU, machine={"toolkit_version": None}),
    Case(("nvidia_runtime_missing warn",), machine={"docker": replace(DOCKER, runtimes=("runc",))}),
    Case(
        ("cni_missing warn",),
        machine={"cni_plugins": ("bridge", "loopback", "portmap")},
        message="CNI plugins are missing: firewall, host-local",
    ),
    Case(("cni_missing warn",), machine={"cni_plugins": None}),
    Case(("bridge_missing warn",), machine={"modules": ("overlay",)}),
    Case(machine={"modules": None}),
    Case(facts={"machine": MachineFacts()}),
)
