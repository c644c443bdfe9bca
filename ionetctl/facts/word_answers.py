"""What became of words, as a host's maintenance door answers them: lines of ``docs/explanation/maintenance.md``. Pure.

A task carries them, so they prove nothing: that a word was applied is what the region shows of the node.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, get_args

from ionetctl.core.model.node import WordAnswer, WordOutcome
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERIAL: Final = re.compile(r"[0-9]{1,16}")
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TEXT_CHARACTERS: Final = 300
_FIELDS: Final = 5
_OUTCOMES: Final[tuple[WordOutcome, ...]] = get_args(WordOutcome)


def answer_to(serial: int, log: str) -> WordAnswer | None:
    """The first answer to the word of that serial in a task's log, or ``None``; whatever is no answer is passed over."""
    return next((answer for answer in _answers(log) if answer.serial == serial), None)


def _answers(log: str) -> Iterator[WordAnswer]:
    for line in log.split("\n"):
        fields = line.split("\t")
        if len(fields) != _FIELDS:
            continue
        _, serial, outcome, code, text = fields
        known = next((one for one in _OUTCOMES if one == outcome), None)
        if known and _SERIAL.fullmatch(serial) and _CODE.fullmatch(code):
            yield WordAnswer(int(serial), known, code, harmless(text[:_TEXT_CHARACTERS]))
