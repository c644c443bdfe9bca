"""Checks of how the cards are set up: MIG instances, displays, the NVLink fabric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, cards, found, severity_if_harmful
from ionetctl.core.model.outcome import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

FABRIC_READY: Final = frozenset({"completed", "not_supported"})


MIG_ON: Final = Code(
    "mig_on",
    Severity.INFO,
    "cards are split into MIG instances",
    looks_at="The MIG mode of each card, and its instances.",
    matters="The region sees the instances in place of the card: jobs that ask for a whole card are not placed on it.",
    remedy="nvidia-smi mig -lgi lists the instances; nvidia-smi -mig 0 gives the whole card back",
)

MIG_EMPTY: Final = Code(
    "mig_empty",
    Severity.WARN,
    "a card is in MIG mode and has no instance",
    looks_at="The MIG mode of each card, and its instances.",
    matters="The device plugin lists instances in place of the card: this one it does not show at all.",
    remedy="nvidia-smi mig -cgi … -C makes instances; nvidia-smi -mig 0 gives the whole card back",
)

MIG_MIXED: Final = Code(
    "mig_mixed",
    Severity.WARN,
    "some cards are split by MIG and others are not",
    looks_at="The MIG mode of all cards of the host.",
    matters="Jobs that ask for whole cards and jobs that ask for instances both come here; counts per host are hard to read.",
    remedy="split all cards alike, or waive this where it is meant",
)


def splits(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards are split by MIG, and whether all are alike in that."""
    seen = facts.gpus or ()
    split = [one.index for one in seen if one.is_mig_on]
    empty = [one.index for one in seen if one.is_mig_on and not one.mig]
    if empty:
        message = f"{cards(empty)} in MIG mode without an instance: the region will not see it"
        yield found(MIG_EMPTY, message)
    if split:
        instances = sum(len(one.mig) for one in seen)
        yield found(MIG_ON, f"{cards(split)} split into {instances} MIG instances")
    if 0 < len(split) < len(seen):
        yield found(MIG_MIXED, f"{len(split)} of {len(seen)} cards are split by MIG")


DISPLAY_IN_USE: Final = Code(
    "display_in_use",
    Severity.INFO,
    "a card drives a display",
    looks_at="Whether a display is active on the card.",
    matters="The desktop takes memory and time of the card, and jobs that fill it may end the desktop.",
    remedy="systemctl set-default multi-user.target, or hold the card back with reserve.gpus",
)


def displays(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a desktop runs on a card."""
    shown = [one.index for one in facts.gpus or () if one.has_display]
    if shown:
        yield found(DISPLAY_IN_USE, f"a display is driven by {cards(shown)}")


FABRIC_NOT_READY: Final = Code(
    "fabric_not_ready",
    Severity.BLOCK,
    "the cards' NVLink fabric is not ready",
    looks_at="The fabric state of each card that has one. A warning where the host has a single card or gpus: {count: 0}.",
    matters="On machines with NVSwitch CUDA starts on no card before the fabric manager has trained the fabric.",
    remedy="systemctl enable --now nvidia-fabricmanager, of the driver's very version",
)


def fabric(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the NVLink fabric is up, where the cards have one."""
    seen = facts.gpus or ()
    waiting = [one for one in seen if one.fabric_state and one.fabric_state not in FABRIC_READY]
    if waiting:
        states = ", ".join(sorted({one.fabric_state or "" for one in waiting}))
        message = f"the NVLink fabric of {cards([one.index for one in waiting])} is not ready: {states}"
        severity = severity_if_harmful(host) if len(seen) > 1 else Severity.WARN
        yield found(FABRIC_NOT_READY, message, severity=severity)


NVLINK_DOWN: Final = Code(
    "nvlink_down",
    Severity.WARN,
    "NVLinks of a card are down",
    looks_at="Active NVLinks against those that the card has. A host without any active link has no bridge: that is no fault.",
    matters="Transfers between cards are slower, and jobs over several cards with them.",
    remedy="reseat the bridge; nvidia-smi nvlink --status shows which link it is",
)


def nvlinks(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether links are down where some are up: a host without bridges has none up, and that is no fault."""
    seen = [one for one in facts.gpus or () if one.nvlinks is not None and one.nvlinks_max]
    down = [one.index for one in seen if (one.nvlinks or 0) < (one.nvlinks_max or 0)]
    if down and any(one.nvlinks for one in seen):
        yield found(NVLINK_DOWN, f"NVLinks of {cards(down)} are down")
