"""A regional API in this process over real TLS, that answers what a test says: recorded answers, refusals, nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ionetctl.core.model.inventory import Issuer, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import RegionName
from ionetctl.core.model.secret import SecretRef
from tests.support import pki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime, timedelta

RECORDINGS: Final = Path(__file__).parent.parent / "data" / "nomad" / "recordings.json"
EU: Final = RegionName("eu-north")
SERVER_NAME: Final = "server.eu-north.nomad"
TOKEN: Final = "3f0e8c1a-secret-token-9b7d"
SIGNATURE: Final = "A" * 342


def recording(name: str) -> dict[str, Any]:
    """A call to a real region: request and response."""
    calls = json.loads(RECORDINGS.read_text())["calls"]
    found: dict[str, Any] = next(call for call in calls if call["name"] == name)
    return found


@dataclass(frozen=True)
class Answer:
    """One answer. A body that is no bytes is sent as JSON."""

    body: object = b""
    status: int = 200
    """0: the server reads the request and says nothing."""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def recorded(cls, name: str) -> Answer:
        """A real region's, its removed signature made up."""
        response = recording(name)["response"]
        body = response["body"]
        if isinstance(body, str) and response["status"] != 200:
            body = body.encode()
        elif isinstance(body, dict) and "JWT" in body:
            body = {"JWT": body["JWT"].replace("(signature of 342 characters)", SIGNATURE)}
        return cls(body, response["status"], response["headers"])

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    token: str | None
    body: bytes
    host: str
    peer: str | None


@dataclass
class ScriptedApi:
    """Gives each path's answers in turn, the last one for ever; ``seen`` is what it was asked."""

    answers: Mapping[str, Sequence[Answer]]
    seen: list[Seen] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        count = sum(seen.path == request.path for seen in self.seen)
        transport = request.transport
        assert transport is not None
        certificate = transport.get_extra_info("peercert")
        peer = dict(part[0] for part in certificate["subject"])["commonName"] if certificate else None
        self.connections.add(transport.get_extra_info("peername")[1])
        seen = Seen(
            request.method,
            request.path,
            dict(request.query),
            request.headers.get("X-Nomad-Token"),
            body,
            request.host,
            peer,
        )
        self.seen.append(seen)
        script = self.answers[request.path]
        chosen = script[min(count, len(script) - 1)]
        if chosen.status == 0:
            await asyncio.Event().wait()
        return _response(chosen, request)


def _response(answer: Answer, request: web.Request) -> web.Response:
    headers = {
        "Content-Type": "application/json",
        **{key.title(): value for key, value in answer.headers.items()},
    }
    is_closing = headers.pop("Connection", "") == "close"
    response = web.Response(status=answer.status, body=answer.content, headers=headers)
    if "Content-Encoding" not in headers and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    if is_closing:
        response.force_close()
    return response


@dataclass
class RegionSite:
    """A region's CA, and the files that an inventory would name."""

    directory: Path
    root: pki.Pair = field(default_factory=pki.root)

    def __post_init__(self) -> None:
        self.client = self.root.sign("cli.eu-north.nomad")
        pki.write(self.directory / "ca.pem", self.root)
        pki.write(self.directory / "cli.pem", self.client)
        self.secrets = {
            SecretRef("env", "TOKEN"): TOKEN,
            SecretRef("env", "CLI_KEY"): self.client.key_pem,
        }

    def reveal(self, ref: SecretRef) -> str:
        return self.secrets[ref]

    def settings(
        self, *api: str, server_name: str = SERVER_NAME, with_client: bool = True, name: RegionName = EU
    ) -> RegionSettings:
        client = (
            ReadyPair(str(self.directory / "cli.pem"), SecretRef("env", "CLI_KEY")) if with_client else None
        )
        node = Issuer(str(self.directory / "ca.pem"), SecretRef("env", "CA_KEY"))
        tls = RegionTls(str(self.directory / "ca.pem"), server_name, client, node)
        return RegionSettings(name, api, ("127.0.0.1:4647",), SecretRef("env", "TOKEN"), tls)

    @contextlib.asynccontextmanager
    async def serving(
        self,
        answers: Mapping[str, Sequence[Answer]] | ScriptedApi,
        *,
        signer: pki.Pair | None = None,
        names: Sequence[str] = (SERVER_NAME,),
        begins: datetime | None = None,
        lasts: timedelta = pki.TEN_YEARS,
    ) -> AsyncIterator[tuple[str, ScriptedApi]]:
        """The URL of a server on loopback, and what it saw. It wants a client certificate of the region's CA."""
        api = answers if isinstance(answers, ScriptedApi) else ScriptedApi(answers)
        pair = (signer or self.root).sign("server", names=names, begins=begins, lasts=lasts)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", api.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context(pair))
        await site.start()
        try:
            yield f"https://127.0.0.1:{runner.addresses[0][1]}", api
        finally:
            await runner.cleanup()

    @contextlib.asynccontextmanager
    async def refusing_strangers(self) -> AsyncIterator[str]:
        """A server that lets its TLS alerts come through before it hangs up, as Nomad does and asyncio does not."""
        context = self._context(self.root.sign("server", names=[SERVER_NAME]))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ending = asyncio.create_task(asyncio.to_thread(_refuse_all, listening, context))
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"
            listening.shutdown(socket.SHUT_RDWR)
            await ending

    @contextlib.asynccontextmanager
    async def answering(self, raw: bytes) -> AsyncIterator[str]:
        """A server with a good certificate that answers each connection with these bytes, and hangs up."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(raw)
                writer.close()
                await writer.wait_closed()

        context = self._context(self.root.sign("server", names=[SERVER_NAME]))
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def _context(self, pair: pki.Pair) -> ssl.SSLContext:
        pki.write(self.directory / "server.pem", pair)
        (self.directory / "server-key.pem").write_text(pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.pem", self.directory / "server-key.pem")
        context.load_verify_locations(cadata=self.root.pem)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _refuse_all(listening: socket.socket, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError):  # it was shut down
        while True:
            _refuse(listening.accept()[0], context)


def _refuse(connection: socket.socket, context: ssl.SSLContext) -> None:
    with (
        connection,
        context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as wrapped,
    ):
        with contextlib.suppress(ssl.SSLError):
            wrapped.do_handshake()
        raw = wrapped.detach()
    with socket.socket(fileno=raw) as rest:
        rest.shutdown(socket.SHUT_WR)
        while rest.recv(4096):
            pass
