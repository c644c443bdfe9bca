"""How a check words what it found, and the questions that several checks ask of a host's promise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ionetctl.checks.catalogue import CATALOGUE
from ionetctl.core.model.outcome import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host


def found(code: str, message: str, *, hint: str = "", severity: Severity | None = None) -> Finding:
    """A finding of the catalogue; ``hint`` and ``severity`` are the row's unless the case at hand has its own."""
    row = CATALOGUE[code]
    return Finding(code, severity or row.severity, message, hint or row.remedy, row.exit_code)


def offers_gpus(host: Host, facts: Facts) -> bool:
    """Whether the host is to offer GPUs: as promised, else as seen by the driver or on the bus."""
    if host.gpus.count is not None:
        return host.gpus.count > 0
    return bool(facts.gpus or facts.machine.gpus_on_bus)


def weight_of_promise(host: Host) -> Severity:
    """What it weighs that no GPU can be used: it blocks where the inventory promises some."""
    return Severity.BLOCK if host.gpus.count else Severity.WARN


def weight_of_use(host: Host) -> Severity:
    """What it weighs that using GPUs would do harm: it blocks unless the host is to offer none."""
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
