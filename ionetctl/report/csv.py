"""A rollout as CSV (RFC 4180, UTF-8): one row for each host; no cell can be read as a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.summary.rollout_summary import Summary

COLUMNS: Final = (
    "name",
    "address",
    "region",
    "datacenter",
    "outcome",
    "node_id",
    "gpus_expected",
    "gpus_seen",
    "duration_s",
    "attempts",
    "error_code",
    "error_step",
    "error_message",
    "error_hint",
)
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""ASCII, and the full-width forms that spreadsheets in East Asian locales accept too."""
_AFTER_SEPARATOR: Final = re.compile(r"(?<=;)(?= *[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""What begins a cell where a spreadsheet's locale has another separator than the comma."""


def render(summary: Summary) -> bytes:
    """The table with its header; a command that failed as a whole adds a row that names no host."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([formula_free(cell) for cell in _row(outcome)] for outcome in summary.outcomes)
    failure = summary.error or summary.stopped
    if failure is not None:
        blank: list[object] = [""] * (len(COLUMNS) - 4)
        writer.writerow(
            [formula_free(cell) for cell in [*blank, failure.code, "", failure.message, failure.hint]]
        )
    return out.getvalue().encode()


def formula_free(cell: object) -> str:
    """The cell as text that no spreadsheet evaluates: an apostrophe before what would begin a formula (CWE-1236)."""
    text = "" if cell is None else str(cell)
    text = _AFTER_SEPARATOR.sub("'", text)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def _row(outcome: Outcome) -> list[object]:
    problem = outcome.problem
    return [
        outcome.host,
        outcome.address,
        outcome.region,
        outcome.datacenter,
        outcome.result.value,
        outcome.node_id,
        outcome.gpus_expected,
        outcome.gpus_counted,
        f"{outcome.duration_s:.3f}",
        outcome.attempts,
        *([problem.code, problem.step, problem.message, problem.hint] if problem else [""] * 4),
    ]
