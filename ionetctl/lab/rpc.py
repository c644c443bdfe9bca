"""How agents of the rehearsal talk to their region: one JSON object a line over mutual TLS. Both ends' framing.

The server checks what a real one checks before it listens: the chain, and that the certificate bears
``client.<region>.nomad``. It knows nothing of what a registration means.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.region_state import RegionState, RegistrationError

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.lab.documents import Document

LINE_LIMIT: Final = 1 << 20
_HANDSHAKE_S: Final = 20.0


@dataclass(slots=True)
class RpcServer:
    """Answers the agents of one region. ``reset`` connections before the handshake while ``is_deaf``."""

    state: RegionState
    is_deaf: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection to its end; for ``asyncio.start_server``."""
        try:
            await self._converse(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the peer went away, or speaks something else: its own log says why
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_deaf:
            return
        names = certificate_names(writer.get_extra_info("peercert") or {})
        if f"client.{self.state.name}.nomad" not in names:
            self.state.refusals.append(f"invalid role or region for certificate: {', '.join(names)}")
            await send(writer, {"alert": "bad certificate"})
            return
        await send(writer, {"alert": None})
        while line := await reader.readline():
            await send(writer, self._answer(json.loads(line)))

    def _answer(self, request: Document) -> Document:
        now = time.time()
        secret_id, credential = str(request["secret_id"]), str(request["credential"])
        if not self.state.has_leader:
            return {"error": "No cluster leader", "result": None}
        try:
            if request["method"] == "Node.Register":
                result = self.state.register(request["node"], secret_id, credential, now)
            else:
                result = self.state.heartbeat(str(request["node_id"]), secret_id, credential, now)
        except RegistrationError as refused:
            return {"error": str(refused), "result": None}
        return {"error": None, "result": result}

    async def listen(self, host: str, port: int, context: ssl.SSLContext) -> asyncio.Server:
        """Start listening; port 0 takes a free one."""
        return await asyncio.start_server(
            self.serve,
            host,
            port,
            ssl=context,
            limit=LINE_LIMIT,
            backlog=1024,
            ssl_handshake_timeout=_HANDSHAKE_S,
        )


def certificate_names(certificate: Document) -> list[str]:
    """The DNS names and common names that a peer's certificate bears, as ``ssl`` decodes it."""
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    for relative in certificate.get("subject", ()):
        names += [value for key, value in relative if key == "commonName" and value not in names]
    return names


def server_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """TLS of a server that demands a client certificate of this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def send(writer: asyncio.StreamWriter, document: Document) -> None:
    """One object on one line."""
    writer.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> Document:
    """The next object; raises ``ConnectionResetError`` at the end, ``ValueError`` for anything else."""
    line = await reader.readline()
    if not line:
        raise ConnectionResetError("EOF")
    document = json.loads(line)
    if not isinstance(document, dict):
        raise TypeError("not an object")
    return document
