"""A word on its way: left in the region, answered by the host, taken back whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.names import Digest
from ionetctl.core.model.node import WordAnswer
from ionetctl.maintenance.send_word import ANSWERING_S, send_word
from ionetctl.plan.word import Word
from tests.support.clock import START, ManualClock
from tests.support.sample import NODE_ID

if TYPE_CHECKING:
    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.names import NodeId

WORD = Word(
    NODE_ID, 17, int(START.timestamp()) + 900, "0123456789abcdef-one", Digest("ab" * 32), confirm_s=60
)


@dataclass
class ScriptedDoor:
    """Gives these logs in turn, the last one for ever; ``calls`` is what was asked of it."""

    logs: list[str]
    calls: list[str] = field(default_factory=list)
    error: RegionError | None = None
    fails_at: int = 1
    """Which of its calls fails with ``error``, and what follows it."""
    warned: list[str] = field(default_factory=list)

    def called(self, call: str) -> None:
        self.calls.append(call)
        if self.error and len(self.calls) >= self.fails_at:
            raise self.error

    async def warn(self, error: IonetctlError) -> None:
        self.warned.append(error.code)

    async def put_word(self, node: NodeId, word: bytes) -> int:
        self.called(f"put {node} {word.decode()}")
        return 8

    async def take_back(self, node: NodeId, index: int) -> None:
        self.called(f"take back {node} {index}")

    async def answers(self, node: NodeId) -> str:
        self.called(f"answers {node}")
        return self.logs.pop(0) if len(self.logs) > 1 else self.logs[0]


async def test_a_word_is_left_until_it_is_answered() -> None:
    """The answer is that to its own serial, and nothing stays in the region."""
    old = "1\t16\trefused\tword_old\tx\n"
    door = ScriptedDoor(["", "", old, f"{old}2\t17\tapplied\tabc-two\tSHA256:x\n"])
    answer = await send_word(door, WORD, b"signed", ManualClock(), door.warn)
    assert answer == WordAnswer(17, "applied", "abc-two", "SHA256:x")
    asks = f"answers {NODE_ID}"
    assert door.calls == [asks, f"put {NODE_ID} signed", *[asks] * 3, f"take back {NODE_ID} 8"]


async def test_a_host_that_does_not_answer_is_given_up_in_time() -> None:
    """It may begin until the word expires, and has as long then as the word gives its region, and some more to start and to answer."""
    door, clock = ScriptedDoor([""]), ManualClock()
    with pytest.raises(RegionError) as caught:
        await send_word(door, WORD, b"signed", clock, door.warn)
    assert (caught.value.code, door.calls[-1]) == ("word_unanswered", f"take back {NODE_ID} 8")
    assert 960 + ANSWERING_S <= clock.monotonic() < 970 + ANSWERING_S


FORBIDDEN = RegionError("region_forbidden", "no", "hint")


async def test_a_region_that_fails_meanwhile_keeps_nothing() -> None:
    """The word is taken back then too, or at least that is tried: the first error is the one to tell."""
    door = ScriptedDoor([""], error=FORBIDDEN, fails_at=3)
    with pytest.raises(RegionError, match="no"):
        await send_word(door, WORD, b"signed", ManualClock(), door.warn)
    assert (door.calls[-1], door.warned) == (f"take back {NODE_ID} 8", ["region_forbidden"])


async def test_nothing_is_sent_whose_answer_may_not_be_read() -> None:
    """A token without that right could change hosts, and would not know it."""
    door = ScriptedDoor([""], error=FORBIDDEN)
    with pytest.raises(RegionError, match="no"):
        await send_word(door, WORD, b"signed", ManualClock(), door.warn)
    assert door.calls == [f"answers {NODE_ID}"]


async def test_a_word_that_cannot_be_taken_back_is_answered_all_the_same() -> None:
    """What the host did counts; that the word still lies there is told."""
    door = ScriptedDoor(["", "2\t17\tapplied\tabc-two\tSHA256:x\n"], error=FORBIDDEN, fails_at=4)
    answer = await send_word(door, WORD, b"signed", ManualClock(), door.warn)
    assert (answer.outcome, door.warned) == ("applied", ["region_forbidden"])
