"""The documents of Nomad's API about what nodes do: allocations, and what a client uses, with the keys of Nomad 2.0.5."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.lab.json_object import JsonObject

_NS_PER_S: Final = 1_000_000_000
_MIB: Final = 1 << 20
_USED_SHARE: Final = 4
"""A client that is asked uses a quarter of all it has."""
_STUB_KEYS: Final = (
    "AllocatedResources",
    "ClientDescription",
    "ClientStatus",
    "CreateIndex",
    "CreateTime",
    "DeploymentStatus",
    "DesiredDescription",
    "DesiredStatus",
    "DesiredTransition",
    "EvalID",
    "FollowupEvalID",
    "ID",
    "JobID",
    "JobType",
    "JobVersion",
    "ModifyIndex",
    "ModifyTime",
    "Name",
    "Namespace",
    "NextAllocation",
    "NodeID",
    "NodeName",
    "PreemptedAllocations",
    "PreemptedByAllocation",
    "RescheduleTracker",
    "TaskGroup",
    "TaskStates",
)


@dataclass(frozen=True, slots=True)
class Work:
    """An allocation with one task, and what that takes; ``gpus`` are ids by the name of the device."""

    job: str
    driver: str = "docker"
    namespace: str = "default"
    job_type: str = "service"
    cpu_mhz: int = 100
    memory_mib: int = 32
    disk_mib: int = 150
    gpus: Mapping[str, Iterable[str]] = field(default_factory=dict)
    status: str = "running"


def allocation_document(node: JsonObject, work: Work, index: int, now: float) -> JsonObject:
    """An allocation on a node, as ``GET /v1/node/:id/allocations`` has it, without the most of its job."""
    task = {
        "Cpu": {"CpuShares": work.cpu_mhz, "ReservedCores": None},
        "Devices": [
            {"DeviceIDs": [*ids], "Name": name, "Type": "gpu", "Vendor": "nvidia"}
            for name, ids in work.gpus.items()
        ]
        or None,
        "Memory": {"MemoryMB": work.memory_mib, "MemoryMaxMB": 0},
        "Networks": None,
    }
    job = {
        "ID": work.job,
        "Name": work.job,
        "Namespace": work.namespace,
        "Type": work.job_type,
        "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": work.driver}]}],
    }
    shared = {"DiskMB": work.disk_mib, "Networks": None, "Ports": None}
    transition = dict.fromkeys(
        ("ForceReschedule", "Migrate", "MigrateDisablePlacement", "NoShutdownDelay", "Reschedule")
    )
    return {
        "AllocatedResources": {"Shared": shared, "TaskLifecycles": {"t": None}, "Tasks": {"t": task}},
        "ClientDescription": "Tasks are running",
        "ClientStatus": work.status,
        "CreateIndex": index,
        "CreateTime": int(now * _NS_PER_S),
        "DeploymentStatus": None,
        "DesiredDescription": "",
        "DesiredStatus": "run",
        "DesiredTransition": transition,
        "EvalID": str(uuid.uuid4()),
        "FollowupEvalID": "",
        "ID": str(uuid.uuid4()),
        "Job": job,
        "JobID": work.job,
        "JobType": work.job_type,
        "JobVersion": 0,
        "ModifyIndex": index,
        "ModifyTime": int(now * _NS_PER_S),
        "Name": f"{work.job}.g[0]",
        "Namespace": work.namespace,
        "NextAllocation": "",
        "NodeID": node["ID"],
        "NodeName": node["Name"],
        "PreemptedAllocations": None,
        "PreemptedByAllocation": "",
        "RescheduleTracker": None,
        "TaskGroup": "g",
        "TaskStates": None,
    }


def allocation_stub(allocation: JsonObject, *, with_resources: bool) -> JsonObject:
    """A row of ``GET /v1/allocations``."""
    stub = {key: allocation[key] for key in _STUB_KEYS}
    return stub if with_resources else {**stub, "AllocatedResources": None}


def client_statistics(node: JsonObject, now: float) -> JsonObject:
    """The answer of ``GET /v1/client/stats`` for a client that uses a quarter of what it has."""
    resources = node["NodeResources"]
    cores, mhz = resources["Cpu"]["TotalCpuCores"], resources["Cpu"]["CpuShares"]
    memory, disk = resources["Memory"]["MemoryMB"] * _MIB, resources["Disk"]["DiskMB"] * _MIB
    percent = 100.0 / _USED_SHARE
    storage = {
        "Available": disk - disk // _USED_SHARE,
        "Device": "",
        "InodesUsedPercent": percent,
        "Mountpoint": "",
        "Size": disk,
        "Used": disk // _USED_SHARE,
        "UsedPercent": percent,
    }
    ticks = mhz / _USED_SHARE
    core = {"Idle": 100.0 - percent, "System": 0.0, "TotalPercent": percent, "User": percent}
    return {
        "AllocDirStats": storage,
        "CPU": [{"CPU": f"cpu{number}", "TotalTicks": ticks / cores, **core} for number in range(cores)],
        "CPUTicksConsumed": ticks,
        "DeviceStats": [_device_statistics(group) for group in resources["Devices"] or ()],
        "DiskStats": [{**storage, "Device": "/dev/vda", "Mountpoint": "/"}],
        "Memory": {
            "Available": memory - memory // _USED_SHARE,
            "Free": memory - memory // _USED_SHARE,
            "Total": memory,
            "Used": memory // _USED_SHARE,
        },
        "Timestamp": int(now * _NS_PER_S),
        "Uptime": 70_334,
    }


def _device_statistics(group: JsonObject) -> JsonObject:
    total = group["Attributes"]["memory"]["Int"]
    memory = {
        "Desc": "UsedMemory / TotalMemory",
        "IntDenominatorVal": total,
        "IntNumeratorVal": total // _USED_SHARE,
        "Unit": "MiB",
    }
    busy = {
        "Desc": "Percent of time over the past sample period during which one or more kernels were executing on the GPU.",
        "IntNumeratorVal": 100 // _USED_SHARE,
        "Unit": "%",
    }
    instance = {
        "Stats": {"Attributes": {"GPU utilization": busy, "Memory state": memory}, "Nested": {}},
        "Summary": memory,
        "Timestamp": "2026-11-27T12:01:34.286505843Z",
    }
    return {
        "InstanceStats": {each["ID"]: instance for each in group["Instances"]},
        "Name": group["Name"],
        "Type": group["Type"],
        "Vendor": group["Vendor"],
    }
