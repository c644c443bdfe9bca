"""Real SSH servers in this process, on loopback, for the transport's tests: asyncssh's, with knobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Host, SshSettings
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.secret import SecretRef
from ionetctl.ssh import SshConnector, TransportSettings
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Handler = Callable[["asyncssh.SSHServerProcess[bytes]"], Awaitable[None]]

USER = "miner"
SECRETS = {"PASSWORD": "hunter2 correct", "WRONG": "hunter2 wrong", "PASSPHRASE": "open sesame"}
PASSWORD = SecretRef("env", "PASSWORD")
WRONG = SecretRef("env", "WRONG")
PASSPHRASE = SecretRef("env", "PASSPHRASE")
MISSING = SecretRef("env", "MISSING")


def reveal(reference: SecretRef) -> str:
    """The secret that a test's reference stands for."""
    if reference.locator not in SECRETS:
        raise ConfigurationError("secret_missing", f"{reference} is not set", f"export {reference.locator}")
    return SECRETS[reference.locator]


@dataclass
class Behaviour:
    """What a server allows, and what it saw."""

    authorized: list[asyncssh.SSHKey] = field(default_factory=list)
    is_key_asked_for: bool = True
    password: str | None = None
    keyboard: str | None = None
    is_password_expired: bool = False
    banner: str = ""
    handler: Handler | None = None
    path: str = os.environ.get("PATH", "/usr/bin:/bin")
    login_shell: str = "/bin/sh"
    variables: dict[str, str] = field(default_factory=dict)
    forwards: bool = True
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    passwords_seen: list[str] = field(default_factory=list)
    forwarded_to: list[tuple[str, int]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    channels: list[Any] = field(default_factory=list)
    commands: list[asyncio.Task[Any]] = field(default_factory=list)
    """Done where a command has ended."""


class _Server(asyncssh.SSHServer):
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._behaviour.connections.append(conn)

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002  (asyncssh's signature)
        if self._behaviour.banner and self._connection is not None:
            self._connection.send_auth_banner(self._behaviour.banner)
        return True

    def public_key_auth_supported(self) -> bool:
        return self._behaviour.is_key_asked_for

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  (asyncssh's signature)
        return any(key.public_data == known.public_data for known in self._behaviour.authorized)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  (asyncssh's signature)
        return any(key.public_data == known.public_data for known in self._behaviour.authorized)

    def password_auth_supported(self) -> bool:
        return self._behaviour.password is not None

    def validate_password(self, username: str, password: str) -> bool:  # noqa: ARG002  (asyncssh's signature)
        self._behaviour.passwords_seen.append(password)
        if self._behaviour.is_password_expired:
            raise asyncssh.PasswordChangeRequired("expired")
        return password == self._behaviour.password

    def kbdint_auth_supported(self) -> bool:
        return self._behaviour.keyboard is not None

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:  # noqa: ARG002  (asyncssh's signature)
        return "", "", "", [("Kennwort: ", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:  # noqa: ARG002  (asyncssh's signature)
        self._behaviour.passwords_seen += responses
        return list(responses) == [self._behaviour.keyboard]

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:  # noqa: ARG002  (asyncssh's signature)
        self._behaviour.forwarded_to.append((dest_host, dest_port))
        if not self._behaviour.forwards:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        return True


@dataclass
class Server:
    """A listening server. ``host`` makes the inventory's host for it."""

    port: int
    key: asyncssh.SSHKey
    behaviour: Behaviour

    def line(self, name: str = "127.0.0.1") -> str:
        """The known_hosts line for this server."""
        return known_line(self.key, f"[{name}]:{self.port}")

    def host(self, **ssh: Any) -> Host:
        """The inventory's host, by its SSH settings; pinned to the server's key unless told otherwise."""
        settings: dict[str, Any] = {
            "user": USER,
            "port": self.port,
            "host_keys": (public(self.key),),
            "agent": False,
        }
        return make_host(**{**settings, **ssh})


def make_host(address: str = "127.0.0.1", **ssh: Any) -> Host:
    """A host of an inventory."""
    return Host(HostName("rig-1"), address, RegionName("eu-north"), "rey1", ssh=SshSettings(**ssh))


def public(key: asyncssh.SSHKey) -> str:
    """A key as known_hosts and inventories write it."""
    return " ".join(key.export_public_key("openssh").decode().split()[:2])


def known_line(key: asyncssh.SSHKey, names: str, marker: str = "") -> str:
    """A known_hosts line."""
    return f"{marker} {names} {public(key)}\n".lstrip()


def started(process: asyncssh.SSHServerProcess[bytes]) -> bytes:
    """What a host prints as the command begins: for handlers that imitate one's output."""
    found = re.search(r"ionetctl-start-[0-9a-f]+", process.command or "")
    assert found is not None
    return f"{found[0]}\n".encode()


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    """Pass on standard input, its end, and before that a signal, to all processes of the command, as sshd does."""
    assert child.stdin is not None
    try:
        while data := await process.stdin.read(65536):
            child.stdin.write(data)
            await child.stdin.drain()
    except asyncssh.SignalReceived as received:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.Signals[f"SIG{received.signal}"])
    child.stdin.close()


async def _pump(source: asyncio.StreamReader | None, target: asyncssh.SSHWriter[bytes]) -> None:
    assert source is not None
    while data := await source.read(65536):
        target.write(data)
        await target.drain()


async def _end(child: asyncio.subprocess.Process) -> None:
    """Nothing of a command outlives its channel, neither process nor pipe."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    assert child.stdin is not None
    child.stdin.close()
    try:
        await child.communicate()  # wait() alone never returns while a pipe is full that nobody reads
    finally:
        inside: Any = child
        inside._transport.close()


async def run_shell(process: asyncssh.SSHServerProcess[bytes], behaviour: Behaviour) -> None:
    """Run the command with the user's login shell, as sshd does."""
    child = await asyncio.create_subprocess_exec(
        behaviour.login_shell,
        "-c",
        process.command or "",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": behaviour.path, **behaviour.variables},
        start_new_session=True,
    )
    pumps = [
        asyncio.create_task(_pump(child.stdout, process.stdout)),
        asyncio.create_task(_pump(child.stderr, process.stderr)),
    ]
    feeder = asyncio.create_task(_feed(process, child))
    try:
        await asyncio.gather(*pumps)
        status = await child.wait()
    finally:
        for task in (*pumps, feeder):
            task.cancel()
        # The server's end may come in the middle of this, too.
        try:
            await asyncio.gather(*pumps, feeder, return_exceptions=True)
        finally:
            await _end(child)
    if status < 0:
        process.exit_with_signal("KILL")
    else:
        process.exit(status)


@contextlib.asynccontextmanager
async def serve(behaviour: Behaviour, *keys: asyncssh.SSHKey, **options: Any) -> AsyncIterator[Server]:
    """A server on a free port, for as long as the block lasts."""

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.current_task()
        assert task is not None
        behaviour.commands.append(task)
        behaviour.environments.append(dict(process.env))
        behaviour.channels.append(process.channel)
        if behaviour.handler is None:
            await run_shell(process, behaviour)
        else:
            await behaviour.handler(process)

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Server(behaviour),
        server_host_keys=options.pop("server_host_keys", list(keys)),
        process_factory=handle,
        encoding=None,
        **options,
    )
    try:
        yield Server(listener.get_port(), keys[0], behaviour)
    finally:
        for connection in behaviour.connections:
            connection.abort()
        for task in behaviour.commands:
            task.cancel()
        await asyncio.gather(*behaviour.commands, return_exceptions=True)
        await asyncio.gather(*(connection.wait_closed() for connection in behaviour.connections))
        listener.close()
        await listener.wait_closed()


@contextlib.asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """The port of something that listens and speaks no SSH."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def connector(settings: TransportSettings, **options: Any) -> AsyncIterator[SshConnector]:
    """A connector over the tests' secrets."""
    async with SshConnector(settings, options.pop("reveal", reveal), **options) as made:
        yield made


def write_key(key: asyncssh.SSHKey, path: Path, passphrase: str | None = None) -> str:
    """Write a private key file; returns its path as an inventory has it."""
    path.touch(mode=0o600)
    path.write_bytes(key.export_private_key("openssh", passphrase, rounds=50))
    path.chmod(0o600)
    return str(path)


@contextlib.asynccontextmanager
async def agent(directory: Path, *keys: asyncssh.SSHKey) -> AsyncIterator[str]:
    """The socket of a real ssh-agent that holds keys."""
    program = needs("ssh-agent")
    path = str(directory / "agent")
    process = await asyncio.create_subprocess_exec(
        program, "-D", "-a", path, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(10), await _agent_client(path) as client:
            await client.add_keys(list(keys))
        yield path
    finally:
        process.terminate()
        await process.wait()


async def _agent_client(path: str) -> asyncssh.SSHAgentClient:
    while True:
        with contextlib.suppress(OSError):
            return await asyncssh.connect_agent(path)
        await asyncio.sleep(0)
