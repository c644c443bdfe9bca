"""Checks of the cards' health: kernel log, memory, PCIe, heat and power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, cards, found, severity_if_harmful
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import SeenGpu, Xid

FELL_OFF_BUS: Final = 79
PROGRAM_XIDS: Final = frozenset({13, 31, 43, 45, 68, 109})
"""What a faulty program causes too: those that NVIDIA's own Kubernetes device plugin (``internal/rm/health.go``) passes
over. Any other number is serious, those that a later driver adds among them."""
HOT_C: Final = 90
"""Where the card does not say from which temperature on it slows down."""
POWER_SHARE: Final = 0.9


def _indices(gpus: Iterable[SeenGpu]) -> list[int]:
    return [card.index for card in gpus]


GPU_FELL_OFF_BUS: Final = Code(
    "gpu_fell_off_bus",
    Severity.BLOCK,
    "a card fell off its bus since the last boot",
    looks_at="Xid 79 in this boot's kernel log. A warning for gpus: {count: 0}.",
    matters="The card stays away until the next boot, and whatever used it hangs. Risers, power and heat are the causes.",
    remedy="reboot, reseat card and riser, look at power and cooling",
)


def fallen_off_bus(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards fell off the bus since the last boot."""
    fallen = sorted({_place(xid) for xid in facts.machine.xids or () if xid.code == FELL_OFF_BUS})
    if fallen:
        message = f"fell off the bus since the last boot (Xid {FELL_OFF_BUS}): {', '.join(fallen)}"
        yield found(GPU_FELL_OFF_BUS, message, severity=severity_if_harmful(host))


GPU_XID: Final = Code(
    "gpu_xid",
    Severity.WARN,
    "the driver reported errors of a card",
    looks_at=(
        "Other Xids in this boot's kernel log. Those that a faulty program causes too (13, 31, 43, 45, 68, 109) are "
        "information; all others, numbers that are not known yet among them, are warnings."
    ),
    matters=(
        "NVIDIA's list of Xids says what each means; memory errors and firmware that stopped do not mend themselves, and "
        "154 asks for a reset of the card or a reboot."
    ),
    remedy="look up the number in NVIDIA's list of Xids; reset or replace the card",
)


def driver_errors(_host: Host, facts: Facts) -> Iterator[Finding]:
    """What else the driver reported: what may be the hardware's, then what programs cause too."""
    others = [xid for xid in facts.machine.xids or () if xid.code != FELL_OFF_BUS]
    serious = [xid for xid in others if xid.code not in PROGRAM_XIDS]
    harmless = [xid for xid in others if xid.code in PROGRAM_XIDS]
    if serious:
        yield found(GPU_XID, f"the driver reported {_xids(serious)}")
    if harmless:
        message = f"the driver reported {_xids(harmless)}"
        yield found(GPU_XID, message, severity=Severity.INFO)


def _xids(xids: Iterable[Xid]) -> str:
    rows = sorted(xids, key=lambda xid: (xid.code, xid.pci_bus_id))
    return ", ".join(f"Xid {xid.code} at {_place(xid)} ({xid.count}x)" for xid in rows)


def _place(xid: Xid) -> str:
    return xid.pci_bus_id or "a card that is not named"


GPU_ECC_ERRORS: Final = Code(
    "gpu_ecc_errors",
    Severity.WARN,
    "a card had memory errors that ECC could not correct",
    looks_at="The card's count of uncorrected ECC errors over its life.",
    matters="Each of them ended a job.",
    remedy="watch the count; replace the card if it grows",
)

GPU_MEMORY_RETIRED: Final = Code(
    "gpu_memory_retired",
    Severity.WARN,
    "parts of a card's memory are out of use",
    looks_at="Retired pages, and rows remapped after uncorrected errors.",
    matters="The card works. Many of them announce its end: NVIDIA replaces cards from 60 pages or eight rows of a bank on.",
    remedy="watch the count; ask the vendor for a replacement if it grows",
)

