"""The subjects of the bench, one module each: ``NAME``, ``TITLE`` and ``measure``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.subjects import (
    catalog,
    engines,
    enrolment,
    inventory,
    modelled,
    peers,
    probe,
    profile,
    region,
    rehearsal,
    startup,
    streaming,
)

if TYPE_CHECKING:
    from types import ModuleType

SUBJECTS: Final = (
    startup,
    inventory,
    catalog,
    region,
    streaming,
    probe,
    enrolment,
    profile,
    engines,
    rehearsal,
    peers,
    modelled,
)
"""In their order: the quick ones first."""
NAMES: Final = tuple(subject.NAME for subject in SUBJECTS)


def chosen(only: str) -> list[ModuleType]:
    """The subjects that a list with commas names, all for an empty one; raises ``SystemExit`` for an unknown name."""
    names = [name for name in only.split(",") if name]
    if unknown := sorted(set(names) - set(NAMES)):
        raise SystemExit(f"no subject {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return [subject for subject in SUBJECTS if not names or subject.NAME in names]
