"""Named pipes by which a host's stand-in programs call its supervisor: one for requests, one for each reply.

The programs are shell scripts (``standins/common/systemctl``), which can use a pipe without starting another process. A
request is one line, ``PID<TAB>PROGRAM<TAB>ARGUMENT…``, shorter than ``PIPE_BUF`` and so written atomically. A reply is
lines that begin with ``o`` (standard output) or ``e`` (standard error), then ``xSTATUS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.supervisor import Reply

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS: Final = "request"
_BLOCK_BYTES: Final = 1 << 16
_REPLY_LIMIT_BYTES: Final = 48_000
"""Less than a pipe's buffer, so that writing a reply never blocks, even when its reader was killed."""
_LINE_LIMIT_CHARS: Final = 2000

ReplyTo = Callable[[str, list[str]], Awaitable[Reply]]


@dataclass(slots=True)
class RequestPipe:
    """The supervisor's end of a host's request pipe, in ``directory``. ``reply_to`` gets program and arguments."""

    directory: Path
    reply_to: ReplyTo
    _descriptor: int = -1
    _pending: bytes = b""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def open(self) -> None:
        """Create the pipe and read from it. It is opened for writing too: otherwise it would end with its first writer."""
        path = self.directory / REQUESTS
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    async def close(self) -> None:
        """Stop reading and cancel the requests in progress."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._pending += os.read(self._descriptor, _BLOCK_BYTES)
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            task = asyncio.create_task(self._serve(line.decode(errors="replace")))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, line: str) -> None:
        process, _, rest = line.partition("\t")
        program, *arguments = rest.split("\t")
        if not process.isdigit():
            return
        try:
            reply = await self.reply_to(program, arguments)
        except Exception as error:  # noqa: BLE001 - without a reply the calling program would wait for ever
            reply = Reply(1, err=(f"rehearsal: {type(error).__name__}: {error}",))
        with contextlib.suppress(OSError):  # the calling program was killed meanwhile
            descriptor = os.open(self.directory / f"reply.{process}", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(descriptor, _encoded(reply))
            finally:
                os.close(descriptor)


def _encoded(reply: Reply) -> bytes:
    lines = [f"o{line[:_LINE_LIMIT_CHARS]}" for line in reply.out] + [
        f"e{line[:_LINE_LIMIT_CHARS]}" for line in reply.err
    ]
    body = "".join(f"{line}\n" for line in lines).encode()
    return body[-_REPLY_LIMIT_BYTES:] + f"x{reply.status}\n".encode()
