"""What a condition is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ionetctl.lab.faults.changes import Change


@dataclass(frozen=True, slots=True)
class Condition:
    """``what`` the host is, as a sentence's predicate; the code of the finding that it is made for."""

    what: str
    finding: str
    change: Change
