"""What runs in the process of ``compression_process``; no other module imports it, since Python warns of a program that one did.

``python -P -m ionetctl.artifacts.compression_program PACKED TARGET FORM`` reports on standard output, one JSON value a line: how
many bytes it has read so far, and at last what it has made or why it could not. Once nobody reads that, it ends.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ionetctl.artifacts.compression import compress
from ionetctl.artifacts.compression_process import Failure
from ionetctl.core.errors import TrustError
from ionetctl.core.model.plan import Form

if TYPE_CHECKING:
    from ionetctl.artifacts.compression_process import Report


def main(packed: str, target: str, form: str) -> None:
    """Compress, and report."""
    report: Report
    try:
        report = compress(Path(packed), Path(target), Form(form), _report)
    except TrustError as error:
        report = Failure(error.code, error.message, error.hint)
    except OSError as error:
        # One of these is that nobody reads the reports any more.
        report = Failure(None, error.strerror or str(error), number=error.errno or errno.EIO)
    if isinstance(report, Failure):
        Path(target).unlink(missing_ok=True)
    with suppress(BrokenPipeError):
        _report(report)


def _report(report: Report) -> None:
    os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
