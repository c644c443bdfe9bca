"""``compression.compress`` in a process of its own, beside which connections are served, and whose memory is free again when it ends.

Such a process has what workers have of the environment, no secret, and the user's terminal is not for it to write on.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec

from ionetctl.artifacts.archive import Packed
from ionetctl.core.errors import ConfigurationError, TrustError
from ionetctl.core.settings import passed_on

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable
    from pathlib import Path

    from ionetctl.core.model.plan import Form

COMMAND: Final = (sys.executable, "-P", "-m", "ionetctl.artifacts.compression_program")
IDLE_S: Final = 600.0
"""How long it may take between two reports: a mebibyte takes a second, less than a minute on a machine at its limit."""


class Failure(NamedTuple):
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


Report = int | Packed | Failure
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
        stderr=DEVNULL,
        env=passed_on(),
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
    if isinstance(report, Failure):
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
