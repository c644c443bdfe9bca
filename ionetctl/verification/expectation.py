"""What the region must show of a host's node, and the comparison with what it shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostUnverifiedError
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.verification import gpu_evidence

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import NodeView

_READY: Final = "ready"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a node must be, besides ready. ``gpus`` is the number of GPUs, ``None`` where they are not counted.

    ``may_be_ineligible``: an ineligible node is accepted too.
    """

    node_pool: str
    datacenter: str
    gpus: int | None = None
    may_be_ineligible: bool = False


def expected_node(
    host: Host, facts: Facts | None = None, *, may_be_ineligible: bool, counts_gpus: bool = True
) -> Expectation:
    """What the region must show of the host's node: pool, datacenter, number of GPUs, eligibility.

    ``facts`` are those of a probe; without them the inventory says how many GPUs there must be. ``may_be_ineligible``
    is for nodes that ionetctl holds, or whose eligibility is decided later. Without ``counts_gpus`` the region's
    devices are not asked for, and the node may not have fingerprinted them yet.
    """
    gpus = gpu_evidence.expected_gpu_count(host, facts) if counts_gpus else None
    return Expectation(host.node_pool, host.datacenter, gpus, may_be_ineligible)


def check_node(view: NodeView | None, expected: Expectation) -> NodeView | HostUnverifiedError:
    """The node, or the most specific reason why it is not as expected; ``view`` is ``None`` where none has its stamp."""
    if view is None:
        hint = "look at the node's log: journalctl -u nomad.service"
        return HostUnverifiedError(
            "not_registered", "the region does not show the node with this configuration", hint
        )
    gpus = None if expected.gpus is None else _gpu_error(view, expected.gpus)
    return _place_error(view, expected) or _state_error(view, expected) or gpus or view


def _place_error(view: NodeView, expected: Expectation) -> HostUnverifiedError | None:
    if view.node_pool != expected.node_pool:
        message = f"the node is in the pool {view.node_pool}, not in {expected.node_pool}"
        return HostUnverifiedError("wrong_node_pool", message, _PLACE_HINT)
    if view.datacenter != expected.datacenter:
        message = f"the node is in the datacenter {view.datacenter}, not in {expected.datacenter}"
        return HostUnverifiedError("wrong_datacenter", message, _PLACE_HINT)
    return None


_PLACE_HINT: Final = (
    "something else than ionetctl configured it: look at the node's log and at its configuration"
)


def _state_error(view: NodeView, expected: Expectation) -> HostUnverifiedError | None:
    if view.status != _READY:
        return HostUnverifiedError(
            "node_not_ready", f"the node is {view.status}", _STATE_HINTS.get(view.status, "")
        )
    if view.eligibility != ELIGIBLE and not expected.may_be_ineligible:
        return ineligible(view)
    return None


def ineligible(view: NodeView, why: str = "") -> HostUnverifiedError:
    """The error for a node that gets no new allocations, and not because ionetctl holds it; ``why`` is empty where that is not known."""
    hint = f"ionetctl nodes show {view.name} says who keeps jobs from it, and nodes include takes that back"
    message = "the node is not eligible for jobs"
    return HostUnverifiedError("node_ineligible", f"{message}: {why}" if why else message, hint)


_STATE_HINTS: Final = {
    "initializing": "it registered and sent no heartbeat yet; if it stays so, its node pool does not exist",
    "down": "it registered and went silent: can it reach the addresses that the servers advertise?",
    "disconnected": "it registered and went silent: can it reach the addresses that the servers advertise?",
}


def _gpu_error(view: NodeView, expected: int) -> HostUnverifiedError | None:
    cards = gpu_evidence.gpus_of(view)
    errors = (*gpu_evidence.wrong_count(cards, expected), *gpu_evidence.unhealthy(cards))
    return next(iter(errors), None)
