"""The region and its servers: node pools, regions of the federation, leader, health, members and agent configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.http_responses import json_response, read_headers, refuse
from ionetctl.lab.region.api.server_documents import agent_self, member, server_name

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions


@dataclass(frozen=True, slots=True)
class ServerHandlers:
    """The handlers of calls about the region; ``address`` is its server's RPC address (``HOST:PORT``)."""

    regions: Regions
    address: str

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/node/pools", self._pools),
            web.get("/v1/node/pool/{name}", self._pool),
            web.get("/v1/regions", self._regions),
            web.get("/v1/status/leader", self._leader),
            web.get("/v1/agent/health", self._health),
            web.get("/v1/agent/members", self._members),
            web.get("/v1/agent/self", self._self),
        ]

    async def _pools(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node_pool:read")
        pools = [region.pools[name] for name in sorted(region.pools)]
        return json_response(pools, read_headers(max(pool["ModifyIndex"] for pool in pools)))

    async def _pool(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node_pool:read")
        pool = region.pools.get(request.match_info["name"])
        if pool is None:
            refuse(404, "node pool not found", read_headers(1))
        return json_response(pool, read_headers(pool["ModifyIndex"]))

    async def _regions(self, _: web.Request) -> web.Response:
        return json_response(sorted(region.name for region in self.regions.all()))

    async def _leader(self, request: web.Request) -> web.Response:
        if not self.regions.requested(request).has_leader:
            refuse(500, "No cluster leader")
        return json_response(self.address)

    async def _health(self, _: web.Request) -> web.Response:
        is_ok = self.regions.local.has_leader
        server = {"message": "ok" if is_ok else "No cluster leader", "ok": is_ok}
        return json_response({"server": server}, status=200 if is_ok else 500)

    async def _members(self, request: web.Request) -> web.Response:
        self.regions.authorized(request, "agent:read")
        name = self.regions.local.name
        return json_response(
            {
                "Members": [member(region, self.address) for region in self.regions.all()],
                "ServerName": server_name(name),
                "ServerDC": f"{name}-ctl",
                "ServerRegion": name,
            }
        )

    async def _self(self, request: web.Request) -> web.Response:
        self.regions.authorized(request, "agent:read")
        return json_response(agent_self(self.regions.local, self.address, len(self.regions.all())))
