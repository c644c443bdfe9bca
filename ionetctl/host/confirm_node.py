"""From a staged host to a confirmed node: the controller's side of the apply conversation.

Mints the introduction when the host is ready for it, waits for the region to show the node with the new stamp, and
asks the node's own log for the reason when it does not come. Sees ports and the conversation only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError, HostUnverifiedError
from ionetctl.core.events import StepStarted, TokenMinted
from ionetctl.facts.survey_output import AwaitToken, AwaitVerdict, Done
from ionetctl.verification.registrar import Expectation, diagnose

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Emit, Region
    from ionetctl.host.apply_session import Conversation
    from ionetctl.verification.registrar import Registrar

TOKEN_TTL_S: Final = 300
"""Long enough for a slow start, short enough that a copied token is soon worthless."""
FIRST_PATIENCE_S: Final = 15.0
"""How long a node may stay away before its own log is asked for the reason."""
NOT_REGISTERED: Final = "not_registered"
INTRODUCTION_DENIED: Final = "introduction_denied"


def expectation(host: Host) -> Expectation:
    """What the region must show of a host's node before its GPUs are looked at: that it is there, and in its place."""
    return Expectation(host.node_pool, host.datacenter, may_be_ineligible=True)


@dataclass(frozen=True, slots=True)
class Registration:
    """What is needed to lead one host into its region; ``patience_s`` bounds the wait for the region's word."""

    host: Host
    node_name: str
    stamp: str
    region: Region
    registrar: Registrar
    emit: Emit
    patience_s: float
    introduces: bool
    needs_token: bool
    attempt: int = 1

    async def lead(self, talk: Conversation) -> NodeView:
        """The node as the region shows it, once the host has put everything away.

        Raises ``HostUnverifiedError`` when the region does not confirm it, and what the host or the region raise.
        """
        if self.needs_token:
            await talk.until(AwaitToken)
            talk.answer(f"token {await self._mint()}")
        await talk.until(AwaitVerdict)
        view = await self._confirmed(talk)
        talk.answer("confirmed")
        await talk.until(Done)
        return view

    async def _mint(self) -> str:
        token = await self.region.introduce(self.node_name, self.host.node_pool, TOKEN_TTL_S)
        await self.emit(TokenMinted(host=self.host.name, expires_at=token.expires_at.isoformat()))
        return token.jwt

    async def _confirmed(self, talk: Conversation) -> NodeView:
        if talk.node_id is None:
            raise HostFailedError("no_node_id", "the host did not say its node id", "run again")
        await self.emit(StepStarted(host=self.host.name, step="confirm", attempt=self.attempt))
        may_mint = self.introduces
        patience = [min(FIRST_PATIENCE_S, self.patience_s), self.patience_s]
        while True:
            try:
                return await self._ask(talk.node_id, patience.pop(0))
            except HostUnverifiedError as error:
                reason = await self._explained(talk, error)
                # What the region says may change while a node settles in, what the node's log says does not.
                is_explained = reason is not error
            if reason.code == INTRODUCTION_DENIED and may_mint:
                may_mint = False
                talk.answer(f"token {await self._mint()}")
                await talk.until(AwaitVerdict)
                patience.append(self.patience_s)
            elif is_explained or not patience:
                raise reason

    async def _ask(self, node_id: NodeId, patience_s: float) -> NodeView:
        return await self.registrar.confirm(node_id, self.stamp, expectation(self.host), patience_s)

    async def _explained(self, talk: Conversation, error: HostUnverifiedError) -> HostUnverifiedError:
        """The error with what the node's log says of its cause, where that is known."""
        if error.code != NOT_REGISTERED:
            return error
        talk.answer("journal")
        await talk.until(AwaitVerdict)
        diagnosis = diagnose(talk.log)
        if diagnosis is None:
            return error
        return HostUnverifiedError(diagnosis.code, diagnosis.message, diagnosis.hint)
