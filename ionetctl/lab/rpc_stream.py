"""JSON messages, one a line, over a socket with or without TLS: the transport of the rehearsal's agent RPC.

asyncio's TLS loses the alert by which a server refuses a client's certificate (seen with Python 3.11), and the agent has to
log that alert. So the ``ssl`` module reads and writes the socket itself here. Idle connections also need no buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ionetctl.lab.json_object import JsonObject

T = TypeVar("T")

_BLOCK_BYTES: Final = 1 << 14
_LINE_LIMIT_BYTES: Final = 1 << 20
_HANDSHAKE_TIMEOUT_S: Final = 20.0
_BACKLOG: Final = 1024


@dataclass(slots=True)
class RpcStream:
    """A connected, non-blocking socket that carries one JSON object a line."""

    socket: socket.socket
    _pending: bytes = b""

    @property
    def certificate(self) -> JsonObject:
        """The peer's verified certificate, as ``ssl`` decodes it; empty without TLS."""
        return (self.socket.getpeercert() or {}) if isinstance(self.socket, ssl.SSLSocket) else {}

    async def handshake(self) -> None:
        """Perform the TLS handshake, if TLS is used; raises ``ssl.SSLError``, after the alert was sent."""
        if isinstance(self.socket, ssl.SSLSocket):
            await asyncio.wait_for(
                self._retry_until_done(self.socket.do_handshake, is_writing=False), _HANDSHAKE_TIMEOUT_S
            )

    async def send(self, document: JsonObject) -> None:
        """Send one object."""
        rest = memoryview(json.dumps(document, separators=(",", ":")).encode() + b"\n")
        while rest:
            rest = rest[await self._retry_until_done(partial(self.socket.send, rest), is_writing=True) :]

    async def receive(self) -> JsonObject:
        """The next object; raises ``ConnectionResetError`` at end of file, ``ValueError`` for anything but an object."""
        while b"\n" not in self._pending:
            block = await self._retry_until_done(lambda: self.socket.recv(_BLOCK_BYTES), is_writing=False)
            if not block:
                raise ConnectionResetError("EOF")
            self._pending += block
            if len(self._pending) > _LINE_LIMIT_BYTES:
                raise ValueError("the line is too long")
        line, _, self._pending = self._pending.partition(b"\n")
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError("not an object")  # noqa: TRY004 - the peer sent a wrong value
        return document

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    async def _retry_until_done(self, operation: Callable[[], T], *, is_writing: bool) -> T:
        while True:
            try:
                return operation()
            except ssl.SSLWantWriteError:
                await _ready(self.socket, is_writing=True)
            except ssl.SSLWantReadError:
                await _ready(self.socket, is_writing=False)
            except BlockingIOError:
                await _ready(self.socket, is_writing=is_writing)


async def _ready(waiting: socket.socket, *, is_writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    add, remove = (
        (loop.add_writer, loop.remove_writer) if is_writing else (loop.add_reader, loop.remove_reader)
    )
    add(waiting, ready.set)
    try:
        await ready.wait()
    finally:
        remove(waiting)


async def connect(host: str, port: int, source: str, context: ssl.SSLContext | None, name: str) -> RpcStream:
    """A connection from address ``source``; ``context`` is for TLS, ``name`` the server name (SNI). Raises ``OSError``."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    raw = socket.socket()
    stream = RpcStream(raw)
    try:
        raw.setblocking(False)
        raw.bind((source, 0))
        await loop.sock_connect(raw, found[0][4])
        if context is not None:
            stream.socket = context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        await stream.handshake()
    except BaseException:
        stream.close()
        raise
    return stream


@contextlib.asynccontextmanager
async def listening(
    host: str, port: int, context: ssl.SSLContext, serve: Callable[[RpcStream], Awaitable[None]]
) -> AsyncIterator[int]:
    """Serve TLS connections inside the block, each in a task; yields the port. ``serve`` has to call ``handshake`` first."""
    listener = socket.create_server((host, port), backlog=_BACKLOG)
    listener.setblocking(False)
    connections: set[asyncio.Task[None]] = set()
    accepting = asyncio.create_task(_accept(listener, context, serve, connections))
    try:
        yield int(listener.getsockname()[1])
    finally:
        for task in (accepting, *connections):
            task.cancel()
        await asyncio.gather(accepting, *connections, return_exceptions=True)
        listener.close()


async def _accept(
    listener: socket.socket,
    context: ssl.SSLContext,
    serve: Callable[[RpcStream], Awaitable[None]],
    connections: set[asyncio.Task[None]],
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        raw, _ = await loop.sock_accept(listener)
        wrapped = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        task = asyncio.ensure_future(_serve_one(RpcStream(wrapped), serve))
        connections.add(task)
        task.add_done_callback(connections.discard)


async def _serve_one(stream: RpcStream, serve: Callable[[RpcStream], Awaitable[None]]) -> None:
    try:
        await serve(stream)
    except (OSError, ValueError, KeyError):
        pass  # the peer disconnected or sent something else; it logs the reason itself
    finally:
        stream.close()


def certificate_names(certificate: JsonObject) -> list[str]:
    """The DNS names and common names in a certificate that ``ssl`` has decoded."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    for relative in certificate.get("subject", ()):
        names += [value for key, value in relative if key == "commonName" and value not in names]
    return names
