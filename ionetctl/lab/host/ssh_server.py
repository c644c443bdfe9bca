"""A running rehearsal host: its SSH server on an address of its own, with its faults, and its supervisor.

Each SSH session runs a command in the host's file tree. Faults of the connection (no listener, wrong key, endless output)
are made here; those of programs and files are in ``faults`` and ``standins/faults``.
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

from ionetctl.lab.host.file_tree import hold_lock
from ionetctl.lab.host.programs import AGENT, PYTHON, SYSTEM_PATH, search_path
from ionetctl.lab.host.request_pipe import RequestPipe
from ionetctl.lab.host.ssh_command import NetworkLink, SshCommand
from ionetctl.lab.host.standin_files import LAB_DIR
from ionetctl.lab.host.supervisor import Supervisor
from ionetctl.lab.host.systemd_commands import OtherUnits, SystemdCommands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ionetctl.lab.paths import LabPaths

USER: Final = "miner"
NOISE: Final = "\x1b[2J\x1b[31m[bold]Welcome[/bold]\x1b]0;title\x07 \u202e::error::not an error\r\n"
BYTES_PER_S: Final = {"slow": 1 << 16, "trickle": 1}
_OUTPUT_PAUSE_S: Final = 0.01
DROP_AFTER_BYTES: Final = 96 << 10
"""More than a survey with its probe, less than an apply."""
_LISTEN_BACKLOG: Final = 128
_PYTHON: Final = str(Path(sys.executable).resolve())
"""The interpreter without its virtual environment, which would make every start slower."""
_WITHOUT_SSH: Final = frozenset({"unreachable", "timeout", "refused", "silent"})


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What a host is started with. ``host_key`` is a private key in OpenSSH's format, ``client_key`` a public one."""

    name: str
    address: str
    port: int
    host_key: str = field(repr=False)
    client_key: str
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class LabHost:
    """A host that serves between ``open`` and ``close``."""

    plan: HostPlan
    paths: LabPaths
    _supervisor: Supervisor = field(init=False)
    _pipe: RequestPipe = field(init=False)
    _resources: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _has_dropped: bool = False

    def __post_init__(self) -> None:
        faults = frozenset(self.plan.faults)
        self._supervisor = Supervisor(self.tree, self.plan.address, self.environment(), faults)
        others = OtherUnits(self.tree)
        self._resources.callback(others.close)
        commands = SystemdCommands(self._supervisor, others)
        self._pipe = RequestPipe(self.tree / LAB_DIR, commands.run)
        if "foreign-nomad" in faults:
            self._supervisor.mark_running()

    @property
    def tree(self) -> Path:
        """The directory that stands for the host's ``/``."""
        return self.paths.tree(self.plan.name)

    def has_fault(self, fault: str) -> bool:
        """Whether the host has this fault."""
        return fault in self.plan.faults

    def environment(self) -> dict[str, str]:
        """The whole environment of the host's commands."""
        programs = self.paths.programs
        return {
            "HOME": str(self.tree / "home" / USER),
            # Nothing starts a rehearsed miner again: it is watched for less than the ten minutes that a real one is.
            "IONET_QUIET_S": "3",
            "IONET_ROOT": str(self.tree),
            "LAB_AGENT_STANDINS": str(programs / AGENT),
            "LAB_PYTHON": _PYTHON,
            "LAB_PYTHON_STANDINS": str(programs / PYTHON),
            "LAB_SYSTEM_PATH": SYSTEM_PATH,
            "LANG": "C.UTF-8",
            "LOGNAME": USER,
            "PATH": search_path(programs, self.tree, self.plan.faults),
            "SHELL": "/bin/sh",
            "USER": USER,
        }

    def open_programs(self) -> None:
        """Let the host's programs call its supervisor, and hold its lock where that is its fault."""
        if self.has_fault("locked"):
            hold_lock(self.tree)
        self._pipe.open()
        self._resources.push_async_callback(self._supervisor.close)
        self._resources.push_async_callback(self._pipe.close)

    async def open(self) -> None:
        """Start serving, in the way that the host's faults say."""
        self.open_programs()
        if _WITHOUT_SSH & set(self.plan.faults):
            await self._open_without_ssh()
        else:
            await self._open_ssh()

    async def close(self) -> None:
        """Stop serving and end the agent without deregistering, as a power cut would."""
        await self._resources.aclose()

    @property
    def authorized_keys(self) -> Path:
        """The file that says who may log in as ``USER``; programs on the host may change it."""
        return self.tree / "home" / USER / ".ssh" / "authorized_keys"

    def authorize(self) -> None:
        """Let the rehearsal's client in; a host that was started before keeps what it has."""
        if not self.authorized_keys.parent.exists():
            self.authorized_keys.parent.mkdir(mode=0o700)
            self.authorized_keys.touch(mode=0o600)
            self.authorized_keys.write_text(f"{self.plan.client_key.strip()}\n")

    async def _open_ssh(self) -> None:
        self.authorize()
        key = asyncssh.import_private_key(self.plan.host_key)
        shown = asyncssh.generate_private_key("ssh-ed25519") if self.has_fault("wrong-key") else key
        server = await asyncssh.listen(
            self.plan.address,
            self.plan.port,
            server_factory=lambda: _SshServer(self),
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

    async def _open_without_ssh(self) -> None:
        if self.has_fault("timeout"):
            self._resources.enter_context(full_listener(self.plan.address, self.plan.port))
        elif not self.has_fault("unreachable"):
            handler = _close_at_once if self.has_fault("refused") else _stay_silent
            server = await asyncio.start_server(handler, self.plan.address, self.plan.port)
            self._resources.callback(server.close)

    async def _serve(self, channel: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            if self.has_fault("endless"):
                await write_endlessly(channel)
                return
            if self.has_fault("noisy"):
                channel.stdout.write(NOISE.encode())
                channel.stderr.write(NOISE.encode())
            speed = next((BYTES_PER_S[fault] for fault in self.plan.faults if fault in BYTES_PER_S), None)
            link = NetworkLink(speed, self._drop_callback(channel))
            command = channel.command or "exit 1"
            environment = {**self.environment(), "SSH_CONNECTION": _addresses(channel)}
            await SshCommand(channel, command, environment, self.tree, link).run()
        except (OSError, asyncssh.Error):
            return  # the client has disconnected

    def _drop_callback(self, channel: asyncssh.SSHServerProcess[bytes]) -> Callable[[int], None] | None:
        """The callback that cuts the first connection with a large upload; ``None`` without that fault or when it has."""
        if not self.has_fault("drop") or self._has_dropped:
            return None

        def drop(received: int) -> None:
            if received >= DROP_AFTER_BYTES and not self._has_dropped:
                self._has_dropped = True
                channel.channel.get_connection().abort()

        return drop


def _addresses(channel: asyncssh.SSHServerProcess[bytes]) -> str:
    """Both ends of the connection, as sshd tells them to commands."""
    ends = (channel.get_extra_info(end) for end in ("peername", "sockname"))
    return " ".join(f"{end[0]} {end[1]}" for end in ends)


class _SshServer(asyncssh.SSHServer):
    """Accepts user ``miner`` with the keys of its ``authorized_keys``."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        if self._connection is not None:
            if self._host.has_fault("noisy"):
                self._connection.send_auth_banner(NOISE)
            if username == USER and not self._host.has_fault("auth"):
                with contextlib.suppress(ValueError):  # of a file without any key
                    self._connection.set_authorized_keys(str(self._host.authorized_keys))
        return True

    def public_key_auth_supported(self) -> bool:
        return True


async def write_endlessly(channel: asyncssh.SSHServerProcess[bytes]) -> None:
    """Write until the client disconnects, with pauses in which the process serves its other hosts."""
    while not channel.is_closing():
        channel.stdout.write(b"there is always more to say\n" * 1000)
        await channel.stdout.drain()
        await asyncio.sleep(_OUTPUT_PAUSE_S)


async def _close_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 12):
            pass
    writer.close()


@contextlib.contextmanager
def full_listener(address: str, port: int) -> Iterator[None]:
    """A listener that accepts nothing and whose queue is full: the kernel drops further connection attempts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(2):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex((address, port))
        yield
