"""From a staged host to a confirmed node: the controller's side of the apply dialogue, in its order.

Has the certificate issued that the host asks for, mints the introduction when the host is ready for it, waits for the region to show the node with the new stamp, and
asks the node's own log for the reason when it does not come. Sees ports and the dialogue only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError, HostUnverifiedError
from ionetctl.core.events import StepStarted, TokenMinted
from ionetctl.facts.report_lines import AwaitCertificate, AwaitToken, AwaitVerdict, Done
from ionetctl.host.outcomes import StartedNode
from ionetctl.host.planned_host import Mark
from ionetctl.plan.payload import renews_certificate
from ionetctl.verification.expectation import check_node, expected_node
from ionetctl.verification.log_diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeDetail, NodeView
    from ionetctl.host.apply_dialogue import ApplyDialogue
    from ionetctl.host.dependencies import Dependencies, RegionTools
    from ionetctl.host.planned_host import PlannedHost

TOKEN_TTL_S: Final = 300
"""Long enough for a slow start, short enough that a copied token is soon worthless."""
FIRST_TIMEOUT_S: Final = 15.0
"""How long a node may stay away before its own log is asked for the reason."""
NOT_REGISTERED: Final = "not_registered"
INTRODUCTION_DENIED: Final = "introduction_denied"


@dataclass(frozen=True, slots=True)
class NodeConfirmation:
    """The controller's side of one host's apply: ``attempt`` counts from 1.

    ``on_started`` is told of the node as soon as its agent runs by the plan.
    """

    deps: Dependencies
    planned: PlannedHost
    on_started: Callable[[StartedNode], None]
    attempt: int = 1

    @property
    def needs_token(self) -> bool:
        """Whether the host is given an introduction token before its agent starts."""
        return self._tools.introduces and self.planned.mark is Mark.NEW

    @property
    def needs_certificate(self) -> bool:
        """Whether the host makes a new private key, and is given the certificate of it."""
        return self.planned.bundle.key_on_host and renews_certificate(self.planned.plan)

    @property
    def _tools(self) -> RegionTools:
        return self.deps.regions[self.planned.host.region]

    async def lead(self, talk: ApplyDialogue) -> NodeView:
        """The node as the region shows it, once the host has put everything away.

        Raises ``HostUnverifiedError`` when the region does not confirm it, and what the host or the region raise.
        """
        if self.needs_certificate:
            asked = await talk.until(AwaitCertificate)
            issued = await self._tools.issuer.issue(self.planned.host, asked.request)
            lines = issued.chain_pem.decode().splitlines()
            talk.answer(f"certificate {','.join(lines)}")
        if self.needs_token:
            await talk.until(AwaitToken)
            talk.answer(f"token {await self._mint()}")
        await talk.until(AwaitVerdict)
        view = await self._confirmed(talk)
        talk.answer("confirmed")
        await talk.until(Done)
        return view

    async def _mint(self) -> str:
        host = self.planned.host
        token = await self._tools.api.introduce(self.planned.surveyed.node_name, host.node_pool, TOKEN_TTL_S)
        await self.deps.emit(TokenMinted(host=host.name, expires_at=token.expires_at.isoformat()))
        return token.jwt

    async def _confirmed(self, talk: ApplyDialogue) -> NodeView:
        if talk.node_id is None:
            raise HostFailedError("no_node_id", "the host did not say its node id", "run again")
        self.on_started(StartedNode(talk.node_id, self.planned.plan.stamp))
        await self.deps.emit(StepStarted(host=self.planned.host.name, step="confirm", attempt=self.attempt))
        may_mint, timeout_s = self._tools.introduces, self.deps.deadlines.step_s
        timeouts_s = [min(FIRST_TIMEOUT_S, timeout_s), timeout_s]
        while True:
            try:
                return await confirm_node(self.deps, self.planned, talk.node_id, timeouts_s.pop(0))
            except HostUnverifiedError as error:
                reason = await self._explained(talk, error)
                # What the region shows may change while a node settles in, what the node's log says does not.
                is_explained = reason is not error
            if reason.code == INTRODUCTION_DENIED and may_mint:
                may_mint = False
                talk.answer(f"token {await self._mint()}")
                await talk.until(AwaitVerdict)
                timeouts_s.append(timeout_s)
            elif is_explained or not timeouts_s:
                raise reason

    async def _explained(self, talk: ApplyDialogue, error: HostUnverifiedError) -> HostUnverifiedError:
        """The error with what the node's log says of its cause, where that is known."""
        if error.code != NOT_REGISTERED:
            return error
        talk.answer("journal")
        await talk.until(AwaitVerdict)
        diagnosis = diagnose(talk.log)
        if diagnosis is None:
            return error
        return HostUnverifiedError(diagnosis.code, diagnosis.message, diagnosis.hint)


def why_not_shown(
    detail: NodeDetail, host: Host, stamp: str, facts: Facts | None = None
) -> HostUnverifiedError | None:
    """Why the region does not show the host's node ready, with this stamp and in its place; its GPUs count by ``facts`` alone."""
    expected = expected_node(host, facts, may_be_ineligible=True, counts_gpus=facts is not None)
    is_stamped = detail.meta.get(host_paths.STAMP_KEY) == stamp
    found = check_node(detail.view if is_stamped else None, expected)
    return found if isinstance(found, HostUnverifiedError) else None


async def confirm_node(
    deps: Dependencies, planned: PlannedHost, node_id: NodeId, timeout_s: float
) -> NodeView:
    """The host's node, once its region shows it with the plan's stamp and in its place; its GPUs are not looked at.

    Raises ``HostUnverifiedError`` when ``timeout_s`` is over, and what the region raises.
    """
    expected = expected_node(planned.host, may_be_ineligible=True, counts_gpus=False)
    watcher = deps.regions[planned.host.region].watcher
    return await watcher.confirm(node_id, planned.plan.stamp, expected, timeout_s)
