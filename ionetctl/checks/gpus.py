"""Checks of GPUs against what the inventory promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl import gpu
from ionetctl.checks import driver
from ionetctl.checks.finding import Code, cards, found, severity_if_harmful
from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

GPU_UNKNOWN: Final = Code(
    "gpu_unknown",
    Severity.WARN,
    "GPUs are promised, and nothing on the host can count them",
    looks_at=(
        "Whether NVML, nvidia-smi or the PCI bus could say how many GPUs there are. Where the driver is at fault, its "
        "own finding takes the place of this one."
    ),
    matters="Whether the promise holds shows only in the region, after the enrolment.",
    remedy="install the NVIDIA driver; nvidia-smi must list the cards",
)


def unknown(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the GPUs can be counted; a driver at fault has its own finding."""
    if facts.gpus is not None or not host.gpus.count:
        return
    driver_findings = (
        *driver.hanging(host, facts),
        *driver.presence(host, facts),
        *driver.versions(host, facts),
    )
    if not driver_findings:
        message = f"{counted(host.gpus.count, 'GPU')} promised, and the host cannot say what it has: {facts.gpu_source}"
        yield found(GPU_UNKNOWN, message)


GPU_COUNT_MISMATCH: Final = Code(
    "gpu_count_mismatch",
    Severity.BLOCK,
    "another number of GPUs than promised",
    looks_at="What the probe counts against gpus.count.",
    matters=(
        "A lost card is the commonest fault of a rig: after the next restart of the agent, one lost card hides all of "
        "them from the region."
    ),
    remedy="reseat the lost card and look at dmesg, or correct gpus.count",
)


def count(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether as many are there as promised."""
    promised = host.gpus.count
    if facts.gpus is not None and promised is not None and len(facts.gpus) != promised:
        yield found(GPU_COUNT_MISMATCH, f"{counted(len(facts.gpus), 'GPU')} seen, {promised} promised")


GPU_MODEL_MISMATCH: Final = Code(
    "gpu_model_mismatch",
    Severity.BLOCK,
    "other GPUs than promised",
    looks_at="The names that NVML gives against gpus.model.",
    matters="Jobs are placed and paid by model.",
    remedy="correct gpus.model, or give the host a group of its own",
)


def models(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether all of them are what was promised; a lost card may have no name any more."""
    promised = host.gpus.model
    seen = [card for card in facts.gpus or () if promised and card.name]
    others = sorted(
        {card.name for card in seen if not gpu.is_meant_by(promised or "", card.name, card.memory_mib)}
    )
    if others:
        yield found(GPU_MODEL_MISMATCH, f"{promised} is promised, {' and '.join(others)} seen")


RESERVED_GPU_UNKNOWN: Final = Code(
    "reserved_gpu_unknown",
    Severity.BLOCK,
    "reserve.gpus names a GPU that the host does not have",
    looks_at="reserve.gpus against indices and UUIDs of the cards that were seen.",
    matters="The card that the site wants to keep for itself would be given to jobs.",
    remedy="name GPUs by the index or UUID that nvidia-smi -L prints",
)


def reserved(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the GPUs of ``reserve.gpus`` exist."""
    if facts.gpus is None:
        return
    known = {str(seen.index) for seen in facts.gpus} | {seen.uuid for seen in facts.gpus}
    missing = [name for name in host.reserve.gpus if name not in known]
    if missing:
        message = f"reserve.gpus names {', '.join(missing)}, which this host does not have"
        yield found(RESERVED_GPU_UNKNOWN, message)


GPU_LOST: Final = Code(
    "gpu_lost",
    Severity.BLOCK,
    "a card does not answer any more",
    looks_at="Cards that NVML calls lost, and cards on the PCI bus that it does not list. A warning for gpus: {count: 0}.",
    matters="Nomad's plugin goes on listing a card that was lost while it ran, and after a restart shows none at all.",
    remedy="reboot the host; if it stays, reseat the card, its riser and its power",
)


def lost(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether all cards still answer: those that NVML lists, and those on the bus that it does not."""
    seen = facts.gpus
    silent = [card.index for card in seen or () if card.is_lost]
    if silent:
        yield found(GPU_LOST, f"no answer any more from {cards(silent)}", severity=severity_if_harmful(host))
    on_bus = facts.machine.gpus_on_bus or 0
    if seen is not None and facts.machine.driver.module_version and len(seen) < on_bus:
        message = f"{counted(on_bus, 'NVIDIA card')} on the bus, and the driver lists {len(seen)}"
        yield found(GPU_LOST, message, severity=severity_if_harmful(host))
