"""Checks of GPUs against what the inventory promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl import gpu
from ionetctl.checks import driver
from ionetctl.checks.finding import cards, found, weight_of_use

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding


def unknown(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether anybody can say how many there are; a driver at fault has its own finding."""
    if facts.gpus is not None or not host.gpus.count:
        return
    at_fault = (*driver.hanging(host, facts), *driver.presence(host, facts), *driver.versions(host, facts))
    if not at_fault:
        message = (
            f"{host.gpus.count} GPUs are promised, and the host cannot say what it has: {facts.gpu_source}"
        )
        yield found("gpu_unknown", message)


def count(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether as many are there as promised."""
    promised = host.gpus.count
    if facts.gpus is not None and promised is not None and len(facts.gpus) != promised:
        yield found("gpu_count_mismatch", f"{len(facts.gpus)} GPUs seen, {promised} promised")


def models(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether all of them are what was promised; a lost card may have no name any more."""
    promised = host.gpus.model
    seen = [one for one in facts.gpus or () if promised and one.name]
    others = sorted(
        {one.name for one in seen if not gpu.is_meant_by(promised or "", one.name, one.memory_mib)}
    )
    if others:
        yield found("gpu_model_mismatch", f"{promised} is promised, {' and '.join(others)} seen")


def reserved(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether those that are held back exist."""
    if facts.gpus is None:
        return
    known = {str(seen.index) for seen in facts.gpus} | {seen.uuid for seen in facts.gpus}
    missing = [name for name in host.reserve.gpus if name not in known]
    if missing:
        message = f"reserve.gpus names {', '.join(missing)}, which this host does not have"
        yield found("reserved_gpu_unknown", message)


def lost(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether all cards still answer: those that NVML lists, and those on the bus that it does not."""
    seen = facts.gpus
    silent = [one.index for one in seen or () if one.is_lost]
    if silent:
        yield found("gpu_lost", f"no answer any more from {cards(silent)}", severity=weight_of_use(host))
    on_bus = facts.machine.gpus_on_bus or 0
    if seen is not None and facts.machine.driver.module_version and len(seen) < on_bus:
        message = f"{on_bus} NVIDIA cards are on the bus, and the driver lists {len(seen)}"
        yield found("gpu_lost", message, severity=weight_of_use(host))


def splits(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards are split by MIG, and whether all are alike in that."""
    seen = facts.gpus or ()
    split = [one.index for one in seen if one.is_mig_on]
    empty = [one.index for one in seen if one.is_mig_on and not one.mig]
    if empty:
        message = f"{cards(empty)} in MIG mode without an instance: the region will not see it"
        yield found("mig_empty", message)
    if split:
        instances = sum(len(one.mig) for one in seen)
        yield found("mig_on", f"{cards(split)} split into {instances} MIG instances")
    if 0 < len(split) < len(seen):
        yield found("mig_mixed", f"{len(split)} of {len(seen)} cards are split by MIG")


def displays(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a desktop runs on a card."""
    shown = [one.index for one in facts.gpus or () if one.has_display]
    if shown:
        yield found("display_in_use", f"a display is driven by {cards(shown)}")
