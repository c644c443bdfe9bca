"""``compression.compress`` in a process of its own, whose memory (100 MB a thread) is free again when it ends.

``python -P -m ionetctl.artifacts.compression_process PACKED TARGET FORM`` reports on standard output, one JSON value a line: how
many bytes it has read so far, and at last what it has made or why it could not. Once nobody reads that, it ends.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from ionetctl.artifacts.archive import Packed
from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.model.plan import Form

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable

COMMAND: Final = (sys.executable, "-P", "-m", "ionetctl.artifacts.compression_process")
IDLE_S: Final = 600.0
"""How long it may take between two reports: a mebibyte takes a second, less than a minute on a machine at its limit."""


class _Failure(NamedTuple):
    """A ``TrustError`` with its code, or without one an ``OSError`` with its number."""

    code: str | None
    message: str
    hint: str = ""
    number: int = errno.EIO

    def as_error(self) -> Exception:
        """The error that the process had."""
        if self.code is None:
            return OSError(self.number, self.message)
        return TrustError(self.code, self.message, self.hint)


Report = int | Packed | _Failure
_REPORT: Final = msgspec.json.Decoder(Report)


async def compress_apart(packed: Path, target: Path, form: Form, on_bytes: Callable[[int], None]) -> Packed:
    """What ``compression.compress`` returns; the process ends at the latest with the call.

    Raises what that raises, and ``ConfigurationError`` (``compression_failed``) where the process ended or stood still.
    """
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        str(packed),
        str(target),
        form,
        stdin=DEVNULL,
        stdout=PIPE,
        # Ctrl-C is for this process, which lets the hosts under way finish.
        start_new_session=True,
    )
    try:
        while isinstance(report := await _next_report(process), int):
            on_bytes(report)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    if isinstance(report, _Failure):
        raise report.as_error()
    return report


async def _next_report(process: Process) -> Report:
    try:
        async with asyncio.timeout(IDLE_S):
            line = await cast("asyncio.StreamReader", process.stdout).readline()
        return cast("Report", _REPORT.decode(line))
    except (TimeoutError, msgspec.DecodeError) as error:
        message = "the process that compresses the programs for hosts ended before it was done"
        hint = "look for the kernel's out-of-memory killer; `ionetctl artifacts fetch` makes them ahead"
        raise ConfigurationError("compression_failed", message, hint) from error


def main(packed: str, target: str, form: str) -> None:
    """Compress, and report."""
    from ionetctl.artifacts.compression import compress

    report: Report
    try:
        report = compress(Path(packed), Path(target), Form(form), _report)
    except TrustError as error:
        report = _Failure(error.code, error.message, error.hint)
    except OSError as error:
        # One of these is that nobody reads the reports any more.
        report = _Failure(None, error.strerror or str(error), number=error.errno or errno.EIO)
    if isinstance(report, _Failure):
        Path(target).unlink(missing_ok=True)
    with suppress(BrokenPipeError):
        _report(report)


def _report(report: Report) -> None:
    os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
