"""The part of Nomad's HTTP API that ionetctl uses, over a region's state: paths, statuses, headers, error texts.

Written after the answers of a real region (Nomad 2.0.5); a test replays those and compares status, keys and types.
It knows HTTP and the state's rules, and nothing of agents.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiohttp import web

from ionetctl.lab.region.api import texts
from ionetctl.lab.region.api.filter_language import FilterError, compile_filter
from ionetctl.lab.region.state.introduction import DEFAULT_TTL_S, duration_s
from ionetctl.lab.region.state.node_records import stub

if TYPE_CHECKING:
    from ionetctl.lab.documents import Document
    from ionetctl.lab.region.state.region import Metadata, RegionState, Right

CONNECTIONS_PER_CLIENT: Final = 100
_META_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Misbehaviour:
    """What the API is told to do wrong, for tests and rehearsed outages. ``mode`` is one of ``api_texts.MODES``."""

    mode: str | None = None


@dataclass(slots=True)
class Api:
    """The HTTP face of a region; ``peers`` are the other regions of its federation, by name."""

    state: RegionState
    server_address: str
    peers: dict[str, RegionState] = field(default_factory=dict)
    misbehaviour: Misbehaviour = field(default_factory=Misbehaviour)
    _connections: dict[str, set[Any]] = field(default_factory=dict)

    def application(self) -> web.Application:
        """The application to serve."""
        app = web.Application(middlewares=[self._limit, self._guard], client_max_size=1 << 20)
        app.router.add_get("/v1/nodes", self._nodes)
        app.router.add_get("/v1/node/pools", self._pools)
        app.router.add_get("/v1/node/pool/{name}", self._pool)
        app.router.add_get("/v1/node/{id}", self._node)
        app.router.add_get("/v1/node/{id}/allocations", self._allocations)
        for verb in ("POST", "PUT"):
            app.router.add_route(verb, "/v1/node/{id}/eligibility", self._eligibility)
            app.router.add_route(verb, "/v1/node/{id}/drain", self._drain)
            app.router.add_route(verb, "/v1/node/{id}/purge", self._purge)
            app.router.add_route(verb, "/v1/acl/identity/client-introduction-token", self._introduce)
        app.router.add_get("/v1/client/metadata", self._metadata)
        app.router.add_post("/v1/client/metadata", self._annotate)
        app.router.add_get("/v1/regions", self._regions)
        app.router.add_get("/v1/status/leader", self._leader)
        app.router.add_get("/v1/agent/health", self._health)
        app.router.add_get("/v1/agent/members", self._members)
        app.router.add_get("/v1/agent/self", self._self)
        app.router.add_get("/v1/acl/token/self", self._token)
        return app

    # --- around every call -------------------------------------------------------------------------------------------

    @web.middleware
    async def _limit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse the 101st open connection of one address, as ``limits.http_max_conns_per_client`` does."""
        open_ones = self._connections.setdefault(request.remote or "", set())
        open_ones.difference_update([each for each in open_ones if each.is_closing()])
        open_ones.add(request.transport)
        if len(open_ones) <= CONNECTIONS_PER_CLIENT:
            return await handler(request)
        response = web.Response(
            status=429, body=texts.TOO_MANY.encode(), headers={"Content-Type": "text/plain"}
        )
        response.force_close()
        return response

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            response: web.StreamResponse = _misbehave(self.misbehaviour.mode) or await handler(request)
        except FilterError as error:
            message = f"failed to create result paginator: failed to read filter expression: {error}"
            response = _text(400, message)
        except _RefusalError as refused:
            response = refused.response
        except web.HTTPException as unrouted:
            response = _text(unrouted.status, "Invalid path")
        response.headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _region(self, request: web.Request) -> RegionState:
        """The state that answers: ours, or a federated region's by ``?region=``."""
        wanted = request.query.get("region", self.state.name)
        if wanted == self.state.name:
            return self.state
        if wanted not in self.peers:
            _refuse(500, "No path to region")
        return self.peers[wanted]

    def _authorize(self, request: web.Request, right: str) -> RegionState:
        region = self._region(request)
        if not region.has_leader:
            is_stale = "stale" in request.query
            _refuse(*((403, "Permission denied") if is_stale else (500, "No cluster leader")))
        token = self.state.tokens.get(request.headers.get("X-Nomad-Token", ""))
        if token is None or right not in token.rights:
            _refuse(403, "Permission denied")
        return region

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def _nodes(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node:read")
        query = request.query
        prefix = _hexadecimal(query.get("prefix", ""))
        passes = compile_filter(query["filter"]) if query.get("filter") else None
        chosen = sorted(node_id for node_id in region.nodes if node_id.replace("-", "").startswith(prefix))
        start = query.get("next_token", "")
        limit = int(query.get("per_page") or 0) or len(chosen) + 1
        page: list[Document] = []
        following = None
        for node_id in chosen:
            node = region.nodes[node_id]
            if node_id < start or (passes is not None and not passes(node)):
                continue
            if len(page) == limit:
                following = node_id
                break
            page.append(stub(node, with_resources=query.get("resources") == "true"))
        headers = _read_headers(region.nodes_index())
        return _json(page, headers | ({"X-Nomad-Nexttoken": following} if following else {}))

    def _find(self, request: web.Request, right: str) -> tuple[RegionState, Document]:
        region = self._authorize(request, right)
        node = region.nodes.get(request.match_info["id"])
        if node is None:
            _refuse(404, "node not found", _read_headers(region.nodes_index()))
        return region, node

    async def _node(self, request: web.Request) -> web.Response:
        _, node = self._find(request, "node:read")
        return _json(node, _read_headers(node["ModifyIndex"]))

    async def _allocations(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node:read")
        return _json([], _read_headers(region.nodes_index()))

    async def _eligibility(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node:write")
        node = region.nodes.get(request.match_info["id"])
        if node is None:
            _refuse(500, "node not found")
        wanted = (await _body(request)).get("Eligibility")
        if wanted not in ("eligible", "ineligible"):
            _refuse(500, f'invalid scheduling eligibility "{wanted}"')
        index = region.set_eligibility(node["ID"], str(wanted), time.time())
        return _written({"EvalCreateIndex": 0, "EvalIDs": None, "Index": index, "NodeModifyIndex": 0}, index)

    async def _drain(self, request: web.Request) -> web.Response:
        region, node = self._find(request, "node:write")
        accessor = self.state.tokens[request.headers["X-Nomad-Token"]].accessor_id
        index = region.drain(node["ID"], {**await _body(request), "accessor": accessor}, time.time())
        return _written(
            {"EvalCreateIndex": 0, "EvalIDs": None, "Index": index, "NodeModifyIndex": index}, index
        )

    async def _purge(self, request: web.Request) -> web.Response:
        region, node = self._find(request, "node:write")
        index = region.purge(node["ID"])
        return _written({"EvalCreateIndex": 0, "EvalIDs": None, "NodeModifyIndex": index}, index)

    async def _metadata(self, request: web.Request) -> web.Response:
        _, _, metadata = self._agent_of(request, "node:read", request.query.get("node_id", ""))
        return _json(_told(metadata))

    async def _annotate(self, request: web.Request) -> web.Response:
        body = await _body(request)
        wanted = body.get("Meta")
        if not wanted:
            _refuse(400, "missing required Meta object")
        for key in wanted:
            if not _META_KEY.fullmatch(key):
                _refuse(400, f'"{key}" is invalid; metadata keys must be valid dotted hcl identifiers')
        node_id = request.query.get("node_id") or str(body.get("NodeID", ""))
        region, node, metadata = self._agent_of(request, "node:write", node_id)
        region.annotate(node["ID"], wanted, time.time())
        return _json(_told(metadata))

    def _agent_of(
        self, request: web.Request, right: Right, node_id: str
    ) -> tuple[RegionState, Document, Metadata]:
        """A node, and its agent's own word, which the servers go and ask for."""
        region = self._authorize(request, right)
        node = region.nodes.get(node_id)
        if node is None:
            _refuse(500, f"Unknown node {node_id}")
        metadata = region.metadata(node_id)
        if metadata is None:
            _refuse(404, "No path to node")
        return region, node, metadata

    # --- the region --------------------------------------------------------------------------------------------------

    async def _introduce(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node:write")
        body = await _body(request)
        try:
            ttl_s = duration_s(body["TTL"]) if body.get("TTL") else DEFAULT_TTL_S
        except ValueError as error:
            _refuse(400, str(error))
        pool = str(body.get("NodePool") or "default")
        jwt = region.signer.introduce(str(body.get("NodeName") or ""), pool, ttl_s, time.time())
        return _json({"JWT": jwt})

    async def _pools(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node_pool:read")
        pools = [region.pools[name] for name in sorted(region.pools)]
        return _json(pools, _read_headers(max(pool["ModifyIndex"] for pool in pools)))

    async def _pool(self, request: web.Request) -> web.Response:
        region = self._authorize(request, "node_pool:read")
        pool = region.pools.get(request.match_info["name"])
        if pool is None:
            _refuse(404, "node pool not found", _read_headers(1))
        return _json(pool, _read_headers(pool["ModifyIndex"]))

    async def _regions(self, _: web.Request) -> web.Response:
        return _json(sorted({self.state.name, *self.peers}))

    async def _leader(self, request: web.Request) -> web.Response:
        if not self._region(request).has_leader:
            _refuse(500, "No cluster leader")
        return _json(self.server_address)

    async def _health(self, _: web.Request) -> web.Response:
        is_ok = self.state.has_leader
        verdict = {"message": "ok" if is_ok else "No cluster leader", "ok": is_ok}
        return _json({"server": verdict}, status=200 if is_ok else 500)

    async def _members(self, request: web.Request) -> web.Response:
        self._authorize(request, "agent:read")
        members = [texts.member(each, self.server_address) for each in (self.state, *self.peers.values())]
        own = texts.server_name(self.state.name)
        document = {"Members": members, "ServerName": own, "ServerDC": f"{self.state.name}-ctl"}
        return _json({**document, "ServerRegion": self.state.name})

    async def _self(self, request: web.Request) -> web.Response:
        self._authorize(request, "agent:read")
        return _json(texts.agent_self(self.state, self.server_address, 1 + len(self.peers)))

    async def _token(self, request: web.Request) -> web.Response:
        secret = request.headers.get("X-Nomad-Token", "")
        token = self.state.tokens.get(secret)
        if token is None:
            _refuse(403, "Permission denied")
        return _json(texts.acl_token(token, secret), _read_headers(10))


def _misbehave(mode: str | None) -> web.Response | None:
    if mode is None:
        return None
    status, content_type, text = texts.MODES[mode]
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": content_type})


def _told(metadata: Metadata) -> Document:
    return {"Dynamic": metadata.dynamic, "Meta": metadata.merged, "Static": metadata.static}


def _hexadecimal(prefix: str) -> str:
    digits = prefix.replace("-", "")
    if len(digits) % 2:
        _refuse(500, "node lookup failed: index error: Input (without hyphens) must be even length")
    return digits


async def _body(request: web.Request) -> Document:
    text = await request.text()
    try:
        body = json.loads(text)
    except ValueError:
        _refuse(400, texts.json_complaint(text))
    if not isinstance(body, dict):
        _refuse(400, f"json: cannot unmarshal {type(body).__name__} into Go value")
    return body


def _read_headers(index: int) -> dict[str, str]:
    return {"X-Nomad-Index": str(index), "X-Nomad-Knownleader": "true", "X-Nomad-Lastcontact": "0"}


def _json(document: object, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})}
    )


def _written(document: Document, index: int) -> web.Response:
    return _json(document, {"X-Nomad-Index": str(index)})


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={**_TEXT, **(headers or {})})


class _RefusalError(Exception):
    """A call is answered by a status with Nomad's text."""

    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        super().__init__(status, text)
        self.response = _text(status, text, headers)


def _refuse(status: int, text: str, headers: dict[str, str] | None = None) -> NoReturn:
    raise _RefusalError(status, text, headers or {})
