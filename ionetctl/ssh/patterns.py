"""OpenSSH's name patterns: ``*`` and ``?``, and ``!`` for names that are left out (ssh_config(5), PATTERNS)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_NOTHING: Final = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class PatternList:
    """A list of patterns. A name matches where one of them fits and none of those with ``!`` does."""

    wanted: re.Pattern[str]
    unwanted: re.Pattern[str]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        """The list of single patterns."""
        patterns = tuple(patterns)
        wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
        return cls(_expression(wanted), _expression([name[1:] for name in patterns if name.startswith("!")]))

    def matches(self, name: str) -> bool:
        """Whether a name matches; upper and lower case differ."""
        return self.wanted.fullmatch(name) is not None and self.unwanted.fullmatch(name) is None


def _expression(patterns: list[str]) -> re.Pattern[str]:
    """The two wildcards; unlike in a shell, brackets are plain characters."""
    expressions = (re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns)
    return re.compile("|".join(expressions), re.DOTALL) if patterns else _NOTHING
