"""The node's metadata and node class, from the inventory and the survey. Pure.

Both are part of the bundle, and a change of them restarts the agent. So only values that are the same in two surveys of
an unchanged host belong here; those that vary with the kernel or after a reboot are rounded.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from ionetctl import gpu

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.observed import Rig, SeenGpu

CPU_CLASS: Final = "cpu"
MIXED_CLASS: Final = "mixed-gpu"

_LINE_CLASSES: Final = {
    10: "10m",
    100: "100m",
    1_000: "1g",
    2_500: "2.5g",
    5_000: "5g",
    10_000: "10g",
    25_000: "25g",
    40_000: "40g",
    50_000: "50g",
    100_000: "100g",
    200_000: "200g",
    400_000: "400g",
    800_000: "800g",
}
"""Speeds in Mbit/s that Ethernet comes in, ascending."""
_ROLLING: Final = frozenset(["almalinux", "centos", "fedora", "ol", "rhel", "rocky"])
"""Distributions whose minor version changes with ordinary updates."""
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PLACEHOLDERS: Final = re.compile(
    r"to be filled by o\.e\.m\.?|system (manufacturer|product name|version)|default string|not specified|o\.e\.m\.?",
    re.IGNORECASE,
)
"""Placeholders in DMI of boards whose vendor entered no name."""
_MIB_PER_GIB: Final = 1024
_STEPS: Final = 16
"""Memory is rounded up to sixteenths of the power of two below it; kernel and firmware take less than one of them."""
_POWER_STEP_W: Final = 10


def meta_of(host: Host, facts: Facts, offered: Sequence[SeenGpu]) -> dict[str, str]:
    """Every ``ionet_`` key whose value is known; ``offered`` are the GPUs that jobs may get.

    Documented in docs/reference/host-meta.md.
    """
    machine, driver = facts.machine, facts.machine.driver
    found: dict[str, str | int | None] = {
        "ionet_os": _os(facts),
        "ionet_arch": _ARCHITECTURES.get(facts.architecture, facts.architecture) or None,
        "ionet_cpu": _one_line(machine.cpu_model),
        "ionet_memory_gib": memory_gib(facts.memory_mib),
        "ionet_product": _product(machine.product),
        "ionet_virtualization": machine.virtualization,
        "ionet_gpus": ",".join(sorted(set(_names(offered)))) or None,
        "ionet_gpu_count": _count(host, offered),
        "ionet_driver": (driver.module_version or facts.driver_version) if offered else None,
        "ionet_cuda": facts.cuda_version if offered else None,
        "ionet_power_w": power_w(offered),
        **(_rig(machine.rig) if host.rig.meta and machine.rig else {}),
    }
    return promised_meta(host) | _known(found)


def promised_meta(host: Host) -> dict[str, str]:
    """The ``ionet_`` keys whose values stand in the inventory, whatever a survey finds."""
    return _known(
        {
            "ionet_rack": host.rack,
            "ionet_country": host.location.country,
            "ionet_city": host.location.city,
            "ionet_network_mbps": host.network.mbps,
            "ionet_network_class": network_class(host.network.mbps),
            "ionet_tags": ",".join(host.tags) or None,
        }
    )


def _known(values: Mapping[str, str | int | None]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items() if value is not None}


def node_class_of(host: Host, facts: Facts, offered: Sequence[SeenGpu]) -> str | None:
    """The node's class: the inventory's, else the standard name of the GPUs that jobs may get.

    ``cpu`` where there are none, ``mixed-gpu`` where they differ, ``None`` where the GPUs are unknown.
    """
    if host.node_class:
        return host.node_class
    if host.gpus.count == 0 or (host.gpus.count is None and facts.gpus is not None and not offered):
        return CPU_CLASS
    models = {gpu.standard_name(seen.name, seen.memory_mib) for seen in offered if seen.name}
    if len(models) > 1:
        return MIXED_CLASS
    return next(iter(models), None)


def network_class(mbps: int | None) -> str | None:
    """The fastest Ethernet that a line of this speed fills, ``10g`` for 12,000 Mbit/s; ``None`` below 10 Mbit/s."""
    filled = [name for speed, name in _LINE_CLASSES.items() if mbps is not None and speed <= mbps]
    return filled[-1] if filled else None


def memory_gib(seen_mib: int | None) -> int | None:
    """The installed memory in GiB, from what the kernel reports as total (64 from 62.7)."""
    if not seen_mib:
        return None
    seen = seen_mib / _MIB_PER_GIB
    step = max(1, (1 << max(int(seen), 1).bit_length() - 1) // _STEPS)
    return math.ceil(seen / step) * step


def power_w(gpus: Iterable[SeenGpu]) -> int | None:
    """The sum of the GPUs' default power limits in W, rounded to tens; ``None`` where one of them is unknown.

    The limit in force is a tuning that a reboot resets, so it is used only where there is no default.
    """
    limits = [seen.power_default_w or seen.power_limit_w for seen in gpus]
    known = [limit for limit in limits if limit]
    return round(sum(known) / _POWER_STEP_W) * _POWER_STEP_W if known and len(known) == len(limits) else None


def _names(gpus: Iterable[SeenGpu]) -> Iterable[str]:
    """Standard names; those of the MIG devices where a GPU has some."""
    for seen in gpus:
        if seen.name:
            whole = gpu.standard_name(seen.name, seen.memory_mib)
            yield from [gpu.with_mig(whole, part.profile) for part in seen.mig] or [whole]


def _count(host: Host, offered: Sequence[SeenGpu]) -> int | None:
    """How many GPUs jobs may get: the promised number, so that a GPU that is lost for a while causes no restart."""
    if host.gpus.count is None:
        return len(offered) or None
    return max(0, host.gpus.count - len(host.reserve.gpus)) or None


def _rig(rig: Rig) -> dict[str, str | int | None]:
    return {
        "ionet_rig_system": rig.system,
        "ionet_rig_id": _one_line(rig.rig_id),
        "ionet_rig_name": _one_line(rig.rig_name),
    }


def _os(facts: Facts) -> str | None:
    version = facts.os_version.partition(".")[0] if facts.os_id in _ROLLING else facts.os_version
    return "-".join(part for part in (facts.os_id, version) if part) or None


def _product(text: str | None) -> str | None:
    return _one_line(_PLACEHOLDERS.sub(" ", text)) if text else None


def _one_line(text: str | None) -> str | None:
    return " ".join(text.split()) or None if text else None
