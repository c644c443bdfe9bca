"""How stand-in programs of a host reach its supervisor: a named pipe for requests, one more for each reply.

Plain ``sh`` can write a line to a pipe and read lines from one, so that asking costs no further process. A request is
one line, ``PID<TAB>PROGRAM<TAB>ARGUMENT…``, short enough to be written whole; a reply is lines marked ``o`` or ``e`` for
the two outputs, then ``x STATUS``.
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
_BLOCK: Final = 1 << 16
_REPLY_LIMIT: Final = 48_000
"""Less than a pipe holds, so that a reply is written at once and nobody waits for a reader that died."""
_LINE_LIMIT: Final = 2000

Answer = Callable[[str, list[str]], Awaitable[Reply]]


@dataclass(slots=True)
class RequestPipe:
    """The supervisor's end of a host's request pipe, in ``directory``."""

    directory: Path
    answer: Answer
    _descriptor: int = -1
    _pending: bytes = b""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def open(self) -> None:
        """Make the pipe and listen to it; opened for writing too, so that it never ends."""
        path = self.directory / REQUESTS
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    async def close(self) -> None:
        """Stop listening and drop what is under way."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._pending += os.read(self._descriptor, _BLOCK)
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
            reply = await self.answer(program, arguments)
        except Exception as error:  # noqa: BLE001 - whatever breaks here, the asking program must not wait for ever
            reply = Reply(1, err=(f"rehearsal: {type(error).__name__}: {error}",))
        with contextlib.suppress(OSError):  # the asking program was killed meanwhile
            descriptor = os.open(self.directory / f"reply.{process}", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(descriptor, _encoded(reply))
            finally:
                os.close(descriptor)


def _encoded(reply: Reply) -> bytes:
    lines = [f"o{line[:_LINE_LIMIT]}" for line in reply.out] + [
        f"e{line[:_LINE_LIMIT]}" for line in reply.err
    ]
    body = "".join(f"{line}\n" for line in lines).encode()
    return body[-_REPLY_LIMIT:] + f"x{reply.status}\n".encode()
