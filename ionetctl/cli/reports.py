"""``--report FORMAT=FILE``: parses the option before anything runs, and writes the reports at the end.

A file is replaced as a whole; what is no file (a device, a FIFO, a link, standard output) is written into.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode, UnwritableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ionetctl.summary.rollout_summary import Summary

FORMATS: Final = ("junit", "csv")
PATIENCE_S: Final = 10.0


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
    if not _may_write(path):
        raise UsageError(
            "report_unwritable", f"cannot write the report {path}", "name a file in a writable directory"
        )
    return Report(format_name, path)


def _may_write(path: Path) -> bool:
    if path.is_dir():
        return False
    if _is_replaceable(path):
        return os.access(path.parent, os.W_OK | os.X_OK)
    return not path.exists() or os.access(path, os.W_OK)


def write_reports(reports: Sequence[Report], summary: Summary, patience_s: float = PATIENCE_S) -> None:
    """Write every report; raises ``UnwritableError`` (``report_unwritable``), which names those that could not be written.

    A reader of a FIFO who takes nothing for ``patience_s`` is not waited for any longer.
    """
    failures = []
    for report in reports:
        data = import_module(f"ionetctl.report.{report.format}").render(summary)
        try:
            if _is_replaceable(report.path):
                _replace(report.path, data)
            else:
                _write_into(report.path, data, patience_s)
        except OSError as error:
            why = "nobody reads it" if error.errno == errno.ENXIO else error.strerror
            failures.append(f"cannot write the report {report.path}: {why}")
    if failures:
        hint = "make room or permit it; `ionetctl rollouts report` writes reports of a past rollout"
        raise UnwritableError("report_unwritable", "\n".join(failures), hint)


def check_new_file(text: str, *, may_replace: bool) -> None:
    """Raise ``UsageError`` where ``--out`` names something that exists, without ``--force``, or that cannot be written."""
    path = Path(text).expanduser()
    if os.path.lexists(path) and not may_replace:
        raise UsageError(
            "out_exists", f"{path} exists already", "name another file, or replace it with --force"
        )
    if not _may_write(path.absolute()):
        raise UsageError("out_unwritable", f"cannot write {path}", "name a file in a writable directory")


def write_file(text: str, data: bytes, *, may_replace: bool) -> None:
    """Write the file of ``--out``: a new one, or in place of another as a whole; raises ``UnwritableError``."""
    path = Path(text).expanduser().absolute()
    try:
        if not may_replace:
            with path.open("xb") as file:
                file.write(data)
        elif _is_replaceable(path):
            _replace(path, data)
        else:
            _write_into(path, data, PATIENCE_S)
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise UnwritableError("out_unwritable", message, "make room or permit it") from error


def report_rollout(reports: Sequence[Report], summary: Summary) -> Summary:
    """Write the reports of a rollout that ended; where that fails, its summary with that error beside how it ended."""
    from ionetctl.summary.rollout_summary import Failure

    try:
        write_reports(reports, summary)
    except UnwritableError as error:
        own = summary.error
        failure = Failure(error.code, error.message, error.hint)
        if own is not None:
            failure = replace(own, message=f"{own.message}\n{error.message}")
        is_success = summary.exit_code in {ExitCode.OK, ExitCode.CHANGES}
        return replace(summary, error=failure, exit_code=error.exit_code if is_success else summary.exit_code)
    return summary


def _is_replaceable(path: Path) -> bool:
    """Whether a path is a file, or nothing yet; never a link, nor the file that standard output goes to."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and not _is_stdout(path)


def _is_stdout(path: Path) -> bool:
    """Whether standard output goes there: opened anew, a file would be written from its beginning."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False


def _write_into(path: Path, data: bytes, patience_s: float) -> None:
    if _is_stdout(path):
        sys.stdout.flush()
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
            file.write(data)
    else:
        # Not blocking: a FIFO that nobody reads would be waited for, and how the rollout ended not shown.
        create = 0 if path.exists() else os.O_CREAT
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC | create, 0o666)
        try:
            _write_to_reader(descriptor, data, patience_s)
        finally:
            os.close(descriptor)


def _write_to_reader(descriptor: int, data: bytes, patience_s: float) -> None:
    """Write all to a descriptor that does not block. Raises ``TimeoutError`` where nothing is taken for ``patience_s``."""
    rest = memoryview(data)
    while rest:
        if not select.select([], [descriptor], [], patience_s)[1]:
            raise TimeoutError(errno.ETIMEDOUT, f"its reader took nothing for {patience_s:g} s")
        with suppress(BlockingIOError):
            rest = rest[os.write(descriptor, rest) :]


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
