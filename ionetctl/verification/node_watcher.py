"""Waiting for nodes that were just started: the region is polled, and all waiting hosts share each poll.

Sees ports and model only. What a node is compared with is in ``expectation``, the queries are in ``stamped_nodes``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostUnverifiedError, RegionError, TrustError
from ionetctl.verification.expectation import Expectation, check_node
from ionetctl.verification.stamped_nodes import nodes_with_nonces, nonce_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.ports import Clock, Region

POLL_S: Final = 2.0
FIRST_POLL_S: Final = 0.25
"""Delay before the second poll for a node; a client takes about 0.7 s from its start until it is ready."""
_PAUSE_FACTOR: Final = 10
"""The pause between polls is at least this many times as long as the last answer took, so that slow regions are polled less often."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What one waiting host needs from a poll."""

    nonce: str
    with_devices: bool


@dataclass(frozen=True, slots=True)
class _Poll:
    """One poll of the region: when it ended, how long it took, what was asked, and the answer."""

    ended_at_s: float
    took_s: float
    questions: frozenset[_Question]
    answer: Mapping[NodeId, NodeView] | RegionError | TrustError

    def answers(self, question: _Question) -> bool:
        """Whether the poll asked that; one that asked for devices answers both kinds of question."""
        return question in self.questions or _Question(question.nonce, with_devices=True) in self.questions


class NodeWatcher:
    """Waits for the nodes of one region; all waiting hosts share each poll.

    There is no background task: of the waiting callers, the one that finds the last poll too old does the next one,
    for all. So the region is polled only while somebody waits.
    """

    def __init__(self, region: Region, clock: Clock, poll_s: float = POLL_S) -> None:
        self._region = region
        self._clock = clock
        self._poll_s = poll_s
        self._waiting: Counter[_Question] = Counter()
        self._poll_lock = asyncio.Lock()
        self._last = _Poll(float("-inf"), 0.0, frozenset(), {})

    async def confirm(
        self, node_id: NodeId, stamp: str, expectation: Expectation, timeout_s: float
    ) -> NodeView:
        """The node, once the region shows it with its stamp and as expected.

        Raises ``HostUnverifiedError`` when ``timeout_s`` is over: ``not_registered``, ``wrong_node_pool``,
        ``wrong_datacenter``, ``node_not_ready``, ``node_ineligible``, ``gpu_count_mismatch`` or
        ``gpu_unhealthy``; ``RegionError`` or ``TrustError`` when the region cannot be asked.
        """
        question = _Question(nonce_of(stamp), with_devices=expectation.gpus is not None)
        ends_at_s = self._clock.monotonic() + timeout_s
        waited_s = delay_s = min(FIRST_POLL_S, self._poll_s)
        with self._waits_for(question):
            while True:
                verdict = check_node((await self._recent_nodes(question, waited_s)).get(node_id), expectation)
                if not isinstance(verdict, HostUnverifiedError):
                    return verdict
                left_s = ends_at_s - self._clock.monotonic()
                if left_s <= 0:
                    raise verdict
                await self._clock.sleep(min(delay_s, left_s))
                waited_s, delay_s = delay_s, min(2 * delay_s, self._poll_s)

    @contextmanager
    def _waits_for(self, question: _Question) -> Iterator[None]:
        self._waiting[question] += 1
        try:
            yield
        finally:
            self._waiting[question] -= 1
            self._waiting += Counter()  # drops the counts that are 0

    async def _recent_nodes(self, question: _Question, age_s: float) -> Mapping[NodeId, NodeView]:
        """The nodes of a poll at most ``age_s`` old that answers ``question``; raises what that poll raised."""
        async with self._poll_lock:
            self._last = self._last if self._is_fresh(question, age_s) else await self._poll()
        if isinstance(self._last.answer, RegionError | TrustError):
            raise copy(self._last.answer)  # one per caller, since a traceback grows with every raise
        return self._last.answer

    def _is_fresh(self, question: _Question, age_s: float) -> bool:
        pause_s = min(max(age_s, _PAUSE_FACTOR * self._last.took_s), self._poll_s)
        return self._clock.monotonic() - self._last.ended_at_s < pause_s and self._last.answers(question)

    async def _poll(self) -> _Poll:
        """Poll for everything that is waited for now."""
        asked_at_s = self._clock.monotonic()
        questions = frozenset(self._waiting)
        device_nonces = {question.nonce for question in questions if question.with_devices}
        others = {question.nonce for question in questions} - device_nonces
        answer: dict[NodeId, NodeView] | RegionError | TrustError
        try:
            answer = await nodes_with_nonces(self._region, device_nonces, with_devices=True)
            answer |= await nodes_with_nonces(self._region, others, with_devices=False)
        except (RegionError, TrustError) as error:
            answer = error
        ended_at_s = self._clock.monotonic()
        return _Poll(ended_at_s, ended_at_s - asked_at_s, questions, answer)
