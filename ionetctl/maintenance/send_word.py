"""Carries one signed word to its node through the region, and waits for what the host answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ionetctl.core.errors import RegionError, TrustError
from ionetctl.facts.word_answers import answer_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.names import NodeId
    from ionetctl.core.model.node import WordAnswer
    from ionetctl.core.ports import Clock
    from ionetctl.plan.word import Word

POLL_S: Final = 2.0
ANSWERING_S: Final = 120.0
"""How long after its last moment a host may take to start its agent (90 s, ``start_deadline_s`` of ``remote/maintenance.sh``), and its answer to come."""


class Door(Protocol):
    """The region's side of the door; ``nomad.door.RegionDoor`` is the real one."""

    async def put_word(self, node: NodeId, word: bytes) -> int:
        """Leave a word for a node; the index by which it can be taken back."""
        ...

    async def take_back(self, node: NodeId, index: int) -> None:
        """Remove what was left for it under that index, and nothing that others have left since."""
        ...

    async def answers(self, node: NodeId) -> str:
        """The end of the log in which the node's answers are."""
        ...


async def send_word(
    door: Door, word: Word, signed: bytes, clock: Clock, warn: Callable[[IonetctlError], Awaitable[None]]
) -> WordAnswer:
    """The host's answer to ``signed``, which is ``word`` as it is dropped. Nothing of it is left in the region afterwards, and nothing else is taken.

    Where it cannot be taken back, ``warn`` is told why: it expires, and the next word replaces it. It proves nothing (``facts.word_answers``). Raises ``RegionError``: ``word_unanswered`` where none comes in time, and what the region's
    calls raise; ``TrustError``.
    """
    # Whoever may not read the answers is to learn that before anything is sent.
    await door.answers(word.node)
    left_s = word.expires_at - clock.now().timestamp()
    ends_at = clock.monotonic() + left_s + ANSWERING_S + word.confirm_s
    index = await door.put_word(word.node, signed)
    try:
        while (answer := answer_to(word.serial, await door.answers(word.node))) is None:
            if clock.monotonic() >= ends_at:
                message = f"the node {word.node} has not answered the word {word.serial}"
                hint = "does the job ionet-door run there (namespace ionet-maintenance)? A door that was lost comes back once the node is eligible"
                raise RegionError("word_unanswered", message, hint)
            await clock.sleep(POLL_S)
    finally:
        try:
            await door.take_back(word.node, index)
        except (RegionError, TrustError) as error:
            await warn(error)
    return answer
