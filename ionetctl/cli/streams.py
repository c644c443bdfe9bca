"""The process's standard streams: replaces closed ones, ignores readers that have gone, reports a disk that is full."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO, cast

from ionetctl.core.errors import ExitCode, UnwritableError
from ionetctl.ui.stream import SurvivingStream

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUCCESSES: Final = (None, int(ExitCode.OK), int(ExitCode.CHANGES))


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Within the block no write to a standard stream fails: what cannot be written is discarded.

    At its end raises ``SystemExit`` with 11 instead of a success, where standard output could not be written for another
    reason than a reader that closed it.
    """
    real = _opened(sys.stdout), _opened(sys.stderr)
    out, err = SurvivingStream(real[0]), SurvivingStream(real[1])
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
    try:
        yield
    except SystemExit as ended:
        out.flush()
        if out.failure is None:
            raise
        error = _unwritable(out.failure)
        err.write(f"error {error.code}: {error.message}\n  → {error.hint}\n")
        raise SystemExit(int(error.exit_code) if ended.code in _SUCCESSES else ended.code) from None
    finally:
        for stream, surviving in zip(real, (out, err), strict=True):
            surviving.flush()
            if not surviving.is_open:
                _discard(stream.fileno())
        sys.stdout, sys.stderr = real


def _unwritable(error: OSError) -> UnwritableError:
    hint = "make room or write elsewhere; `ionetctl rollouts show` shows a rollout again"
    return UnwritableError("output_unwritable", f"cannot write standard output: {error.strerror}", hint)


def _opened(stream: TextIO | None) -> TextIO:
    """The stream, or the null device for a closed one: Python has ``None`` there, libraries expect a stream."""
    return stream or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  (lives as long as the process)


def _discard(descriptor: int) -> None:
    """Point a descriptor at the null device, so that the interpreter's last flush does not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
