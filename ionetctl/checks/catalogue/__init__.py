"""Every code that a check may give, with what it means and what to do: a row each, by subject.

Text only. When a finding is given stands in the rooms of ``checks``; what a site makes of it in ``checks.policy``.
"""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue import (
    driver,
    fleet,
    gpus,
    machine,
    network,
    runtimes,
    storage,
    system,
    workloads,
)
from ionetctl.checks.catalogue.row import Row

__all__ = ["CATALOGUE", "SUBJECTS", "Row"]

SUBJECTS: Final[dict[str, tuple[Row, ...]]] = {
    "The system": system.ROWS,
    "The machine": machine.ROWS,
    "Storage": storage.ROWS,
    "The network": network.ROWS,
    "The driver": driver.ROWS,
    "GPUs": gpus.ROWS,
    "Container runtimes": runtimes.ROWS,
    "What runs there already": workloads.ROWS,
    "The fleet": fleet.ROWS,
}
"""Rows by subject, both in the order of the documentation."""

CATALOGUE: Final[dict[str, Row]] = {row.code: row for rows in SUBJECTS.values() for row in rows}
"""Rows by code."""
