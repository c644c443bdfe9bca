"""The survey while it is parsed, and the parsers of single values. Pure.

Input from hosts is bounded here: numbers have at most 15 digits, texts are sanitized and cut, collections have a
maximum size. Anything else is an error that names the field. ``survey_records`` has the kinds of records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl.core.errors import HostFailedError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.facts import Disk, RemoteFile
    from ionetctl.core.model.names import Digest
    from ionetctl.core.observed import Docker, Firewall, Interface, MiningSign, Reach, Rig, Workload, Xid

TEXT_LIMIT: Final = 300
_PATH_LIMIT: Final = 1024
_WORDS_LIMIT: Final = 128
_NUMBER: Final = re.compile(r"[0-9]{1,15}")

_K = TypeVar("_K")
_V = TypeVar("_V")
_Choice = TypeVar("_Choice", bound=str)


@dataclass(slots=True)
class Draft:
    """The survey as far as it is parsed. ``looked`` names the lists that are complete, even where they are empty."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    disks: dict[str, Disk] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    config_files: list[str] = field(default_factory=list)
    files: dict[str, RemoteFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Digest] = field(default_factory=dict)
    certificate: list[str] = field(default_factory=list)
    lock: tuple[str, str, str] | None = None
    docker: Docker | None = None
    xids: dict[tuple[int, str], Xid] = field(default_factory=dict)
    interfaces: dict[str, Interface] = field(default_factory=dict)
    reaches: dict[tuple[str, int], Reach] = field(default_factory=dict)
    firewalls: dict[str, Firewall] = field(default_factory=dict)
    miners: list[Workload] = field(default_factory=list)
    rig: Rig | None = None
    mining_signs: list[MiningSign] = field(default_factory=list)
    watchdog_cards: list[str] = field(default_factory=list)
    ionet_workers: list[Workload] = field(default_factory=list)


def malformed(name: str, reason: str) -> HostFailedError:
    """The error (``survey_malformed``) for a field that violates the protocol."""
    message = f"the survey's field {harmless(name)[:60]!r} is malformed: {reason}"
    hint = "run the survey by hand to see what the host prints: a wrapper around sh, or a tampered host?"
    return HostFailedError("survey_malformed", message, hint)


def put(into: dict[_K, _V], at: _K, key: str, value: _V, limit: int = 64) -> None:
    """Store a value; raises where the key has one already or there are ``limit`` values."""
    if at in into:
        raise malformed(key, "given twice")
    if len(into) >= limit:
        raise malformed(key, f"more than {limit} of them")
    into[at] = value


def add(into: list[_V], key: str, value: _V, limit: int) -> None:
    """Append a value; raises where there are ``limit`` values already."""
    if len(into) >= limit:
        raise malformed(key, f"more than {limit} of them")
    into.append(value)


def matched(key: str, value: str, pattern: re.Pattern[str]) -> str:
    """The value, all of which must match the pattern."""
    if not pattern.fullmatch(value):
        raise malformed(key, f"{harmless(value)[:60]!r} is not of the form that it must have")
    return value


def chosen(key: str, value: str, choices: Iterable[_Choice]) -> _Choice:
    """The value, which must be one of ``choices``."""
    for choice in choices:
        if value == choice:
            return choice
    raise malformed(key, f"{harmless(value)[:60]!r} is none of the words that it may be")


def number(key: str, value: str) -> int:
    """An integer of 1 to 15 digits without a sign."""
    return int(matched(key, value, _NUMBER))


def number_or_none(key: str, value: str) -> int | None:
    """An integer, or ``None`` for an empty value: unknown on the host."""
    return number(key, value) if value else None


def flag(key: str, value: str) -> bool:
    """``1`` or ``0``."""
    return chosen(key, value, ("0", "1")) == "1"


def flag_or_none(key: str, value: str) -> bool | None:
    """``1`` or ``0``, or ``None`` for an empty value: unknown on the host."""
    return flag(key, value) if value else None


def clean(value: str) -> str:
    """A text to be shown, sanitized and cut to ``TEXT_LIMIT``."""
    return harmless(value, TEXT_LIMIT)


def words(key: str, value: str) -> tuple[str, ...]:
    """Names separated by spaces."""
    found = tuple(clean(word) for word in value.split(" ") if word)
    if len(found) > _WORDS_LIMIT:
        raise malformed(key, f"more than {_WORDS_LIMIT} of them")
    return found


def path(key: str, value: str) -> str:
    """An absolute path that can be shown as it is: it is not sanitized, since it may be used on the host."""
    if not value.startswith("/") or len(value) > _PATH_LIMIT or harmless(value) != value:
        raise malformed(key, f"{harmless(value)[:60]!r} is no path that can be handled")
    return value
