"""A text stream whose writes never fail: after a closed pipe or a full disk, what is written is discarded.

A rollout must not end because its output is piped into ``head``.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOSED: Final = (errno.EPIPE, errno.EBADF, errno.ECONNRESET)
_PLAINER: Final = str.maketrans("━─·…→", "#.-~>")
"""Our own drawings, letter for letter, so that nothing shifts."""
PATIENCE_S: Final = 0.5
"""How long an end waits for what is being written."""


def _started(work: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the process from ending."""
    thread = threading.Thread(target=work, name="writing to a stream", daemon=True)
    thread.start()
    return thread


class SurvivingStream:
    """Writes to ``stream`` until a write fails; ``None`` is a descriptor that is closed already."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._is_given_up = False
        self.failure: OSError | None = None
        """Why writing failed, where it was for another reason than a closed pipe or descriptor."""

    @property
    def is_open(self) -> bool:
        """Whether no write has failed yet, and the stream is not given up."""
        return self._stream is not None and not self._is_given_up

    @property
    def encoding(self) -> str:
        """The stream's encoding, else UTF-8."""
        return (self._stream.encoding if self._stream else None) or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor; raises ``OSError`` where there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write ``text``; characters that the encoding lacks become similar ones of ASCII, or question marks."""
        if self._stream is not None and not self._is_given_up:
            fitting = self._fitting(text)
            try:
                self._stream.write(fitting)
            except (OSError, ValueError) as error:
                self._lose(error)
        return len(text)

    def _fitting(self, text: str) -> str:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.translate(_PLAINER).encode(self.encoding, "replace").decode(self.encoding)
        return text

    def flush(self) -> None:
        """Write what is buffered."""
        if self._stream is not None and not self._is_given_up:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._lose(error)

    def _lose(self, error: OSError | ValueError) -> None:
        self._stream = None
        if isinstance(error, OSError) and error.errno not in _CLOSED:
            self.failure = error

    async def write_aside(self, text: str) -> None:
        """Write ``text`` in a thread, so that a reader who is slow holds up neither the event loop nor the process's end.

        A caller that is cancelled gives the stream up where its reader has stopped: what is written later is discarded.
        """
        import asyncio  # not at the top: who starts no event loop does without it

        loop = asyncio.get_running_loop()
        written = loop.create_future()

        def tell() -> None:
            if not written.done():
                written.set_result(None)

        def write() -> None:
            self._write_through(text)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell)

        thread = _started(write)
        try:
            await written
        except asyncio.CancelledError:
            self._wait_a_moment(thread)
            raise

    def write_at_last(self, text: str) -> None:
        """Write ``text`` even where the stream is given up, for a reader who goes on later; wait for that only a moment."""
        self._wait_a_moment(_started(lambda: self._write_through(text)))

    def _wait_a_moment(self, writing: threading.Thread) -> None:
        """Wait until it is written; a reader who is not through by then has stopped, and the stream is given up."""
        writing.join(PATIENCE_S)
        self._is_given_up = self._is_given_up or writing.is_alive()

    def _write_through(self, text: str) -> None:
        """Write past Python's buffer, whose lock would keep the interpreter from ending."""
        if self._stream is None:
            return
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):
            self.write(text)
            return
        rest = memoryview(self._fitting(text).encode(self.encoding, "replace"))
        try:
            self._stream.flush()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except (OSError, ValueError) as error:
            self._lose(error)
