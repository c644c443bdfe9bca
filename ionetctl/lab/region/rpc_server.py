"""The server side of the agents' RPC: one JSON object a line, over mutual TLS.

As a Nomad server does, it checks the certificate's chain, and that one of its names is ``client.<region>.nomad``, before
it reads a request. Requests are answered by ``RegionState``.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.lab.region.state.region_state import RegionState, RegistrationError
from ionetctl.lab.rpc_stream import RpcStream, certificate_names, listening

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ionetctl.lab.json_object import JsonObject


@dataclass(slots=True)
class RpcServer:
    """Serves the agents of one region. With ``drops_connections``, connections are closed before the handshake."""

    state: RegionState
    drops_connections: bool = False

    async def serve(self, stream: RpcStream) -> None:
        """Handle one connection to its end."""
        if self.drops_connections:
            return
        await stream.handshake()
        names = certificate_names(stream.certificate)
        if f"client.{self.state.name}.nomad" not in names:
            self.state.server_log.append(f"invalid role or region for certificate: {', '.join(names)}")
            await stream.send({"alert": "bad certificate"})
            return
        await stream.send({"alert": None})
        while True:
            await stream.send(self._answer(await stream.receive()))

    def _answer(self, request: JsonObject) -> JsonObject:
        secret_id, credential = str(request["secret_id"]), str(request["credential"])
        if not self.state.has_leader:
            return {"error": "No cluster leader", "result": None}
        try:
            return {"error": None, "result": self._result(request, secret_id, credential)}
        except RegistrationError as refused:
            return {"error": str(refused), "result": None}

    def _result(self, request: JsonObject, secret_id: str, credential: str) -> JsonObject:
        now, state = time.time(), self.state
        if request["method"] == "Node.Register":
            return state.register(request["node"], secret_id, credential, now)
        node_id = str(request["node_id"])
        match request["method"]:
            case "Node.GetNode":
                return {"node": state.nodes.get(node_id)}
            case "Door.Carry":
                return state.carry_word(node_id, str(request["log"]))
            case _:
                return state.heartbeat(node_id, secret_id, credential, now)

    def listening(self, host: str, port: int, context: ssl.SSLContext) -> AbstractAsyncContextManager[int]:
        """Listen inside the block, which gets the port; with ``port`` 0 it is a free one."""
        return listening(host, port, context, self.serve)


def server_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """The TLS context of a server that requires client certificates of this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
