"""The process's own streams at its beginning and end: closed ones, and readers that went away."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Within the block streams that were closed before it swallow; at its end nobody's absence is an error."""
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
    """A stream that was closed before we began is ``None`` in Python; libraries expect one that swallows."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (lives as long as the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (likewise)


def _discard(descriptor: int) -> None:
    """Point a descriptor nowhere, so that the interpreter's own last flush finds no broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
