"""The process's standard streams: replaces closed ones, and ignores readers that have gone."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Within the block closed streams discard what is written; at its end a broken pipe is not an error."""
    _open_closed()
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout.fileno())
        raise SystemExit(0) from None
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                _discard(stream.fileno())


def _open_closed() -> None:
    """Open the null device for closed streams: Python has ``None`` there, libraries expect a stream."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (lives as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (likewise)


def _discard(descriptor: int) -> None:
    """Point a descriptor at the null device, so that the interpreter's last flush finds no broken pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
