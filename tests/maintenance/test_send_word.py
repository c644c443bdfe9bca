"""A word on its way: left in the region, answered by the host, taken back whatever happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import RegionError
from ionetctl.core.model.node import WordAnswer
from ionetctl.maintenance.send_word import ANSWERING_S, send_word
from ionetctl.plan.word import Word
from tests.support.clock import START, ManualClock
from tests.support.sample import NODE_ID

if TYPE_CHECKING:
    from ionetctl.core.model.names import NodeId

WORD = Word(NODE_ID, 17, int(START.timestamp()) + 900, "0123456789abcdef-one", confirm_s=60)


@dataclass
class ScriptedDoor:
    """Gives these logs in turn, the last one for ever; ``calls`` is what was asked of it."""

    logs: list[str]
    calls: list[str] = field(default_factory=list)
    error: RegionError | None = None

    async def put_word(self, node: NodeId, word: bytes) -> int:
        self.calls.append(f"put {node} {word.decode()}")
        return 8

    async def take_back(self, node: NodeId, index: int) -> None:
        self.calls.append(f"take back {node} {index}")

    async def answers(self, node: NodeId) -> str:
        self.calls.append(f"answers {node}")
        if self.error:
            raise self.error
        return self.logs.pop(0) if len(self.logs) > 1 else self.logs[0]


async def test_a_word_is_left_until_it_is_answered() -> None:
    """The answer is that to its own serial, and nothing stays in the region."""
    old = "1\t16\trefused\tword_old\tx\n"
    door = ScriptedDoor(["", old, f"{old}2\t17\tapplied\tabc-two\tSHA256:x\n"])
    answer = await send_word(door, WORD, b"signed", ManualClock())
    assert answer == WordAnswer(17, "applied", "abc-two", "SHA256:x")
    assert door.calls == [f"put {NODE_ID} signed", *[f"answers {NODE_ID}"] * 3, f"take back {NODE_ID} 8"]


async def test_a_host_that_does_not_answer_is_given_up_in_time() -> None:
    """It may begin until the word expires, and has as long then as the word gives its region, and some more to start and to answer."""
    door, clock = ScriptedDoor([""]), ManualClock()
    with pytest.raises(RegionError) as caught:
        await send_word(door, WORD, b"signed", clock)
    assert (caught.value.code, door.calls[-1]) == ("word_unanswered", f"take back {NODE_ID} 8")
    assert 960 + ANSWERING_S <= clock.monotonic() < 970 + ANSWERING_S


async def test_a_region_that_fails_meanwhile_keeps_nothing() -> None:
    """The word is taken back then too."""
    door = ScriptedDoor([""], error=RegionError("region_forbidden", "no", "hint"))
    with pytest.raises(RegionError, match="no"):
        await send_word(door, WORD, b"signed", ManualClock())
    assert door.calls[-1] == f"take back {NODE_ID} 8"
