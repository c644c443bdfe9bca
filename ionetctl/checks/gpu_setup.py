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


def mig(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether cards are split by MIG, and whether all of them are."""
    seen = facts.gpus or ()
    split = [card.index for card in seen if card.is_mig_on]
    empty = [card.index for card in seen if card.is_mig_on and not card.mig]
    if empty:
        message = f"{cards(empty)} in MIG mode without an instance: the region will not see it"
        yield found(MIG_EMPTY, message)
    if split:
        instances = sum(len(card.mig) for card in seen)
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
    with_display = [card.index for card in facts.gpus or () if card.has_display]
    if with_display:
        yield found(DISPLAY_IN_USE, f"a display is driven by {cards(with_display)}")


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
    waiting = [card for card in seen if card.fabric_state and card.fabric_state not in FABRIC_READY]
    if waiting:
        states = ", ".join(sorted({card.fabric_state or "" for card in waiting}))
        message = f"the NVLink fabric of {cards([card.index for card in waiting])} is not ready: {states}"
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
    seen = [card for card in facts.gpus or () if card.nvlinks is not None and card.nvlinks_max]
    down = [card.index for card in seen if (card.nvlinks or 0) < (card.nvlinks_max or 0)]
    if down and any(card.nvlinks for card in seen):
        yield found(NVLINK_DOWN, f"NVLinks of {cards(down)} are down")
