"""One command of one SSH session, run for real: ``/bin/sh -c`` with its three streams wired to the channel.

Like sshd it gives the command an end of input when the client goes away, closes its outputs, and does not kill it at
once. It knows channels and processes, and nothing of what the command is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Process = asyncssh.SSHServerProcess[bytes]

_BLOCK: Final = 1 << 16
_LEFT_ALONE_S: Final = 150.0
"""How long a command may go on after its client is gone."""


@dataclass(frozen=True, slots=True)
class Line:
    """How the host's line behaves: bytes a second, and after how many bytes of input ``on_bytes`` is asked."""

    bytes_per_second: int | None = None
    on_input: Callable[[int], None] | None = None

    @property
    def block(self) -> int:
        """How much is passed on at a time."""
        return min(self.bytes_per_second or _BLOCK, _BLOCK)

    async def pace(self, passed: int) -> None:
        """Wait as long as ``passed`` bytes are under way."""
        if self.bytes_per_second is not None:
            await asyncio.sleep(passed / self.bytes_per_second)


@dataclass(slots=True)
class Child:
    """A command on its way. ``environment`` is all the environment it gets."""

    channel: Process
    command: str
    environment: Mapping[str, str] = field(repr=False)
    directory: Path
    line: Line = field(default_factory=Line)

    async def run(self) -> None:
        """Run the command to its end and tell the client how it ended."""
        inputs, outputs, errors = os.pipe(), os.pipe(), os.pipe()
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            self.command,
            stdin=inputs[0],
            stdout=outputs[1],
            stderr=errors[1],
            env=dict(self.environment),
            cwd=self.directory,
            start_new_session=True,
        )
        for descriptor in (inputs[0], outputs[1], errors[1]):
            os.close(descriptor)
        feeding = asyncio.create_task(self._feed(inputs[1]))
        try:
            await asyncio.gather(
                self._carry(outputs[0], self.channel.stdout), self._carry(errors[0], self.channel.stderr)
            )
            await self._end(process)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, descriptor: int) -> None:
        """Client → command, until either goes away; then the command sees the end of its input."""
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "wb", buffering=0)
        transport, protocol = await loop.connect_write_pipe(_flow_control, pipe)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        passed = 0
        try:
            while block := await self.channel.stdin.read(self.line.block):
                writer.write(block)
                await writer.drain()
                await self.line.pace(len(block))
                passed += len(block)
                if self.line.on_input is not None:
                    self.line.on_input(passed)
        except (OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
            pass  # the client is gone, or the command reads no more
        finally:
            transport.close()

    async def _carry(self, descriptor: int, sink: asyncssh.SSHWriter[bytes]) -> None:
        """Command → client; when the client is gone, the command's next write fails."""
        reader = asyncio.StreamReader(limit=_BLOCK)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while block := await reader.read(self.line.block):
                sink.write(block)
                await sink.drain()
                await self.line.pace(len(block))
        except (OSError, asyncssh.Error):
            pass  # the client is gone
        finally:
            transport.close()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        try:
            status = await asyncio.wait_for(process.wait(), _LEFT_ALONE_S)
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        with contextlib.suppress(OSError, asyncssh.Error):
            if status < 0:
                self.channel.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                self.channel.exit(status)


def _flow_control() -> asyncio.streams.FlowControlMixin:
    return asyncio.streams.FlowControlMixin()
