"""One command of an SSH session: runs ``/bin/sh -c`` and connects its standard streams to the SSH channel.

Like sshd: when the client disconnects, the command gets end of file on its input and its outputs are closed, but it is
not killed at once. Knows channels and processes, and nothing of what the command does.
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

_BLOCK_BYTES: Final = 1 << 16
_ORPHAN_TIMEOUT_S: Final = 150.0
"""How long a command may keep running after its client has disconnected."""


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """How a host's network link behaves: its speed (``None``: unlimited), and what is called as input arrives.

    ``on_input`` gets the number of bytes received so far.
    """

    bytes_per_second: int | None = None
    on_input: Callable[[int], None] | None = None

    @property
    def block_bytes(self) -> int:
        """How many bytes are forwarded at a time."""
        return min(self.bytes_per_second or _BLOCK_BYTES, _BLOCK_BYTES)

    async def pace(self, forwarded: int) -> None:
        """Wait as long as the link needs for ``forwarded`` bytes."""
        if self.bytes_per_second is not None:
            await asyncio.sleep(forwarded / self.bytes_per_second)


@dataclass(slots=True)
class SshCommand:
    """A command that a client asked for. ``environment`` is its whole environment."""

    channel: Process
    command: str
    environment: Mapping[str, str] = field(repr=False)
    directory: Path
    link: NetworkLink = field(default_factory=NetworkLink)

    async def run(self) -> None:
        """Run the command and report its exit status or signal to the client."""
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
        forwarding_input = asyncio.create_task(self._forward_input(inputs[1]))
        try:
            await asyncio.gather(
                self._forward_output(outputs[0], self.channel.stdout),
                self._forward_output(errors[0], self.channel.stderr),
            )
            await self._report_exit(process)
        finally:
            forwarding_input.cancel()
            await asyncio.gather(forwarding_input, return_exceptions=True)

    async def _forward_input(self, descriptor: int) -> None:
        """Client → command, until either side closes; then the command gets end of file."""
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "wb", buffering=0)
        transport, protocol = await loop.connect_write_pipe(_new_protocol, pipe)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        received = 0
        try:
            while block := await self.channel.stdin.read(self.link.block_bytes):
                writer.write(block)
                await writer.drain()
                await self.link.pace(len(block))
                received += len(block)
                if self.link.on_input is not None:
                    self.link.on_input(received)
        except (OSError, asyncssh.Error, asyncssh.SignalReceived, asyncssh.BreakReceived):
            pass  # the client has disconnected, or the command has closed its input
        finally:
            transport.close()

    async def _forward_output(self, descriptor: int, sink: asyncssh.SSHWriter[bytes]) -> None:
        """Command → client; once the client has disconnected, the command's next write fails (``EPIPE``)."""
        reader = asyncio.StreamReader(limit=_BLOCK_BYTES)
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while block := await reader.read(self.link.block_bytes):
                sink.write(block)
                await sink.drain()
                await self.link.pace(len(block))
        except (OSError, asyncssh.Error):
            pass  # the client has disconnected
        finally:
            transport.close()

    async def _report_exit(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the process and send its status; one that outlives ``_ORPHAN_TIMEOUT_S`` is killed (``TimeoutError``)."""
        try:
            status = await asyncio.wait_for(process.wait(), _ORPHAN_TIMEOUT_S)
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


def _new_protocol() -> asyncio.streams.FlowControlMixin:
    return asyncio.streams.FlowControlMixin()
