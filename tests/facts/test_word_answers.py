"""What a door's task says of words: answers are found among whatever else it says."""

from __future__ import annotations

import pytest

from ionetctl.core.model.node import WordAnswer
from ionetctl.facts.word_answers import answer_to

APPLIED = "1795781119\t17\tapplied\tabc-two\tSHA256:xyz"
ANSWER = WordAnswer(17, "applied", "abc-two", "SHA256:xyz")


@pytest.mark.parametrize(
    "log",
    [
        APPLIED,
        f"1795781118\t-\trefused\tword_unsigned\ttext\n1795781118\t16\tfailed\tstart_failed\tx\n{APPLIED}\n",
        f"tail: cannot open '/answers/log'\n{APPLIED}\n1795781120\t17\trefused\tword_old\tlater\n",
    ],
    ids=["alone", "among-others", "first-counts"],
)
def test_the_answer_to_a_word_is_found(log: str) -> None:
    """By its serial, the first there is."""
    assert answer_to(17, log) == ANSWER


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1\t17\tapplied\tcode",
        "1\t17\tapplied\tcode\ttext\tmore",
        "1\t17\tdone\tcode\ttext",
        "1\t 17\tapplied\tcode\ttext",
        "1\t17171717171717171\tapplied\tcode\ttext",
        "1\t17\tapplied\tco de\ttext",
        "1\t18\tapplied\tcode\ttext",
    ],
    ids=["empty", "short", "long", "outcome", "serial", "huge", "code", "another"],
)
def test_what_is_no_answer_is_passed_over(line: str) -> None:
    """A task may say anything."""
    assert answer_to(17, line) is None


def test_text_is_made_harmless() -> None:
    """It is shown to people."""
    answer = answer_to(17, "1\t17\tfailed\tstart_failed\t\x1b[31mred" + "x" * 999)
    assert answer is not None
    assert ("\x1b" in answer.text, len(answer.text) < 400) == (False, True)
