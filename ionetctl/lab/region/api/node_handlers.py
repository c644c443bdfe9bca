"""Nodes: ``/v1/nodes`` and ``/v1/node/{id}``, with eligibility, drain and purge."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.access import TOKEN_HEADER
from ionetctl.lab.region.api.filter_language import compile_filter
from ionetctl.lab.region.api.http_responses import (
    OLD_LOG_HEADERS,
    json_body,
    json_response,
    read_headers,
    refuse,
    write_response,
)
from ionetctl.lab.region.state.node_records import node_stub

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.region.api.access import Regions
    from ionetctl.lab.region.state.region_state import RegionState


@dataclass(frozen=True, slots=True)
class NodeHandlers:
    """The handlers of calls about nodes."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/nodes", self._list),
            web.get("/v1/node/{id}", self._read),
            *(
                web.route(verb, f"/v1/node/{{id}}/{what}", handler)
                for verb in ("POST", "PUT")
                for what, handler in (
                    ("eligibility", self._set_eligibility),
                    ("drain", self._drain),
                    ("purge", self._purge),
                )
            ),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:read")
        query = request.query
        if region.has_old_log and "stale" in query:
            return json_response([], OLD_LOG_HEADERS)
        prefix = _hexadecimal(query.get("prefix", ""))
        matches = compile_filter(query["filter"]) if query.get("filter") else None
        chosen = sorted(node_id for node_id in region.nodes if node_id.replace("-", "").startswith(prefix))
        start = query.get("next_token", "")
        limit = int(query.get("per_page") or 0) or len(chosen) + 1
        page: list[JsonObject] = []
        next_token = None
        for node_id in chosen:
            node = region.nodes[node_id]
            if node_id < start or (matches is not None and not matches(node)):
                continue
            if len(page) == limit:
                next_token = node_id
                break
            page.append(node_stub(node, with_resources=query.get("resources") == "true"))
        headers = read_headers(region.nodes_index())
        return json_response(page, headers | ({"X-Nomad-Nexttoken": next_token} if next_token else {}))

    async def _read(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:read")
        node = region.nodes.get(request.match_info["id"])
        if node is None:
            refuse(404, "node not found", read_headers(region.nodes_index()))
        return json_response(node, read_headers(node["ModifyIndex"]))

    async def _set_eligibility(self, request: web.Request) -> web.Response:
        region, node = self._changed(request)
        wanted = (await json_body(request)).get("Eligibility")
        if wanted not in ("eligible", "ineligible"):
            refuse(500, f'invalid scheduling eligibility "{wanted}"')
        if node["Drain"] and wanted == "eligible":
            refuse(500, "can not set node's scheduling eligibility to eligible while it is draining")
        evaluations, index = region.set_eligibility(node["ID"], str(wanted), time.time())
        return write_response(
            {"EvalCreateIndex": 0, "EvalIDs": evaluations or None, "Index": index, "NodeModifyIndex": 0},
            index,
        )

    async def _drain(self, request: web.Request) -> web.Response:
        region, node = self._changed(request)
        accessor = self.regions.local.tokens[request.headers[TOKEN_HEADER]].accessor_id
        spec = {**await json_body(request), "accessor": accessor}
        index = region.drain(node["ID"], spec, time.time())
        return write_response(
            {"EvalCreateIndex": 0, "EvalIDs": None, "Index": index, "NodeModifyIndex": index}, index
        )

    async def _purge(self, request: web.Request) -> web.Response:
        region, node = self._changed(request)
        index = region.purge(node["ID"])
        return write_response({"EvalCreateIndex": 0, "EvalIDs": None, "NodeModifyIndex": index}, index)

    def _changed(self, request: web.Request) -> tuple[RegionState, JsonObject]:
        """The region and the node that is to be changed; refuses an unknown one with status 500, as Nomad does."""
        region = self.regions.authorized(request, "node:write")
        node = region.nodes.get(request.match_info["id"])
        if node is None:
            refuse(500, "node not found")
        return region, node


def _hexadecimal(prefix: str) -> str:
    """The prefix of a node id without hyphens; refuses an odd number of digits."""
    digits = prefix.replace("-", "")
    if len(digits) % 2:
        refuse(500, "node lookup failed: index error: Input (without hyphens) must be even length")
    return digits
