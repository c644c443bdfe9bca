"""The region's HTTP application: routes, and what applies to every call (connection limit, failure mode, errors, gzip).

Covers the part of Nomad's HTTP API that ionetctl uses, as a region of Nomad 2.0.5 answers: a test replays recorded calls
and compares status, headers, keys and types. The handlers are in the modules beside this one, by subject.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ionetctl.lab.region.api.filter_language import FilterError
from ionetctl.lab.region.api.http_responses import RefusalError, text_response
from ionetctl.lab.region.api.job_handlers import JobHandlers
from ionetctl.lab.region.api.metadata_handlers import MetadataHandlers
from ionetctl.lab.region.api.namespace_handlers import NamespaceHandlers
from ionetctl.lab.region.api.node_handlers import NodeHandlers
from ionetctl.lab.region.api.server_handlers import ServerHandlers
from ionetctl.lab.region.api.token_handlers import TokenHandlers
from ionetctl.lab.region.api.word_handlers import WordHandlers
from ionetctl.lab.region.api.work_handlers import WorkHandlers

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions

CONNECTIONS_PER_CLIENT: Final = 100
"""As the default of Nomad's ``limits.http_max_conns_per_client``."""
_MAX_BODY_BYTES: Final = 1 << 20
_TOO_MANY: Final = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
_PLAIN: Final = "text/plain; charset=utf-8"
FAILURE_MODES: Final[dict[str, tuple[int, str, str]]] = {
    "forbidden": (403, _PLAIN, "Permission denied"),
    "too-many": (429, "text/plain", _TOO_MANY),
    "internal": (500, _PLAIN, "rpc error: EOF"),
    "no-leader": (500, _PLAIN, "No cluster leader"),
    "html": (
        200,
        "text/html",
        "<!doctype html><title>Sign in</title><p>This network wants you to sign in.</p>",
    ),
}
"""Failure mode → status, content type and text by which every call is answered."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Api:
    """The HTTP API of a region; ``server_address`` is that of its RPC. ``failure_mode`` is a key of ``FAILURE_MODES``."""

    regions: Regions
    server_address: str
    failure_mode: str | None = None
    _connections: dict[str, set[Any]] = field(default_factory=dict)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(
            middlewares=[self._limit_connections, self._respond], client_max_size=_MAX_BODY_BYTES
        )
        app.add_routes(
            [
                *NodeHandlers(self.regions).routes(),
                *JobHandlers(self.regions).routes(),
                *MetadataHandlers(self.regions).routes(),
                *WorkHandlers(self.regions).routes(),
                *WordHandlers(self.regions).routes(),
                *TokenHandlers(self.regions).routes(),
                *NamespaceHandlers(self.regions).routes(),
                *ServerHandlers(self.regions, self.server_address).routes(),
            ]
        )
        return app

    @web.middleware
    async def _limit_connections(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse the 101st open connection of one address, as ``limits.http_max_conns_per_client`` does."""
        connections = self._connections.setdefault(request.remote or "", set())
        connections.difference_update([each for each in connections if each.is_closing()])
        connections.add(request.transport)
        if len(connections) <= CONNECTIONS_PER_CLIENT:
            return await handler(request)
        response = _failure("too-many")
        response.force_close()
        return response

    @web.middleware
    async def _respond(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """The handler's answer or the failure mode's, errors as Nomad's texts, compressed where the client accepts it."""
        try:
            response = _failure(self.failure_mode) if self.failure_mode else await handler(request)
        except FilterError as error:
            message = f"failed to create result paginator: failed to read filter expression: {error}"
            response = text_response(400, message)
        except RefusalError as refused:
            response = refused.response
        except web.HTTPException as unrouted:
            response = text_response(unrouted.status, "Invalid path")
        response.headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response


def _failure(mode: str) -> web.StreamResponse:
    status, content_type, text = FAILURE_MODES[mode]
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": content_type})
