"""Conditions of a host's network, container runtime and workloads, and of identities that it shares with others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.observed import GpuProcess
from ionetctl.lab.faults.changes import (
    UNUSED_PID,
    all_of,
    every_gpu,
    first_gpu,
    with_docker,
    with_file,
    with_network,
    with_output,
    with_process,
    with_text,
    without,
    without_output,
)
from ionetctl.lab.faults.conditions.condition import Condition
from ionetctl.lab.host.machine import HOSTNAME, INTERFACE, MACHINE_ID, MODULES, DockerDaemon

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORK: Final[Mapping[str, Condition]] = {
    "rpc-blocked": Condition(
        "cannot reach the region's servers",
        "servers_unreachable",
        with_network(lambda network: replace(network, way_out="timeout")),
    ),
    "rpc-blocked-in-part": Condition(
        "reaches only servers that are given by address",
        "servers_partly_unreachable",
        with_network(lambda network: replace(network, names="astray")),
    ),
    "dns": Condition(
        "cannot resolve names",
        "dns_failing",
        with_network(lambda network: replace(network, names="unresolved")),
    ),
    "far": Condition(
        "is far from its region", "region_far", with_network(lambda network: replace(network, delay_ms=300.0))
    ),
    "mtu": Condition("has an MTU of 1280", "mtu_low", with_file(f"{INTERFACE}/mtu", "1280\n")),
    "firewall": Condition(
        "has a firewall that lets nothing out",
        "firewall_blocks_rpc",
        all_of(
            with_output(
                "nft",
                "table inet filter {\n\tchain output {\n"
                "\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n",
            ),
            with_network(lambda network: replace(network, way_out="timeout")),
        ),
    ),
}

RUNTIMES: Final[Mapping[str, Condition]] = {
    "docker-missing": Condition(
        "has no Docker",
        "docker_missing",
        all_of(without("usr/bin/docker"), lambda machine: replace(machine, docker=None)),
    ),
    "docker-down": Condition(
        "has a Docker that does not answer", "docker_down", with_docker(DockerDaemon(version=None))
    ),
    "docker-old": Condition(
        "has a Docker of 2017", "docker_old", with_docker(DockerDaemon(version="17.09.1-ce"))
    ),
    "docker-cgroupfs": Condition(
        "has a Docker that keeps control groups itself",
        "docker_cgroup_driver",
        with_docker(DockerDaemon(cgroup_driver="cgroupfs")),
    ),
    "docker-snap": Condition(
        "has a Docker from a snap",
        "docker_snap",
        lambda machine: replace(machine, tools=machine.tools - {"usr/bin/docker"} | {"snap/bin/docker"}),
    ),
    "docker-not-remapped": Condition(
        "has a Docker whose containers' root is the host's",
        "docker_not_remapped",
        with_docker(DockerDaemon(security_options=("name=seccomp,profile=builtin",))),
    ),
    "landlock-off": Condition(
        "has a kernel without Landlock",
        "landlock_off",
        with_file("sys/kernel/security/lsm", "capability,yama,apparmor\n"),
    ),
    "links-followed": Condition(
        "has a kernel that cannot refuse symbolic links", "links_followed", with_output("unshare", "")
    ),
    "loopback-service": Condition(
        "has a service on its loopback",
        "loopback_services",
        with_file(
            "proc/net/tcp",
            "  sl  local_address rem_address   st tx_queue rx_queue\n"
            "   0: 0100007F:2328 00000000:0000 0A 00000000:00000000\n",
        ),
    ),
    "toolkit-missing": Condition(
        "has no NVIDIA container toolkit", "toolkit_missing", without_output("nvidia-ctk")
    ),
    "runtime-missing": Condition(
        "has a Docker that does not know the NVIDIA runtime",
        "nvidia_runtime_missing",
        with_docker(DockerDaemon(runtimes=("io.containerd.runc.v2", "runc"))),
    ),
    "cni-missing": Condition("has no CNI plugins", "cni_missing", without("opt/cni/bin")),
    "bridge-missing": Condition(
        "has no bridge module",
        "bridge_missing",
        all_of(
            with_text(MODULES, "br_netfilter 32768 0 - Live 0x0000000000000000\n", ""),
            with_text(MODULES, "bridge 32768 0 - Live 0x0000000000000000\n", ""),
        ),
    ),
}

WORK: Final[Mapping[str, Condition]] = {
    "miner": Condition("mines", "miner_running", with_process("t-rex")),
    "ionet-worker": Condition(
        "works for io.net already", "ionet_worker_present", with_process("io-worker-vc")
    ),
    "gpu-busy": Condition(
        "has cards that compute for somebody",
        "gpu_busy",
        every_gpu(
            lambda gpu: replace(
                gpu, utilization_percent=100, processes=(GpuProcess(UNUSED_PID + gpu.index, "train", 4096),)
            )
        ),
    ),
    "interrupted": Condition(
        "was left by an apply that was cut off", "interrupted", with_file("var/lib/ionet/pending", "")
    ),
}

CLONES: Final[Mapping[str, Condition]] = {
    "same-client-id": Condition(
        "has another's Nomad client id",
        "client_id_cloned",
        with_file("opt/nomad/data/client/client-id", "c10ec10e-c10e-c10e-c10e-c10ec10ec10e"),
    ),
    "same-machine-id": Condition(
        "has another's machine-id", "machine_id_doubled", with_file(MACHINE_ID, f"{'c10e' * 8}\n")
    ),
    "same-gpu": Condition(
        "shows a GPU that another shows too",
        "gpu_doubled",
        first_gpu(lambda gpu: replace(gpu, uuid="GPU-c10ec10e-c10e-c10e-c10e-c10ec10ec10e")),
    ),
    "same-mac": Condition(
        "has another's MAC address", "mac_doubled", with_file(f"{INTERFACE}/address", "02:c1:0e:c1:0e:c1\n")
    ),
    "same-product-uuid": Condition(
        "has another's UUID in DMI",
        "product_uuid_doubled",
        with_file("sys/class/dmi/id/product_uuid", "c10ec10e-c10e-c10e-c10e-c10ec10ec10e\n"),
    ),
    "same-hostname": Condition("has another's hostname", "hostname_doubled", with_file(HOSTNAME, "rig\n")),
    "same-rig": Condition(
        "has another's number in HiveOS's panel",
        "rig_doubled",
        with_file("hive-config/rig.conf", "RIG_ID=7\nWORKER_NAME=rig07\n"),
    ),
    "same-address": Condition(
        "comes from another's address",
        "address_doubled",
        with_network(lambda network: replace(network, address="10.77.255.254")),
    ),
}
