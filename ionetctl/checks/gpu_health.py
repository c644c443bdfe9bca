"""Checks of the cards' health: kernel log, memory, links, heat and power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import cards, found, weight_of_use
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import SeenGpu, Xid

FELL_OFF_BUS: Final = 79
SERIOUS_XIDS: Final = frozenset({48, 62, 63, 64, 74, 92, 94, 95, 119, 120, 140})
"""Memory errors, NVLink errors and firmware that stopped, by NVIDIA's "XID Errors" (GPU deployment documentation)."""
HOT_C: Final = 90
"""Where the card does not say from which temperature on it slows down."""
POWER_SHARE: Final = 0.9
FABRIC_READY: Final = frozenset({"completed", "not_supported"})


def _indices(gpus: Iterable[SeenGpu]) -> list[int]:
    return [one.index for one in gpus]


def bus(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards fell off the bus since the last boot."""
    fallen = sorted({xid.pci_bus_id for xid in facts.machine.xids or () if xid.code == FELL_OFF_BUS})
    if fallen:
        message = f"fell off the bus since the last boot (Xid {FELL_OFF_BUS}): {', '.join(fallen)}"
        yield found("gpu_fell_off_bus", message, severity=weight_of_use(host))


def driver_errors(_host: Host, facts: Facts) -> Iterator[Finding]:
    """What else the driver reported: what points at hardware, then what programs cause too."""
    others = [xid for xid in facts.machine.xids or () if xid.code != FELL_OFF_BUS]
    serious = [xid for xid in others if xid.code in SERIOUS_XIDS]
    harmless = [xid for xid in others if xid.code not in SERIOUS_XIDS]
    if serious:
        yield found("gpu_xid", f"the driver reported {_listed(serious)}")
    if harmless:
        message = f"the driver reported {_listed(harmless)}"
        yield found("gpu_xid", message, severity=Severity.INFO)


def _listed(xids: Iterable[Xid]) -> str:
    rows = sorted(xids, key=lambda xid: (xid.code, xid.pci_bus_id))
    return ", ".join(f"Xid {xid.code} at {xid.pci_bus_id} ({xid.count} times)" for xid in rows)


def memory(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the cards' memory can be relied on."""
    seen = facts.gpus or ()
    if failed := _indices(one for one in seen if one.memory_health.has_remap_failed):
        yield found("gpu_remap_failed", f"memory of {cards(failed)} could not be repaired")
    if pending := _indices(one for one in seen if one.memory_health.pending_repair):
        yield found("gpu_remap_pending", f"a repair of the memory of {cards(pending)} waits for a reset")
    if erring := _indices(one for one in seen if one.memory_health.ecc_uncorrected):
        yield found("gpu_ecc_errors", f"ECC could not correct memory errors of {cards(erring)}")
    worn = _indices(
        one for one in seen if one.memory_health.retired_pages or one.memory_health.remapped_uncorrected
    )
    if worn:
        yield found("gpu_memory_retired", f"parts of the memory of {cards(worn)} are out of use")


def lanes(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the cards have all the lanes that they could have."""
    narrow: dict[tuple[int, int], list[int]] = {}
    for one in facts.gpus or ():
        width, most = one.link.width or 0, one.link.width_max or 0
        if 0 < width < most:
            narrow.setdefault((width, most), []).append(one.index)
    for (width, most), indices in sorted(narrow.items()):
        yield found("pcie_width_low", f"{cards(indices)} on {width} of {most} PCIe lanes")


def heat(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards are so hot that they slow down."""
    hot = _indices(
        one
        for one in facts.gpus or ()
        if one.temperature_c is not None and one.temperature_c >= (one.slowdown_c or HOT_C)
    )
    if hot:
        yield found("gpu_hot", f"{cards(hot)} as hot as where cards slow down")


def power(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether somebody lowered the cards' power."""
    limited = _indices(
        one
        for one in facts.gpus or ()
        if one.power_limit_w is not None and one.power_limit_w < (one.power_default_w or 0) * POWER_SHARE
    )
    if limited:
        yield found("gpu_power_limited", f"the power limit of {cards(limited)} is below its default")


def fabric(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the NVLink fabric is up, where the cards have one."""
    seen = facts.gpus or ()
    waiting = [one for one in seen if one.fabric_state and one.fabric_state not in FABRIC_READY]
    if waiting:
        states = ", ".join(sorted({one.fabric_state or "" for one in waiting}))
        message = f"the NVLink fabric of {cards(_indices(waiting))} is not ready: {states}"
        severity = weight_of_use(host) if len(seen) > 1 else Severity.WARN
        yield found("fabric_not_ready", message, severity=severity)


def nvlinks(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether links are down where some are up: a host without bridges has none up, and that is no fault."""
    seen = [one for one in facts.gpus or () if one.nvlinks is not None and one.nvlinks_max]
    down = [one.index for one in seen if (one.nvlinks or 0) < (one.nvlinks_max or 0)]
    if down and any(one.nvlinks for one in seen):
        yield found("nvlink_down", f"NVLinks of {cards(down)} are down")
