"""A check's code, how a check words what it found, and the questions that several checks ask of a host's promise."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.outcome import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host


@dataclass(frozen=True, slots=True)
class Code:
    """A stable code, and all that can be said of it before any host was looked at.

    ``severity`` is the check's own; where it depends on the facts, the gravest. ``looks_at`` and ``matters`` are some
    sentences for ``ionetctl explain``; ``remedy`` is the hint of a finding unless the case at hand has a better one.
    ``may_be_waived`` is false where an apply cannot work despite the finding. ``mended_by`` names the field of the
    inventory's ``prepare`` that removes the cause.
    """

    name: str
    severity: Severity
    title: str
    looks_at: str
    matters: str
    remedy: str
    exit_code: ExitCode = ExitCode.FAILED
    may_be_waived: bool = True
    mended_by: str | None = None


def found(code: Code, message: str, *, hint: str = "", severity: Severity | None = None) -> Finding:
    """A finding; ``hint`` and ``severity`` are the code's unless the case at hand has its own."""
    return Finding(code.name, severity or code.severity, message, hint or code.remedy, code.exit_code)


def offers_gpus(host: Host, facts: Facts) -> bool:
    """Whether the host is to offer GPUs: as promised, else as seen by the driver or on the bus."""
    if host.gpus.count is not None:
        return host.gpus.count > 0
    return bool(facts.gpus or facts.machine.gpus_on_bus)


def severity_if_unusable(host: Host) -> Severity:
    """The severity of GPUs that cannot be used: it blocks where the inventory promises some."""
    return Severity.BLOCK if host.gpus.count else Severity.WARN


def severity_if_harmful(host: Host) -> Severity:
    """The severity of GPUs whose use would do harm: it blocks unless the host is to offer none."""
    return Severity.WARN if host.gpus.count == 0 else Severity.BLOCK


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: ``(550, 54, 15)`` for ``550.54.15-0ubuntu1``; empty where none does."""
    match = re.match(r"\d{1,9}(?:\.\d{1,9})*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def listed(words: Iterable[str]) -> str:
    """Words as people list them: ``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def cards(indices: Sequence[int]) -> str:
    """GPUs by their indices: ``GPU 0``, ``GPUs 0 and 3``."""
    return f"GPU{'s' if len(indices) > 1 else ''} {listed(str(index) for index in indices)}"
