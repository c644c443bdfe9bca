"""From a registered node to one that may have jobs: held until it proves its GPUs, then released. Sees ports only.

A new node registers ineligible, and its metadata records that ionetctl holds it. Only such a node is released; one that
somebody else made ineligible is left alone. Eligibility is changed before the metadata, so that whatever a release that
was cut off has left is still ionetctl's, and the next run completes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ionetctl.checks import blocking
from ionetctl.core import host_paths
from ionetctl.core.errors import HostError, HostUnverifiedError, RegionError
from ionetctl.core.events import NodeHeld, NodeReleased, Warned
from ionetctl.core.model.node import ELIGIBLE
from ionetctl.host.outcomes import finding_error
from ionetctl.host.planned_host import Mark
from ionetctl.verification import gpu_evidence
from ionetctl.verification.expectation import expected_node, ineligible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import LastDrain, NodeMeta, NodeView
    from ionetctl.core.ports import Emit, Region
    from ionetctl.host.dependencies import RegionTools
    from ionetctl.host.planned_host import PlannedHost

SHORT: Final = "short"
"""What the region shows of the node falls short: once it shows it, the node is proved."""
FLAWED: Final = "flawed"
"""The host itself falls short, by a probe: only another probe can clear it."""
REASON_CHARACTERS: Final = 200
_BY_REGION: Final = f"{host_paths.HELD}|{SHORT}: [a-z_]+"
_BY_ANYTHING: Final = f"{_BY_REGION}|{FLAWED}: [a-z_]+"
_MARK_OF_RELEASED: Final[Mapping[str, str | None]] = {
    host_paths.ADMISSION_KEY: host_paths.RELEASED,
    host_paths.ADMISSION_REASON_KEY: None,
}
DRAINING: Final = "node_draining"
_DRAINS: Final = frozenset({"draining", "complete"})
"""Of the last drain: a node stays ineligible after one that was through."""
_UNMARKED_FILTER: Final = f"Meta.{host_paths.ADMISSION_KEY} is empty"


async def marks(region: Region) -> Mapping[NodeId, Mark]:
    """The nodes of a region that ionetctl holds, and those that bear no mark; all others it has released.

    What was written into metadata shows here up to ten seconds later. Raises what the region raises.
    """
    found = dict.fromkeys((view.id for view in await region.nodes(_UNMARKED_FILTER)), Mark.NONE)
    return found | dict.fromkeys(await held(region), Mark.HELD)


async def held(region: Region, *, by_region: bool = False) -> frozenset[NodeId]:
    """The nodes that ionetctl holds; ``by_region``: those that what the region shows can clear.

    Raises what the region raises.
    """
    pattern = _BY_REGION if by_region else _BY_ANYTHING
    expression = f'Meta.{host_paths.ADMISSION_KEY} matches "^({pattern})$"'
    return frozenset(view.id for view in await region.nodes(expression))


def keeps_held(planned: PlannedHost, view: NodeView) -> bool:
    """Whether a node that is refused stays held, with the reason in its metadata."""
    return planned.mark.is_ours and view.eligibility != ELIGIBLE


async def is_released(region: Region, node: NodeId) -> bool:
    """Whether ionetctl has released a node that the region still shows as held: its agent has the mark at once.

    Where such a node is ineligible, somebody made it so since then. Raises what the region raises.
    """
    return (await region.metadata(node)).merged.get(host_paths.ADMISSION_KEY) == host_paths.RELEASED


async def release(region: Region, view: NodeView) -> HostUnverifiedError | None:
    """Let a node that ionetctl holds have jobs; or why not, where somebody else keeps them from it.

    Raises what the region raises; what was begun is then completed by the next run.
    """
    meta = await region.metadata(view.id)
    if meta.merged.get(host_paths.ADMISSION_KEY) == host_paths.RELEASED:
        return ineligible(view)
    detail = await region.node(view.id)
    last = detail.drain if detail else None
    return await _let_go(region, view, meta, last, lambda: region.annotate(view.id, _MARK_OF_RELEASED))


async def _let_go(
    region: Region,
    view: NodeView,
    meta: NodeMeta,
    last: LastDrain | None,
    mark: Callable[[], Awaitable[NodeMeta | None]],
) -> HostUnverifiedError | None:
    """Make a held node eligible, and ``mark`` that ionetctl holds it no longer; or why not, where an admin keeps jobs from it.

    An exclusion that comes in between has the last word: what answers the mark shows it. So has a drain: Nomad makes no node eligible
    that it drains, and makes one ineligible that it begins to drain. Of a node that is being drained nothing is changed.
    """
    reason = _kept_by_admin(view, meta, last)
    if reason is not None and reason.code == DRAINING:
        return reason
    if reason is None:
        await region.set_eligibility(view.id, is_eligible=True)
    meta = await mark() or meta
    if reason is None and (reason := _kept_by_admin(view, meta, None)):
        await region.set_eligibility(view.id, is_eligible=False)
    return reason


def _kept_by_admin(view: NodeView, meta: NodeMeta, last: LastDrain | None) -> HostUnverifiedError | None:
    """Why a node may have no jobs whatever it proves: an admin excluded it, as its agent says at once, or drains it or has drained it."""
    if host_paths.EXCLUDED_BY_KEY in meta.merged:
        return ineligible(view, "an admin has excluded it")
    if last is None or last.status not in _DRAINS:
        return None
    if last.status == "complete":
        return ineligible(view, f"it was drained at {last.started_at}")
    hint = "wait for its end, or end it: ionetctl nodes drain --cancel"
    return HostUnverifiedError(DRAINING, "the node is being drained", hint)


@dataclass(frozen=True, slots=True)
class Admission:
    """How nodes of one region are admitted."""

    tools: RegionTools
    emit: Emit

    async def hold(self, host: Host, view: NodeView, mark: Mark) -> NodeView:
        """The node, kept from jobs where it is new: for a Nomad that cannot be configured to come up so.

        Raises ``HostUnverifiedError`` (``node_ineligible``) for a node that somebody else keeps from jobs, and what the
        region raises.
        """
        if mark is Mark.NEW and view.eligibility == ELIGIBLE:
            await self.tools.api.set_eligibility(view.id, is_eligible=False)
            return replace(view, eligibility="ineligible")
        if view.eligibility != ELIGIBLE and not mark.is_ours:
            if mark is Mark.NONE:
                await self.mark_released(host, view)
            raise ineligible(view)
        if view.eligibility != ELIGIBLE and mark is Mark.HELD and await is_released(self.tools.api, view.id):
            raise ineligible(view)
        return view

    async def admit(self, planned: PlannedHost, view: NodeView, timeout_s: float) -> NodeView:
        """The node, proved and eligible; the region is given ``timeout_s`` to show its GPUs.

        ``planned`` carries the latest survey. Raises ``HostFailedError`` where the host itself falls short,
        ``HostUnverifiedError`` where only its node in the region does: a node that ionetctl holds stays held then, with
        the reason in its metadata. Also what the region raises.
        """
        try:
            proved = await self._proved(planned, view, timeout_s)
        except HostError as error:
            await self.refuse(planned, view, error)
            raise
        for caution in gpu_evidence.docker_warnings(planned.host, proved, planned.facts):
            event = Warned(
                host=planned.host.name, code=caution.code, message=caution.message, hint=caution.hint
            )
            await self.emit(event)
        if planned.mark is Mark.RELEASED:
            return proved
        # A node that has just registered was never drained.
        detail = None if planned.mark is Mark.NEW else await self.tools.api.node(view.id)
        return await self._release(planned.host, proved, detail.drain if detail else None)

    async def _proved(self, planned: PlannedHost, view: NodeView, timeout_s: float) -> NodeView:
        if finding := blocking(planned.surveyed.findings):
            error = finding_error(finding)
            error.step = "confirm"
            raise error
        host, facts = planned.host, planned.facts
        expected = expected_node(host, facts, may_be_ineligible=True)
        shown = await self.tools.watcher.confirm(view.id, planned.plan.stamp, expected, timeout_s)
        if shortfall := gpu_evidence.shortfall(host, shown, facts):
            raise shortfall
        return replace(shown, eligibility=view.eligibility)

    async def refuse(self, planned: PlannedHost, view: NodeView, error: HostError) -> None:
        """Note why a node is not released; a known node that is eligible goes on as it is, and is only reported."""
        if not keeps_held(planned, view):
            return
        kind = SHORT if isinstance(error, HostUnverifiedError) else FLAWED
        name = planned.host.name
        reason = error.message[:REASON_CHARACTERS]
        meta = {host_paths.ADMISSION_KEY: f"{kind}: {error.code}", host_paths.ADMISSION_REASON_KEY: reason}
        await self._annotate(planned.host, view, meta)
        await self.emit(NodeHeld(host=name, node_id=view.id, code=error.code, message=error.message))

    async def mark_released(self, host: Host, view: NodeView) -> NodeMeta | None:
        """Note that ionetctl no longer holds a node; its metadata then, where that could be noted."""
        return await self._annotate(host, view, _MARK_OF_RELEASED)

    async def _release(self, host: Host, view: NodeView, last: LastDrain | None) -> NodeView:
        """Let the node have jobs. Raises ``HostUnverifiedError`` where an admin keeps them from it."""
        if view.eligibility == ELIGIBLE:
            await self.mark_released(host, view)
            return view
        api = self.tools.api
        mark = partial(self.mark_released, host, view)
        if reason := await _let_go(api, view, await api.metadata(view.id), last, mark):
            raise reason
        await self.emit(NodeReleased(host=host.name, node_id=view.id))
        return replace(view, eligibility=ELIGIBLE)

    async def _annotate(self, host: Host, view: NodeView, meta: Mapping[str, str | None]) -> NodeMeta | None:
        """Write the node's mark. A failure is reported, and changes nothing of what was decided."""
        try:
            return await self.tools.api.annotate(view.id, meta)
        except RegionError as error:
            await self.emit(Warned(host=host.name, code=error.code, message=error.message, hint=error.hint))
            return None
