"""One rehearsal host as the network sees it: an SSH server on an address of its own, with what is wrong with it.

It wires sessions to commands in the host's tree, and keeps the host's supervisor. It is the only user of asyncssh's
server side, beside ``child``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.lab.host.command import Child, Line
from ionetctl.lab.host.control import Control
from ionetctl.lab.host.fifo import RequestPipe
from ionetctl.lab.host.programs import PYTHON, SYSTEM_PATH, search_path
from ionetctl.lab.host.supervisor import Supervisor
from ionetctl.lab.host.tree import LAB_DIR, hold_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.lab.places import Places

USER: Final = "miner"
NOISE: Final = "\x1b[2J\x1b[31m[bold]Welcome[/bold]\x1b]0;title\x07 \u202e::error::not an error\r\n"
_BYTES_PER_S: Final = {"slow": 1 << 16, "trickle": 1}
_BREATH_S: Final = 0.01
_DROP_AFTER_BYTES: Final = 1 << 16
_LISTEN_BACKLOG: Final = 128
_PYTHON: Final = str(Path(sys.executable).resolve())
"""The interpreter itself: an environment's has more to find at its start."""
_WITHOUT_SSH: Final = frozenset({"unreachable", "timeout", "refused", "silent"})


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What a host's server needs to know. ``host_key`` is a private key in OpenSSH's format."""

    name: str
    address: str
    port: int
    host_key: str = field(repr=False)
    client_key: str
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class LabHost:
    """A host that is up, from ``open`` to ``close``."""

    plan: HostPlan
    places: Places
    _supervisor: Supervisor = field(init=False)
    _pipe: RequestPipe = field(init=False)
    _resources: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _has_dropped: bool = False

    def __post_init__(self) -> None:
        faults = frozenset(self.plan.faults)
        self._supervisor = Supervisor(self.tree, self.plan.address, self.environment(), faults)
        self._pipe = RequestPipe(self.tree / LAB_DIR, Control(self._supervisor).answer)
        if "foreign-nomad" in faults:
            self._supervisor.seem_running()

    @property
    def tree(self) -> Path:
        """What stands for ``/`` here."""
        return self.places.tree(self.plan.name)

    def has(self, fault: str) -> bool:
        """Whether this is wrong with the host."""
        return fault in self.plan.faults

    def environment(self) -> dict[str, str]:
        """All the environment that a command gets."""
        programs = self.places.programs
        return {
            "HOME": str(self.tree / "home" / USER),
            "IONET_ROOT": str(self.tree),
            "LAB_PYTHON": _PYTHON,
            "LAB_PYTHON_STANDINS": str(programs / PYTHON),
            "LAB_SYSTEM_PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "LOGNAME": USER,
            "PATH": search_path(programs, self.tree, self.plan.faults),
            "SHELL": "/bin/sh",
            "USER": USER,
        }

    async def open(self) -> None:
        """Serve, as far as the host's faults let it."""
        if self.has("locked"):
            hold_lock(self.tree)
        self._pipe.open()
        self._resources.push_async_callback(self._supervisor.close)
        self._resources.push_async_callback(self._pipe.close)
        if _WITHOUT_SSH & set(self.plan.faults):
            await self._open_broken()
        else:
            await self._open_ssh()

    async def close(self) -> None:
        """Stop serving; the agent goes too, as in a power cut."""
        await self._resources.aclose()

    async def _open_ssh(self) -> None:
        key = asyncssh.import_private_key(self.plan.host_key)
        shown = asyncssh.generate_private_key("ssh-ed25519") if self.has("wrong-key") else key
        server = await asyncssh.listen(
            self.plan.address,
            self.plan.port,
            server_factory=lambda: _Door(self),
            server_host_keys=[shown],
            process_factory=self._serve,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            backlog=_LISTEN_BACKLOG,
            reuse_address=True,
        )
        self._resources.callback(server.close)

    async def _open_broken(self) -> None:
        if self.has("timeout"):
            self._resources.enter_context(_swallow(self.plan.address, self.plan.port))
        elif not self.has("unreachable"):
            handler = _hang_up if self.has("refused") else _say_nothing
            server = await asyncio.start_server(handler, self.plan.address, self.plan.port)
            self._resources.callback(server.close)

    async def _serve(self, channel: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            if self.has("endless"):
                await _babble(channel)
                return
            if self.has("noisy"):
                channel.stdout.write(NOISE.encode())
                channel.stderr.write(NOISE.encode())
            speed = next((_BYTES_PER_S[fault] for fault in self.plan.faults if fault in _BYTES_PER_S), None)
            line = Line(speed, self._dropper(channel))
            child = Child(channel, channel.command or "exit 1", self.environment(), self.tree, line)
            await child.run()
        except (OSError, asyncssh.Error):
            return  # the client is gone

    def _dropper(self, channel: asyncssh.SSHServerProcess[bytes]) -> Callable[[int], None] | None:
        """What cuts the connection in the middle of an upload, once in the host's life."""
        if not self.has("drop") or self._has_dropped:
            return None

        def drop(passed: int) -> None:
            if passed >= _DROP_AFTER_BYTES and not self._has_dropped:
                self._has_dropped = True
                channel.channel.get_connection().abort()

        return drop


class _Door(asyncssh.SSHServer):
    """Lets user ``miner`` in with the one key, and nobody else."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        del username
        if self._host.has("noisy") and self._connection is not None:
            self._connection.send_auth_banner(NOISE)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if username != USER or self._host.has("auth"):
            return False
        return key == asyncssh.import_public_key(self._host.plan.client_key)


async def _babble(channel: asyncssh.SSHServerProcess[bytes]) -> None:
    """Output without end, in pauses, so that the other hosts of this process are heard too."""
    while not channel.is_closing():
        channel.stdout.write(b"there is always more to say\n" * 1000)
        await channel.stdout.drain()
        await asyncio.sleep(_BREATH_S)


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 12):
            pass
    writer.close()


@contextlib.contextmanager
def _swallow(address: str, port: int) -> Iterator[None]:
    """A listener that accepts nothing and whose queue is full: the kernel drops whatever else knocks."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(2):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex((address, port))
        yield
