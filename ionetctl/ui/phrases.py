"""Numbers, times and host lists in words. Pure; the same phrase for the same thing everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core.sanitize import harmless
from ionetctl.inventory.ranges import fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.model.outcome import Result

MAX_FOLDED: Final = 400
"""Characters of a folded host list shown at most; the count beside it stays true."""
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600


def duration(seconds: float) -> str:
    """A length of time as people say it: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plain(text: str) -> str:
    """``text`` as one harmless line.

    What hosts say was made harmless where it came in; this holds for what users, their files and old journals say.
    """
    return text if text.isprintable() else harmless(text)


def hosts(count: int) -> str:
    """``1 host``, ``5,000 hosts``."""
    return f"{count:,} host" if count == 1 else f"{count:,} hosts"


def folded(names: Sequence[str], limit: int = MAX_FOLDED) -> str:
    """The names as folded ranges, cut after ``limit`` characters at a whole name."""
    text = plain(", ".join(fold(names)))
    if len(text) <= limit:
        return text
    whole = text[:limit].rpartition(", ")[0]
    return f"{whole}, …" if whole else text[: limit - 1] + "…"


def results(counts: Mapping[Result, int]) -> str:
    """``37 enrolled, 1 failed``: the results that occurred, in the contract's order."""
    return ", ".join(f"{count:,} {result.value}" for result, count in counts.items() if count) or "none yet"


def rate(per_minute: float) -> str:
    """``42 hosts/min``, with a decimal where there are few."""
    return f"{per_minute:,.0f} hosts/min" if per_minute >= 10 else f"{per_minute:.1f} hosts/min"  # noqa: PLR2004
