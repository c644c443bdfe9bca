"""The record of one condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ionetctl.lab.faults.changes import Change


@dataclass(frozen=True, slots=True)
class Condition:
    """``description`` describes the host, in words that follow "a host that"; ``finding`` is the code that a survey reports."""

    description: str
    finding: str
    change: Change
