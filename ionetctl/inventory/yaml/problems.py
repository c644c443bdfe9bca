"""Problems of an inventory, each with its place in the text, and the error that carries all of them.

A problem never has the value of a secret: its message quotes only text that may be printed, through ``quoted``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

RENDERED: Final = 100
"""The most problems that a message lists; it counts the rest."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a text: line and column count from 1, columns in characters."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``field`` is its path (``hosts[3].ssh.port``), or empty for the text itself."""

    place: Place
    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.field, self.message) if part)


class InventoryError(ConfigurationError):
    """Everything that is wrong with an inventory, in the order of the text.

    The message renders each problem as ``file:line:column: field: message``. The hint of a single problem is the
    error's own; where there are several, each stands indented below its problem.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.place))
        hint = self.problems[0].hint if len(self.problems) == 1 else ""
        super().__init__("inventory_invalid", _render(self.problems), hint)

    def __reduce__(self) -> tuple[type[InventoryError], tuple[tuple[Problem, ...]]]:  # type: ignore[override]
        return type(self), (self.problems,)


def _render(problems: tuple[Problem, ...]) -> str:
    if len(problems) == 1:
        return str(problems[0])
    lines = [
        f"{problem}\n    {problem.hint}" if problem.hint else str(problem) for problem in problems[:RENDERED]
    ]
    if len(problems) > RENDERED:
        lines.append(f"… and {counted(len(problems) - RENDERED, 'more problem')}")
    return "\n".join(lines)


def quoted(text: str) -> str:
    """``text`` in quotes, cut to 60 characters, with everything escaped that a terminal could interpret."""
    return repr(text if len(text) <= 60 else text[:59] + "…")  # noqa: PLR2004  (said in the docstring)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most similar to ``word``, or an empty text.

    Where both have numbers these must be equal: a word with another number means something else, not a slip.
    """
    numbers = _numbers(word)
    alike = [other for other in known if not numbers or _numbers(other) in ([], numbers)]
    near = difflib.get_close_matches(word, alike, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _numbers(word: str) -> list[str]:
    return [digits.lstrip("0") for digits in re.findall(r"[0-9]+", word)]
