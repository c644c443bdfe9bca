"""The fleet's GPUs, summed by standard name, and its CPU, memory and disk: as a document, as lines, and as a virtual node's resources. Pure."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from ionetctl import gpu
from ionetctl.core.model.node import ELIGIBLE, Amounts
from ionetctl.summary.fleet import READY, UNKNOWN, unanswered_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from ionetctl.core.model.names import RegionName
    from ionetctl.summary.fleet import NodeStatus, StatusReport

CAPACITY_SCHEMA: Final = "ionetctl.capacity/1"
RESOURCE_PREFIX: Final = "ionet.io/"
NVIDIA_PREFIX: Final = "nvidia.com/"
"""The resource prefix of NVIDIA's device plugin for Kubernetes, so that pods written for it fit."""

_LABEL_MAX: Final = 63
_LABEL_HEAD: Final = 54
_DIGEST: Final = 8

Gpus = Mapping[str, int]
"""GPUs by standard name."""


class Standing(StrEnum):
    """What may be done with a node's GPUs."""

    SCHEDULABLE = "schedulable"
    """Ready and eligible: jobs can be placed there."""
    UNSCHEDULABLE = "unschedulable"
    """The region knows the node and places no jobs there."""
    UNKNOWN = "unknown"
    """The region answered and does not list the node."""
    RECORDED = "recorded"
    """The region was not asked or did not answer: as last recorded in the catalog."""


@dataclass(frozen=True, slots=True)
class Shares:
    """CPU, memory and disk of nodes. Thousandths of a core, since allocations take MHz, of which each node's cores have their own number."""

    cpu_millicores: int = 0
    cpu_mhz: int = 0
    memory_mib: int = 0
    disk_mib: int = 0

    def __add__(self, other: Shares) -> Shares:
        return Shares(
            self.cpu_millicores + other.cpu_millicores,
            self.cpu_mhz + other.cpu_mhz,
            self.memory_mib + other.memory_mib,
            self.disk_mib + other.disk_mib,
        )


NONE: Final = Shares()


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of nodes, and their healthy GPUs; what else they have, hold back from jobs and have given to them.

    ``free`` is what is left for jobs, nothing where none can be placed; so are ``gpus_free``.
    """

    nodes: int
    gpus: Gpus
    has: Shares = NONE
    reserved: Shares = NONE
    in_use: Shares = NONE
    free: Shares = NONE
    gpus_in_use: Gpus = field(default_factory=dict)
    gpus_free: Gpus = field(default_factory=dict)


Tallies = Mapping[Standing, Tally]


@dataclass(frozen=True, slots=True)
class Capacity:
    """The fleet's GPUs, in all and by region, each by standing."""

    total: Tallies
    regions: Mapping[RegionName, Tallies]
    is_offline: bool
    unanswered: Mapping[str, Any] = field(default_factory=dict)
    """What the document says of regions that were asked in vain."""
    untold: Mapping[RegionName, str] = field(default_factory=dict)
    """Regions that do not tell what jobs take, with the reason: all of that counts as free."""

    @property
    def available(self) -> Gpus:
        """The GPUs that jobs can get: the schedulable ones, or the recorded ones where no region was asked."""
        return self.total[Standing.RECORDED if self.is_offline else Standing.SCHEDULABLE].gpus

    @property
    def all_gpus(self) -> Gpus:
        """Every GPU, whatever its node's standing."""
        return _sum(tally.gpus for tally in self.total.values())

    @property
    def has(self) -> Shares:
        """CPU, memory and disk of all nodes, whatever their standing."""
        return _add(tally.has for tally in self.total.values())

    @property
    def unknown_products(self) -> tuple[str, ...]:
        """Standard names that are not in the table of models, or not with this memory size."""
        return tuple(name for name in self.all_gpus if not gpu.is_known(name))


