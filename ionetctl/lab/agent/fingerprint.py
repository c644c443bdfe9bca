"""The node document that an agent registers: what it reads from its host, with the keys of Nomad's node API.

GPUs are listed only where Nomad would list them: the plugin's executable is in the plugin directory, a ``plugin`` block
of exactly its name configures it, and the driver answers.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.rooted_path import locate
from ionetctl.lab.host.standin_files import DOCKER_FILE, GPU_FILE, LAB_DIR

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ionetctl.lab.agent.config import AgentConfig
    from ionetctl.lab.host.nvidia_driver import Gpu
    from ionetctl.lab.json_object import JsonObject

_PLUGIN: Final = "nomad-device-nvidia"
_MHZ_PER_CORE: Final = 2250
_DISK_MIB: Final = 258_019
_DRIVERS: Final[Mapping[str, tuple[str, bool]]] = {
    "docker": ("Failed to connect to docker daemon", False),
    "exec": ("Healthy", True),
    "java": ("", False),
    "qemu": ("", False),
    "raw_exec": ("disabled", False),
}


@dataclass(frozen=True, slots=True)
class AgentContext:
    """What a node document needs besides the configuration. ``when`` is the time of fingerprinting, in RFC 3339."""

    tree: Path
    node_id: str
    version: str
    address: str
    when: str


def node_document(config: AgentConfig, context: AgentContext) -> JsonObject:
    """The node as the agent sends it with ``Node.Register``."""
    tree, address = context.tree, context.address
    cores, memory_mib = _cores(tree), _memory_mib(tree)
    return {
        "Attributes": _attributes(config, context, cores, memory_mib),
        "CgroupParent": "nomad.slice",
        "Datacenter": config.datacenter,
        "Drivers": _drivers(config, context),
        "HTTPAddr": config.http_address,
        "ID": context.node_id,
        "Meta": dict(config.meta),
        "Name": config.name,
        "NodeClass": config.node_class,
        "NodePool": config.node_pool,
        "NodeResources": _resources(cores, memory_mib, address, devices(tree, config)),
        "ReservedResources": _reserved(config.reserved),
    }


def devices(tree: Path, config: AgentConfig) -> list[JsonObject] | None:
    """The device groups of the NVIDIA plugin, one for each GPU name; ``None`` without GPUs or plugin."""
    block = config.plugins.get(_PLUGIN)
    program = locate(tree, f"{config.plugin_dir}/{_PLUGIN}")
    if block is None or not program.is_file() or not os.access(program, os.X_OK):
        return None
    settings = block.get("config")
    ignored = settings.get("ignored_gpu_ids", []) if isinstance(settings, dict) else []
    is_enabled = not isinstance(settings, dict) or settings.get("enabled", True) is True
    if not is_enabled or not isinstance(ignored, list):
        return None
    groups: dict[str, list[Gpu]] = {}
    for gpu in _gpus(tree):
        if gpu.uuid not in ignored:
            groups.setdefault(gpu.name, []).append(gpu)
    return [_group(name, gpus) for name, gpus in groups.items()] or None


def _gpus(tree: Path) -> list[Gpu]:
    """The GPUs of a rehearsal host. On a real host that runs this stand-in there are none, and no library to read them."""
    if not (tree / LAB_DIR).is_dir():
        return []
    from ionetctl.lab.host.nvidia_driver import read_gpus

    return read_gpus(tree / GPU_FILE)


def _group(name: str, gpus: list[Gpu]) -> JsonObject:
    instances = [
        {
            "HealthDescription": "",
            "Healthy": True,
            "ID": gpu.uuid,
            "Locality": {"PciBusID": gpu.pci.ljust(32, "\0")},
        }
        for gpu in gpus
    ]
    attributes = {
        "bar1": _number(256, "MiB"),
        "cores_clock": _number(2100, "MHz"),
        "display_state": _string("0"),
        "driver_version": _string("550.54.15"),
        "memory": _number(gpus[0].memory_mib, "MiB"),
        "memory_clock": _number(2100, "MHz"),
        "pci_bandwidth": _number(32_768, "MB/s"),
        "persistence_mode": _string("1"),
        "power": _number(45, "W"),
    }
    return {"Attributes": attributes, "Instances": instances, "Name": name, "Type": "gpu", "Vendor": "nvidia"}


def _number(value: int, unit: str) -> JsonObject:
    return {"Bool": None, "Float": None, "Int": value, "String": None, "Unit": unit}


def _string(value: str) -> JsonObject:
    return {"Bool": None, "Float": None, "Int": None, "String": value, "Unit": ""}


def _drivers(config: AgentConfig, context: AgentContext) -> JsonObject:
    drivers = {name: _driver(name, context.when) for name in _DRIVERS if config.allows(name)}
    daemon = _docker_daemon(context.tree)
    if "docker" in drivers and daemon is not None and daemon["version"]:
        runtimes = ",".join(sorted(daemon["runtimes"]))
        attributes = {"driver.docker.version": daemon["version"], "driver.docker.runtimes": runtimes}
        drivers["docker"] = _healthy("docker", context.when, attributes)
    return drivers


def _docker_daemon(tree: Path) -> JsonObject | None:
    path = tree / DOCKER_FILE
    daemon: JsonObject | None = json.loads(path.read_text()) if path.is_file() else None
    return daemon


def _driver(name: str, when: str) -> JsonObject:
    description, is_healthy = _DRIVERS[name]
    if is_healthy:
        return _healthy(name, when, {})
    health = {"HealthDescription": description, "Healthy": False, "UpdateTime": when}
    return {"Attributes": {}, "Detected": False, **health}


def _healthy(name: str, when: str, more: dict[str, str]) -> JsonObject:
    attributes = {f"driver.{name}": "true"} | more
    return {
        "Attributes": attributes,
        "Detected": True,
        "HealthDescription": "Healthy",
        "Healthy": True,
        "UpdateTime": when,
    }


def _attributes(config: AgentConfig, context: AgentContext, cores: int, memory_mib: int) -> dict[str, str]:
    release = _os_release(context.tree)
    compute = str(cores * _MHZ_PER_CORE)
    return {
        "cpu.arch": "amd64",
        "cpu.frequency": str(_MHZ_PER_CORE),
        "cpu.modelname": "Rehearsal CPU",
        "cpu.numcores": str(cores),
        "cpu.reservablecores": str(cores),
        "cpu.totalcompute": compute,
        "cpu.usablecompute": compute,
        **({"driver.exec": "1"} if config.allows("exec") else {}),
        "kernel.arch": os.uname().machine,
        "kernel.name": "linux",
        "kernel.version": os.uname().release,
        "memory.totalbytes": str(memory_mib << 20),
        "nomad.bridge.hairpin_mode": "false",
        "nomad.service_discovery": "true",
        "nomad.version": context.version,
        "numa.node.count": "1",
        "numa.node0.cores": f"0-{cores - 1}",
        "os.cgroups.version": "2",
        "os.name": release.get("ID", "linux"),
        "os.version": release.get("VERSION_ID", ""),
        "plugins.secrets.nomad.version": "1.0.0",
        "unique.advertise.address": config.http_address,
        "unique.hostname": context.tree.name,
        "unique.network.ip-address": context.address,
        "unique.storage.bytestotal": str(_DISK_MIB << 20),
        "unique.storage.volume": "rehearsal",
    }


def _resources(cores: int, memory_mib: int, address: str, gpus: list[JsonObject] | None) -> JsonObject:
    speeds = {"BaseSpeed": _MHZ_PER_CORE, "GuessSpeed": 0, "MaxSpeed": 0}
    place = {"Disable": False, "Grade": True, "NodeID": 0, "SocketID": 0}
    alias = {"Address": address, "Alias": "default", "Family": "ipv4", "Gateway": "", "ReservedPorts": ""}
    bridge = {"Addresses": None, "Device": "", "MacAddress": "", "Mode": "bridge", "Speed": 0}
    host = {
        "Addresses": [alias],
        "Device": "lo",
        "MacAddress": "02:00:00:00:00:00",
        "Mode": "host",
        "Speed": 1000,
    }
    return {
        "Cpu": {
            "CpuShares": cores * _MHZ_PER_CORE,
            "ReservableCpuCores": list(range(cores)),
            "TotalCpuCores": cores,
        },
        "Devices": gpus,
        "Disk": {"DiskMB": _DISK_MIB},
        "MaxDynamicPort": 32_000,
        "Memory": {"MemoryMB": memory_mib},
        "MinDynamicPort": 20_000,
        "Networks": [
            {"Mode": "bridge"},
            {"CIDR": f"{address}/32", "Device": "lo", "IP": address, "MBits": 1000, "Mode": "host"},
        ],
        "NodeNetworks": [bridge, host],
        "Processors": {
            "Topology": {
                "Cores": [{**speeds, **place, "ID": number} for number in range(cores)],
                "Distances": None,
                "Nodes": [0],
                "OverrideTotalCompute": 0,
                "OverrideWitholdCompute": 0,
            }
        },
    }


def _reserved(reserved: Mapping[str, object]) -> JsonObject:
    numbers = {key: value for key, value in reserved.items() if isinstance(value, int)}
    return {
        "Cpu": {
            "CpuShares": numbers.get("cpu", 0),
            "ReservedCpuCores": _core_list(str(reserved.get("cores", ""))),
        },
        "Disk": {"DiskMB": numbers.get("disk", 0)},
        "Memory": {"MemoryMB": numbers.get("memory", 0)},
        "Networks": {"ReservedHostPorts": str(reserved.get("reserved_ports", ""))},
    }


def _core_list(text: str) -> list[int] | None:
    """The numbers in a list such as ``0-3,7``; ``None`` for an empty one."""
    spans = re.findall(r"(\d+)(?:-(\d+))?", text)
    return [core for low, high in spans for core in range(int(low), int(high or low) + 1)] or None


def _os_release(tree: Path) -> dict[str, str]:
    lines = locate(tree, "/etc/os-release").read_text(errors="replace").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}


def _cores(tree: Path) -> int:
    return max(1, (tree / "proc/cpuinfo").read_text().count("processor\t:"))


def _memory_mib(tree: Path) -> int:
    match = re.search(r"MemTotal:\s+(\d+) kB", (tree / "proc/meminfo").read_text())
    return int(match.group(1)) >> 10 if match else 0
