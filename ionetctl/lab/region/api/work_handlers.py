"""What nodes do: ``/v1/allocations``, ``/v1/node/{id}/allocations`` and ``/v1/client/stats``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.filter_language import compile_filter
from ionetctl.lab.region.api.http_responses import json_response, read_headers, refuse
from ionetctl.lab.region.state.allocation_records import allocation_stub, client_statistics

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions


@dataclass(frozen=True, slots=True)
class WorkHandlers:
    """The handlers of calls about allocations and the use of clients."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/allocations", self._list),
            web.get("/v1/node/{id}/allocations", self._of_node),
            web.get("/v1/client/stats", self._statistics),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "read-job")
        query = request.query
        matches = compile_filter(query["filter"]) if query.get("filter") else None
        namespace, start = query.get("namespace", "default"), query.get("next_token", "")
        chosen = [
            each
            for each in sorted(region.allocations_now(), key=lambda each: str(each["ID"]))
            if str(each["ID"]) >= start
            and namespace in ("*", each["Namespace"])
            and (matches is None or matches(each))
        ]
        limit = int(query.get("per_page") or 0) or len(chosen) or 1
        with_resources = query.get("resources") == "true"
        rows = [allocation_stub(each, with_resources=with_resources) for each in chosen[:limit]]
        more = {"X-Nomad-Nexttoken": str(chosen[limit]["ID"])} if len(chosen) > limit else {}
        return json_response(rows, read_headers(region.index) | more)

    async def _of_node(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:read")
        node_id, tells = request.match_info["id"], self.regions.has_right(request, "read-job")
        # Without the right to read jobs, a node seems to have none.
        found = region.allocations_now(node_id) if tells else []
        return json_response(found, read_headers(region.nodes_index()))

    async def _statistics(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:read")
        node_id = request.query.get("node_id", "")
        if node_id not in region.nodes:
            refuse(404, f"Unknown node {node_id}")
        node = region.nodes[node_id]
        if node["Status"] == "down":
            refuse(404, "No path to node")
        return json_response(client_statistics(node, time.time()), {"Vary": "Origin"})
