"""The region's end of the agents' RPC: one JSON object a line over mutual TLS.

The server checks what a real one checks before it listens: the chain, and that the certificate bears
``client.<region>.nomad``. It knows nothing of what a registration means.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.lab.line_socket import LineStream, certificate_names, listening
from ionetctl.lab.region.state.region import RegionState, RegistrationError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ionetctl.lab.documents import Document


@dataclass(slots=True)
class RpcServer:
    """Answers the agents of one region. While ``is_deaf``, connections are dropped before the handshake."""

    state: RegionState
    is_deaf: bool = False

    async def serve(self, stream: LineStream) -> None:
        """Handle one connection to its end."""
        if self.is_deaf:
            return
        await stream.handshake()
        names = certificate_names(stream.certificate)
        if f"client.{self.state.name}.nomad" not in names:
            self.state.refusals.append(f"invalid role or region for certificate: {', '.join(names)}")
            await stream.send({"alert": "bad certificate"})
            return
        await stream.send({"alert": None})
        while True:
            await stream.send(self._answer(await stream.receive()))

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

    def listening(self, host: str, port: int, context: ssl.SSLContext) -> AbstractAsyncContextManager[int]:
        """Listen inside the block; port 0 takes a free one, which is what the block gets."""
        return listening(host, port, context, self.serve)


def server_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """TLS of a server that demands a client certificate of this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
