"""``--report FORMAT=FILE``: parses the option before anything runs, and writes the reports at the end."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ionetctl.summary.rollout_summary import Summary

FORMATS: Final = ("junit", "csv")


@dataclass(frozen=True, slots=True)
class Report:
    """One report to be written."""

    format: str
    path: Path


def parse_reports(texts: Iterable[str]) -> tuple[Report, ...]:
    """The reports asked for; raises ``UsageError`` for an unknown format or a directory that is not writable."""
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Report:
    format_name, _, file = text.partition("=")
    hint = f"write it as {' or '.join(f'{known}=FILE' for known in FORMATS)}"
    if format_name not in FORMATS or not file:
        raise UsageError("report_unknown", f"--report {text!r} is no report", hint)
    path = Path(file).expanduser().absolute()
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            "report_unwritable", f"cannot write the report {path}", "name a file in a writable directory"
        )
    return Report(format_name, path)


def write_reports(reports: Sequence[Report], summary: Summary) -> None:
    """Write every report, each whole or not at all; raises ``ConfigurationError`` (``report_unwritable``)."""
    for report in reports:
        render = import_module(f"ionetctl.report.{report.format}").render
        try:
            _replace(report.path, render(summary))
        except OSError as error:
            message = f"cannot write the report {report.path}: {error.strerror}"
            raise ConfigurationError("report_unwritable", message, "make room or permit it") from error


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
