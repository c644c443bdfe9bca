"""Hosts where nothing differs from their bundle: what their region reports of the node decides what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostUnverifiedError
from ionetctl.core.events import StepStarted
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.host.planned_host import Mark
from ionetctl.host.release_node import Admission, is_released, keeps_held
from ionetctl.verification import gpu_evidence
from ionetctl.verification.expectation import check_node, expected_node
from ionetctl.verification.stamped_nodes import find_stamped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.node import NodeView
    from ionetctl.host.dependencies import Dependencies, RegionTools
    from ionetctl.host.planned_host import PlannedHost

BEYOND_A_RESTART: Final = frozenset(
    {
        "docker_unhealthy",
        "gpu_model_mismatch",
        "node_ineligible",
        "nvidia_runtime_missing",
        "wrong_datacenter",
        "wrong_node_pool",
    }
)
"""What somebody decided, or what stands in the host: to restart the agent would change nothing."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The node is as it should be: nothing is to be done."""

    planned: PlannedHost
    view: NodeView


@dataclass(frozen=True, slots=True)
class Held:
    """The node proves itself, and ionetctl still holds it: it is to be released."""

    planned: PlannedHost


@dataclass(frozen=True, slots=True)
class Unfit:
    """The node is not as it should be, and a restart of its agent would not change that."""

    planned: PlannedHost
    view: NodeView
    error: HostUnverifiedError


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The region does not show the node as it should be, and a restart of its agent may change that."""

    planned: PlannedHost
    error: HostUnverifiedError


Converged = Verified | Held | Unfit | Unconfirmed


async def judge_converged(tools: RegionTools, hosts: Sequence[PlannedHost]) -> list[Converged]:
    """One case for each host, in order; all are hosts of the region, with an empty plan. Raises what the region raises."""
    stamps = {node_id: one.plan.stamp for one in hosts if (node_id := one.facts.nomad.node_id)}
    with_devices = any(gpu_evidence.expected_gpu_count(one.host, one.facts) is not None for one in hosts)
    stamped = await find_stamped(tools.api, stamps, with_devices=with_devices)
    return [_judge(one, stamped.get(one.facts.nomad.node_id or NodeId(""))) for one in hosts]


def _judge(planned: PlannedHost, view: NodeView | None) -> Converged:
    host, facts = planned.host, planned.facts
    verdict = check_node(view, expected_node(host, facts, may_be_ineligible=planned.mark.is_ours))
    if not isinstance(verdict, HostUnverifiedError):
        verdict = gpu_evidence.shortfall(host, verdict, facts) or verdict
    if not isinstance(verdict, HostUnverifiedError):
        return Verified(planned, verdict) if verdict.eligibility == ELIGIBLE else Held(planned)
    if view is not None and verdict.code in BEYOND_A_RESTART:
        return Unfit(planned, view, verdict)
    return Unconfirmed(planned, verdict)


async def complete_release(deps: Dependencies, verified: Verified) -> None:
    """Write the mark of an eligible node where a release was cut off before it. Raises what the region raises."""
    planned = verified.planned
    if planned.mark is not Mark.RELEASED:
        await _announce(deps, planned)
        admission = Admission(deps.regions[planned.host.region], deps.emit)
        await admission.mark_released(planned.host, verified.view)


async def note_refusal(deps: Dependencies, unfit: Unfit) -> None:
    """Note in the region why a node that is held there is not released. Raises what the region raises."""
    planned = unfit.planned
    api = deps.regions[planned.host.region].api
    if keeps_held(planned, unfit.view) and not await is_released(api, unfit.view.id):
        await _announce(deps, planned)
        admission = Admission(deps.regions[planned.host.region], deps.emit)
        await admission.refuse(planned, unfit.view, unfit.error)


async def _announce(deps: Dependencies, planned: PlannedHost) -> None:
    """Record that the host's node is about to be changed, as at the beginning of any other apply."""
    await deps.emit(StepStarted(host=planned.host.name, step="apply", attempt=1))