def capacity_of(report: StatusReport, *, is_offline: bool) -> Capacity:
    """The capacity of a fleet; ``is_offline`` says that no region was asked for the report."""
    unanswered = {node.region for node in report.nodes} if is_offline else set(report.silent)
    names = dict.fromkeys(sorted(node.region for node in report.nodes))
    return Capacity(
        total=_tallies(report.nodes, unanswered),
        regions={
            name: _tallies([node for node in report.nodes if node.region == name], unanswered)
            for name in names
        },
        is_offline=is_offline,
        unanswered=unanswered_keys(report),
        untold=report.untold,
    )


def capacity_document(capacity: Capacity) -> dict[str, Any]:
    """The ``capacity -o json`` document."""
    return {
        "schema": CAPACITY_SCHEMA,
        "total": _tallies_document(capacity.total),
        "regions": {name: _tallies_document(tallies) for name, tallies in capacity.regions.items()},
        "unknown_products": list(capacity.unknown_products),
        **capacity.unanswered,
        "untold": [{"region": name, "message": reason} for name, reason in capacity.untold.items()],
    }


def capacity_rows(capacity: Capacity) -> list[dict[str, Any]]:
    """One row for each region, standing and model."""
    return [
        {"region": region, "standing": standing, "gpu": name, "count": count}
        for region, tallies in capacity.regions.items()
        for standing, tally in tallies.items()
        for name, count in tally.gpus.items()
    ]


def capacity_lines(capacity: Capacity) -> list[str]:
    """``nvidia.rtx.3090.24gb: 2`` for each available model."""
    return [f"{name}: {count}" for name, count in capacity.available.items()]


def virtual_node(capacity: Capacity) -> dict[str, dict[str, str]]:
    """``capacity`` and ``allocatable`` of one virtual node for the whole fleet, in the form of a Kubernetes node's status.

    Amounts of extended resources are whole numbers written as text
    (kubernetes.io/docs/concepts/configuration/manage-resources-containers, "Extended resources"). CPU, memory and disk are
    those of the nodes; in ``allocatable`` without what is held back, excluded, or taken by jobs.
    """
    free = capacity.total[Standing.SCHEDULABLE].free
    return {
        "capacity": _resources(capacity.all_gpus) | _native_resources(capacity.has, capacity.has),
        "allocatable": _resources(capacity.available) | _native_resources(free, capacity.has),
    }


def virtual_node_lines(capacity: Capacity) -> list[str]:
    """The virtual node's resources as YAML, to be put below a node's ``status``."""
    lines = []
    for key, resources in virtual_node(capacity).items():
        lines.append(f"{key}:" if resources else f"{key}: {{}}")
        lines += [f'  {name}: "{count}"' for name, count in resources.items()]
    return lines


def resource_name(standard: str) -> str:
    """The extended resource for a standard name: a prefix, and at most 63 characters, with a digest where it is longer."""
    if len(standard) > _LABEL_MAX:
        digest = hashlib.sha256(standard.encode()).hexdigest()[:_DIGEST]
        standard = f"{standard[:_LABEL_HEAD].rstrip('.')}-{digest}"
    return RESOURCE_PREFIX + standard


def _resources(gpus: Gpus) -> dict[str, str]:
    amounts: Counter[str] = Counter()
    for name, count in gpus.items():
        amounts[resource_name(name)] += count
        amounts[NVIDIA_PREFIX + _nvidia_resource(name)] += count
    return {name: str(count) for name, count in sorted(amounts.items())}


def _native_resources(amount: Shares, has: Shares) -> dict[str, str]:
    """CPU, memory and disk as Kubernetes calls them; none where no region has told any."""
    if has == NONE:
        return {}
    return {
        "cpu": f"{amount.cpu_millicores}m",
        "ephemeral-storage": f"{amount.disk_mib}Mi",
        f"{RESOURCE_PREFIX}cpu-mhz": str(amount.cpu_mhz),
        "memory": f"{amount.memory_mib}Mi",
    }


def _nvidia_resource(standard: str) -> str:
    """``gpu``, or ``mig-1g.5gb`` for MIG devices, as NVIDIA's device plugin names them in its mixed strategy."""
    sliced = re.search(r"\.mig\.(.+)$", standard)
    return f"mig-{sliced[1]}"[:_LABEL_MAX].rstrip(".") if sliced else "gpu"


