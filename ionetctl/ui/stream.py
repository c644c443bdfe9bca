"""A text stream that outlives its reader: when the other end of a pipe closes, the rest goes nowhere, quietly.

A rollout must not end because somebody piped its output into ``head``.
"""

from __future__ import annotations

import io
from typing import TextIO


class SurvivingStream:
    """Writes to ``stream`` until that fails for good; ``None`` stands for a descriptor that was closed already."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def is_open(self) -> bool:
        """Whether somebody may still be reading."""
        return self._stream is not None

    @property
    def encoding(self) -> str:
        """The encoding that readers are taken to expect."""
        return (self._stream.encoding if self._stream else None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a terminal is at the other end."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor, where there is one; raises ``OSError`` otherwise, as files without one do."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write ``text``; characters that the encoding lacks become question marks."""
        if self._stream is not None:
            fitting = text.encode(self.encoding, "replace").decode(self.encoding)
            try:
                self._stream.write(fitting)
            except (OSError, ValueError):
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Push out what is buffered."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None