GPU_REMAP_PENDING: Final = Code(
    "gpu_remap_pending",
    Severity.WARN,
    "a repair of a card's memory waits for a reset",
    looks_at="Pages to be retired, or rows to be remapped, that are pending.",
    matters="Until the card is reset the bad memory stays in use.",
    remedy="nvidia-smi --gpu-reset, or reboot the host",
)

GPU_REMAP_FAILED: Final = Code(
    "gpu_remap_failed",
    Severity.BLOCK,
    "a card's memory could not be repaired",
    looks_at="The row remapper's failure flag.",
    matters="There are no spare rows left: jobs would meet wrong or lost memory.",
    remedy="replace the card, or hold it back with reserve.gpus",
)


def memory(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the cards' memory can be relied on."""
    seen = facts.gpus or ()
    if failed := _indices(card for card in seen if card.memory_health.has_remap_failed):
        yield found(GPU_REMAP_FAILED, f"memory of {cards(failed)} could not be repaired")
    if pending := _indices(card for card in seen if card.memory_health.pending_repair):
        yield found(GPU_REMAP_PENDING, f"a repair of the memory of {cards(pending)} waits for a reset")
    if erring := _indices(card for card in seen if card.memory_health.ecc_uncorrected):
        yield found(GPU_ECC_ERRORS, f"ECC could not correct memory errors of {cards(erring)}")
    worn = _indices(
        card for card in seen if card.memory_health.retired_pages or card.memory_health.remapped_uncorrected
    )
    if worn:
        yield found(GPU_MEMORY_RETIRED, f"parts of the memory of {cards(worn)} are out of use")


PCIE_WIDTH_LOW: Final = Code(
    "pcie_width_low",
    Severity.WARN,
    "a card runs on fewer PCIe lanes than it could",
    looks_at="The link's width now against the most that card and slot can. The generation is left out: idle cards lower it.",
    matters=(
        "Mining risers have one lane. What computes within the card is as fast as ever; loading models and several "
        "cards at once are many times slower."
    ),
    remedy="put the card into a full slot, or waive this where risers are meant",
)


def pcie_width(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the cards have all the lanes that they could have."""
    narrow: dict[tuple[int, int], list[int]] = {}
    for card in facts.gpus or ():
        width, most = card.link.width or 0, card.link.width_max or 0
        if 0 < width < most:
            narrow.setdefault((width, most), []).append(card.index)
    for (width, most), indices in sorted(narrow.items()):
        yield found(PCIE_WIDTH_LOW, f"{cards(indices)} on {width} of {most} PCIe lanes")


GPU_HOT: Final = Code(
    "gpu_hot",
    Severity.WARN,
    "a card is so hot that it slows down",
    looks_at="Its temperature against the one at which it slows down, else 90 °C.",
    matters="It computes more slowly than its name says, and ages.",
    remedy="clean fans and filters, look at the airflow, renew the paste",
)


def temperature(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards are so hot that they slow down."""
    hot = _indices(
        card
        for card in facts.gpus or ()
        if card.temperature_c is not None and card.temperature_c >= (card.slowdown_c or HOT_C)
    )
    if hot:
        yield found(GPU_HOT, f"{cards(hot)} as hot as where cards slow down")


GPU_POWER_LIMITED: Final = Code(
    "gpu_power_limited",
    Severity.WARN,
    "a card's power limit is set below its default",
    looks_at="The power limit against the default; from 90 % on it is left alone.",
    matters="Miners lower it to save power. The card then computes more slowly than its name says.",
    remedy="nvidia-smi --power-limit with the default, and take it out of the miner's start-up scripts",
)


def power_limit(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether somebody lowered the cards' power."""
    limited = _indices(
        card
        for card in facts.gpus or ()
        if card.power_limit_w is not None and card.power_limit_w < (card.power_default_w or 0) * POWER_SHARE
    )
    if limited:
        yield found(GPU_POWER_LIMITED, f"the power limit of {cards(limited)} is below its default")
