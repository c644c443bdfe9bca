"""The form of a check's row: all that is to be said of its code before any host was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from ionetctl.core.model.outcome import Severity


@dataclass(frozen=True, slots=True)
class Row:
    """One stable code. ``severity`` is the check's own; where facts weigh differently, its gravest.

    ``looks_at`` and ``matters`` are some sentences for ``ionetctl explain``; ``remedy`` is the hint that a finding
    gives unless the case at hand has a better one. ``mended_by`` names the field of the inventory's ``prepare`` that
    does away with it. A code that ``may_be_waived`` is not stands for what an apply cannot do without.
    """

    code: str
    severity: Severity
    title: str
    looks_at: str
    matters: str
    remedy: str
    exit_code: ExitCode = ExitCode.FAILED
    may_be_waived: bool = True
    mended_by: str | None = None