def _tallies(nodes: Iterable[NodeStatus], unanswered: AbstractSet[RegionName]) -> Tallies:
    groups: dict[Standing, list[NodeStatus]] = {standing: [] for standing in Standing}
    for node in nodes:
        groups[_standing(node, unanswered)].append(node)
    return {standing: _tally(standing, group) for standing, group in groups.items()}


def _tally(standing: Standing, nodes: Sequence[NodeStatus]) -> Tally:
    parts = [_parts(node) for node in nodes]
    is_open = standing is Standing.SCHEDULABLE
    return Tally(
        len(nodes),
        _sum(_gpus(node, standing) for node in nodes),
        has=_add(part.has for part in parts),
        reserved=_add(part.reserved for part in parts),
        in_use=_add(part.in_use for part in parts),
        free=_add(part.free for part in parts) if is_open else NONE,
        gpus_in_use=_sum(node.gpus_taken for node in nodes),
        gpus_free=_sum(map(_gpus_free, nodes)) if is_open else {},
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a node has, holds back, has given to jobs, and has left."""

    has: Shares = NONE
    reserved: Shares = NONE
    in_use: Shares = NONE
    free: Shares = NONE


def _parts(node: NodeStatus) -> _Parts:
    if node.resources is None:
        return _Parts()
    cores, total = node.resources.cpu_cores, node.resources.total

    def shares(amounts: Amounts) -> Shares:
        millicores = 1000 * cores * amounts.cpu_mhz // total.cpu_mhz if total.cpu_mhz else 0
        return Shares(millicores, amounts.cpu_mhz, amounts.memory_mib, amounts.disk_mib)

    reserved, taken = node.resources.reserved, node.takes or Amounts()
    left = Amounts(
        max(0, total.cpu_mhz - reserved.cpu_mhz - taken.cpu_mhz),
        max(0, total.memory_mib - reserved.memory_mib - taken.memory_mib),
        max(0, total.disk_mib - reserved.disk_mib - taken.disk_mib),
    )
    return _Parts(shares(total), shares(reserved), shares(taken), shares(left))


def _gpus_free(node: NodeStatus) -> Gpus:
    return {name: max(0, count - node.gpus_taken.get(name, 0)) for name, count in node.gpus.items()}


def _add(parts: Iterable[Shares]) -> Shares:
    return sum(parts, NONE)


def _standing(node: NodeStatus, unanswered: AbstractSet[RegionName]) -> Standing:
    if node.status == UNKNOWN:
        return Standing.RECORDED if node.region in unanswered else Standing.UNKNOWN
    is_schedulable = node.status == READY and node.eligibility == ELIGIBLE
    return Standing.SCHEDULABLE if is_schedulable else Standing.UNSCHEDULABLE


def _gpus(node: NodeStatus, standing: Standing) -> Gpus:
    """A node's GPUs; of one whose region was not asked those last seen, with the inventory's model."""
    if standing is not Standing.RECORDED:
        return node.gpus
    count = node.gpus_expected if node.gpus_seen is None else node.gpus_seen
    return {gpu.standard_name_of(node.gpu_model or ""): count} if count else {}


def _sum(parts: Iterable[Gpus]) -> Gpus:
    amounts: Counter[str] = Counter()
    for part in parts:
        amounts.update(part)
    return dict(sorted(amounts.items()))


def _tallies_document(tallies: Tallies) -> dict[str, Any]:
    return {
        standing: {
            "nodes": tally.nodes,
            "gpus": dict(tally.gpus),
            "capacity": _shares_document(tally.has),
            "reserved": _shares_document(tally.reserved),
            "in_use": {**_shares_document(tally.in_use), "gpus": dict(tally.gpus_in_use)},
            "free": {**_shares_document(tally.free), "gpus": dict(tally.gpus_free)},
        }
        for standing, tally in tallies.items()
    }


def _shares_document(shares: Shares) -> dict[str, Any]:
    return {
        "cpu_cores": shares.cpu_millicores / 1000,
        "cpu_mhz": shares.cpu_mhz,
        "memory_mib": shares.memory_mib,
        "disk_mib": shares.disk_mib,
    }
