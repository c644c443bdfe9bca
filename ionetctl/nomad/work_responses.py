"""Nomad's answers about what nodes do, from JSON to records: what allocations take of them, and what they use now.

As strict as ``responses``, and with texts made printable likewise: jobs are named by whoever may submit them.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Final

import msgspec

from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import Amounts, GpuUse, NodeUse, PlacedAllocation
from ionetctl.nomad.responses import Disk, Memory, Number, common, printable

_GPU: Final = "gpu"
_MEMORY: Final = "Memory state"
_UTILIZATION: Final = "GPU utilization"
"""As NVIDIA's device plugin calls them (nomad-device-nvidia, stats.go)."""
_Measured = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _TakenCpu(msgspec.Struct, rename="pascal"):
    cpu_shares: Number = 0


class _TakenDevice(msgspec.Struct, rename="pascal"):
    type: str = ""
    name: str = ""
    ids: list[str] | None = msgspec.field(name="DeviceIDs", default=None)


class _TaskTakes(msgspec.Struct, rename="pascal"):
    cpu: _TakenCpu | None = None
    memory: Memory | None = None
    devices: list[_TakenDevice] | None = None


class _Takes(msgspec.Struct, rename="pascal"):
    tasks: dict[str, _TaskTakes] | None = None
    shared: Disk | None = None


class AllocationStub(msgspec.Struct, rename="pascal"):
    """A row of ``GET /v1/allocations`` with ``resources``."""

    id: str = msgspec.field(name="ID")
    name: str
    client_status: str
    node_id: str = msgspec.field(name="NodeID")
    job_id: str = msgspec.field(name="JobID", default="")
    namespace: str = ""
    allocated_resources: _Takes | None = None


class _HostMemory(msgspec.Struct, rename="pascal"):
    total: _Bytes = 0
    used: _Bytes = 0
    available: _Bytes = 0


class _HostCpu(msgspec.Struct, rename="pascal"):
    total_percent: _Measured = 0.0


class _HostDisk(msgspec.Struct, rename="pascal"):
    size: _Bytes = 0
    used: _Bytes = 0


class _Statistic(msgspec.Struct):
    value: Number | None = msgspec.field(name="IntNumeratorVal", default=None)
    of: Number | None = msgspec.field(name="IntDenominatorVal", default=None)


class _Statistics(msgspec.Struct, rename="pascal"):
    attributes: dict[str, _Statistic] | None = None


class _InstanceStatistics(msgspec.Struct, rename="pascal"):
    stats: _Statistics | None = None


class _DeviceStatistics(msgspec.Struct, rename="pascal"):
    type: str = ""
    name: str = ""
    instance_stats: dict[str, _InstanceStatistics] | None = None


class ClientStatistics(msgspec.Struct, rename="pascal"):
    """The part of ``GET /v1/client/stats`` that ionetctl shows."""

    memory: _HostMemory | None = None
    cpu: list[_HostCpu] | None = msgspec.field(name="CPU", default=None)
    alloc_dir_stats: _HostDisk | None = None
    device_stats: list[_DeviceStatistics] | None = None


def placed_allocation(row: AllocationStub) -> PlacedAllocation:
    """An allocation of a region as a record of the model."""
    takes = row.allocated_resources or _Takes()
    tasks = (takes.tasks or {}).values()
    gpus: Counter[str] = Counter()
    for task in tasks:
        for device in task.devices or ():
            if device.type == _GPU:
                gpus[common(device.name)] += len(device.ids or ())
    return PlacedAllocation(
        name=printable(row.name),
        job=common(row.job_id),
        namespace=common(row.namespace),
        node=NodeId(printable(row.node_id)),
        takes=Amounts(
            sum([task.cpu.cpu_shares for task in tasks if task.cpu]),
            sum([task.memory.mib for task in tasks if task.memory]),
            takes.shared.mib if takes.shared else 0,
        ),
        gpus=tuple(sorted(gpus.items())),
    )


def node_use(found: ClientStatistics) -> NodeUse:
    """What a node uses, as a record of the model; the CPU's percentage is that of all cores together."""
    memory, disk = found.memory or _HostMemory(), found.alloc_dir_stats or _HostDisk()
    cores = found.cpu or []
    return NodeUse(
        cpu_percent=sum(core.total_percent for core in cores) / len(cores) if cores else 0.0,
        memory_used_mib=(memory.total - min(memory.available, memory.total)) >> 20,
        memory_mib=memory.total >> 20,
        disk_used_mib=disk.used >> 20,
        disk_mib=disk.size >> 20,
        gpus=tuple(_gpu_uses(found.device_stats or [])),
    )


def _gpu_uses(groups: list[_DeviceStatistics]) -> list[GpuUse]:
    uses = []
    for group in groups:
        for gpu_id, instance in sorted((group.instance_stats or {}).items()):
            known = (instance.stats.attributes if instance.stats else None) or {}
            memory, utilization = known.get(_MEMORY, _Statistic()), known.get(_UTILIZATION, _Statistic())
            if group.type == _GPU:
                uses.append(
                    GpuUse(
                        printable(gpu_id), printable(group.name), utilization.value, memory.value, memory.of
                    )
                )
    return uses
