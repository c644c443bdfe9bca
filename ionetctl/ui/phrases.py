"""Formats numbers, durations and lists of hosts, the same way everywhere. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core.model.outcome import ENROLL, UPDATE
from ionetctl.core.plural import counted
from ionetctl.core.sanitize import break_ci_commands, harmless
from ionetctl.inventory.ranges import fold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.model.outcome import Result

MAX_FOLDED: Final = 400
"""The most characters of a folded host list that are shown."""
_MEGABYTE: Final = 10**6
_GIGABYTE: Final = 10**9
_SMALL: Final = 10
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def duration(seconds: float) -> str:
    """A duration as text: ``0.4 s``, ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 1:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(size_bytes: int) -> str:
    """A number of bytes as text, in powers of ten: ``0 MB``, ``42 MB``, ``1.3 GB``, ``48 GB``."""
    if size_bytes < _GIGABYTE:
        return f"{round(size_bytes / _MEGABYTE)} MB"
    gigabytes = size_bytes / _GIGABYTE
    return f"{gigabytes:.1f} GB" if gigabytes < _SMALL else f"{gigabytes:,.0f} GB"


def age(seconds: float) -> str:
    """A time that has passed, as coarse as one remembers it: ``12 s``, ``5 min``, ``3 h``, ``2 d``."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s):,} {unit}"
    return f"{max(0, int(seconds))} s"


def plain(text: str) -> str:
    """``text`` as one sanitized line.

    Texts of hosts are sanitized when they are received; this is for texts from users, their files and old journals.
    """
    return break_ci_commands(text) if text.isprintable() else harmless(text)


def hosts(count: int) -> str:
    """``1 host``, ``5,000 hosts``."""
    return counted(count, "host")


def folded(names: Sequence[str], limit: int = MAX_FOLDED) -> str:
    """The names as folded ranges in at most ``limit`` characters: cut at a whole name, else in the middle of the first."""
    text = plain(", ".join(fold(names)))
    if len(text) <= limit:
        return text
    whole = text[: max(0, limit - 1)].rpartition(", ")[0]
    if whole:
        return f"{whole}, …"
    first, comma, _ = text.partition(", ")
    return f"{shortened(first, limit - 3)}, …" if comma else shortened(first, limit)


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters; the middle of a name tells the least, its end the most."""
    if len(text) <= limit:
        return text
    end = max(0, limit - 1) * 2 // 3
    return f"{text[: max(0, limit - 1 - end)]}…{text[len(text) - end :]}"


def results(counts: Mapping[Result, int]) -> str:
    """``37 enrolled, 1 failed``: the results that occurred, in the order of ``Result``."""
    return ", ".join(f"{count:,} {result.value}" for result, count in counts.items() if count) or "none yet"


def doing(action: str) -> str:
    """What a rollout of this action is at: ``enrolling``, ``exclude of`` and the like, before a number of hosts."""
    return _DOING.get(action, f"{plain(action)} of")


_DOING: Final = {
    ENROLL: "enrolling",
    UPDATE: "updating",
    "exclude": "excluding",
    "include": "including",
    "drain": "draining",
    "cancel-drain": "ending the drain of",
    "set-meta": "setting metadata of",
    "unset-meta": "removing metadata of",
}


def rate(per_minute: float) -> str:
    """``42 hosts/min``, with a decimal where there are few."""
    return f"{per_minute:,.0f} hosts/min" if per_minute >= 10 else f"{per_minute:.1f} hosts/min"  # noqa: PLR2004
