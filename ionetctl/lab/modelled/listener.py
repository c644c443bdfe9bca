"""One listening socket for the SSH servers of thousands of hosts: the address that was dialled says which host answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.lab.host.ssh_server import NOISE, USER, full_listener

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from ionetctl.lab.modelled.modelled_host import ModelledHost

_BACKLOG: Final = 4096
_LOGIN_TIMEOUT_S: Final = 60.0
UNANSWERED: Final = frozenset({"unreachable", "timeout"})
"""Faults of hosts that must not share the socket: their connections are never accepted."""


@dataclass(slots=True)
class Listener:
    """Serves ``hosts`` (by address) between ``open`` and ``close``. ``client_key`` is the only key that logs in."""

    hosts: Mapping[str, ModelledHost]
    client_key: asyncssh.SSHKey
    _options: asyncssh.SSHServerConnectionOptions = field(init=False, repr=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def open(self) -> dict[str, int]:
        """Start serving; returns the port of each host, by name."""
        self._options = asyncssh.SSHServerConnectionOptions(
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            x11_forwarding=False,
            login_timeout=_LOGIN_TIMEOUT_S,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        )
        listening = self._resources.enter_context(socket.socket())
        with contextlib.suppress(
            PermissionError
        ):  # an old kernel keeps this for root; other addresses get no answer then
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        listening.bind(("0.0.0.0", 0))  # noqa: S104 - all of 127.0.0.0/8, on the loopback interface alone
        listening.listen(_BACKLOG)
        listening.setblocking(False)
        port = int(listening.getsockname()[1])
        self._spawn(self._accept(listening))
        return {host.name: self._port_of(host, port) for host in self.hosts.values()}

    def _port_of(self, host: ModelledHost, shared: int) -> int:
        """The shared port, or one at which nothing listens, or where nothing is accepted."""
        if host.fault not in UNANSWERED:
            return shared
        held = self._resources.enter_context(socket.socket())
        held.bind((host.address, 0))
        port = int(held.getsockname()[1])
        if host.fault == "timeout":
            held.close()
            self._resources.enter_context(full_listener(host.address, port))
        return port

    async def close(self) -> None:
        """Stop serving."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._resources.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            host = self.hosts.get(connection.getsockname()[0])
            if host is None or host.fault == "refused":
                connection.close()
            else:
                self._spawn(self._serve(connection, host))

    async def _serve(self, connection: socket.socket, host: ModelledHost) -> None:
        if host.fault == "silent":
            await _stay_silent(connection)
            return
        shown = "ssh-ed25519"
        key = (
            asyncssh.generate_private_key(shown)
            if host.fault == "wrong-key"
            else asyncssh.import_private_key(host.host_key)
        )
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            await asyncssh.run_server(
                connection,
                options=self._options,
                server_host_keys=[key],
                server_factory=lambda: _SshServer(host, self.client_key),
                process_factory=host.serve,
            )


async def _stay_silent(connection: socket.socket) -> None:
    with contextlib.closing(connection), contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(connection, 1 << 12):
            pass


class _SshServer(asyncssh.SSHServer):
    """Accepts user ``miner`` with the rehearsal's client key only."""

    def __init__(self, host: ModelledHost, client_key: asyncssh.SSHKey) -> None:
        self._host = host
        self._client_key = client_key
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        del username
        if self._host.fault == "noisy" and self._connection is not None:
            self._connection.send_auth_banner(NOISE)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        is_let_in = self._host.fault != "auth" and not self._host.is_closed
        return username == USER and is_let_in and key == self._client_key
