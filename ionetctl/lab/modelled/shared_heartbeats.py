"""The heartbeats of all modelled hosts of a process: one task, one connection, the next due first.

A real agent keeps a connection of its own; thousands of idle ones would cost more than all else of the rehearsal. What a node has
to show (node id, secret, identity) goes with each heartbeat, and the region checks it there.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.agent.agent import HEARTBEAT_SHARE, Agent, Registration, RpcError, pause_before_retry

if TYPE_CHECKING:
    from ionetctl.lab.rpc_stream import RpcStream

_TICK_S: Final = 0.5
OnLost = Callable[[str], None]
"""Called with the region's refusal: the node has to be registered again."""


@dataclass(frozen=True, slots=True)
class _Node:
    registration: Registration
    on_lost: OnLost


@dataclass(slots=True)
class Heartbeats:
    """Sends heartbeats for the nodes that are ``added``, while ``run`` runs."""

    _nodes: dict[str, _Node] = field(default_factory=dict)
    _due: list[tuple[float, int, _Node]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _last_agent: Agent | None = None

    def add(self, agent: Agent, delay_s: float, on_lost: OnLost) -> None:
        """Send heartbeats for a registered agent, the first in ``delay_s``. Its certificate may serve for those of others."""
        node = _Node(agent.registration, on_lost)
        self._nodes[node.registration.node_id] = node
        self._last_agent = agent
        self._push(node, delay_s)

    def eligibility(self, node_id: str) -> str:
        """The node's eligibility as of its last heartbeat; empty where there was none."""
        node = self._nodes.get(node_id)
        return node.registration.eligibility if node else ""

    def remove(self, node_id: str) -> None:
        """Send no more for this node."""
        self._nodes.pop(node_id, None)

    async def run(self) -> None:
        """Send what is due, until cancelled; a connection that is lost is made anew."""
        while True:
            if self._last_agent is not None:
                try:
                    stream = await self._last_agent.connect()
                    try:
                        await self._serve(stream)
                    finally:
                        stream.close()
                except (RpcError, OSError, ValueError):
                    await pause_before_retry()
            await asyncio.sleep(_TICK_S)

    async def _serve(self, stream: RpcStream) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._due and self._due[0][0] <= loop.time():
                _, _, node = heapq.heappop(self._due)
                if self._nodes.get(node.registration.node_id) is node:
                    await self._send(stream, node)
            await asyncio.sleep(_TICK_S)

    async def _send(self, stream: RpcStream, node: _Node) -> None:
        registration = node.registration
        try:
            await stream.send(
                {
                    "method": "Node.UpdateStatus",
                    "secret_id": registration.secret_id,
                    "node_id": registration.node_id,
                    "credential": registration.identity,
                }
            )
            answer = await stream.receive()
        except BaseException:
            self._push(node, 0.0)
            raise
        if answer["error"] is not None:
            del self._nodes[registration.node_id]
            node.on_lost(str(answer["error"]))
            return
        registration.eligibility = str(answer["result"]["eligibility"])
        self._push(node, float(answer["result"]["heartbeat_ttl_s"]) * HEARTBEAT_SHARE)

    def _push(self, node: _Node, delay_s: float) -> None:
        due = asyncio.get_running_loop().time() + delay_s
        heapq.heappush(self._due, (due, next(self._numbers), node))
