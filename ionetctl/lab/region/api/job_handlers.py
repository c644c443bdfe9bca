"""Jobs: ``/v1/jobs``, and what a node's evaluation places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.filter_language import compile_filter
from ionetctl.lab.region.api.http_responses import (
    json_body,
    json_response,
    read_headers,
    refuse,
    write_response,
)

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions


@dataclass(frozen=True, slots=True)
class JobHandlers:
    """The handlers of calls about jobs."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/jobs", self._list),
            web.post("/v1/jobs", self._register),
            web.put("/v1/jobs", self._register),
            web.post("/v1/node/{id}/evaluate", self._evaluate),
            web.put("/v1/node/{id}/evaluate", self._evaluate),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "list-jobs")
        query = request.query
        matches = compile_filter(query["filter"]) if query.get("filter") else lambda _: True
        found = [stub for stub in region.workload.stubs(query.get("namespace", "default")) if matches(stub)]
        return json_response(found, read_headers(region.index))

    async def _register(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "submit-job")
        evaluation = region.workload.register((await json_body(request))["Job"])
        return write_response(
            {
                "EvalCreateIndex": region.index,
                "EvalID": evaluation,
                "Index": region.index,
                "JobModifyIndex": region.index,
                "KnownLeader": False,
                "LastContact": 0,
                "NextToken": "",
                "Warnings": "",
            },
            region.index,
        )

    async def _evaluate(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:write")
        node = region.nodes.get(request.match_info["id"])
        if node is None:
            refuse(500, "node not found")
        evaluations = region.workload.place()
        return write_response(
            {
                "EvalCreateIndex": region.index,
                "EvalIDs": evaluations or None,
                "HeartbeatTTL": 0,
                "Index": region.index,
                "NodeModifyIndex": 0,
                "SchedulingEligibility": node["SchedulingEligibility"],
            },
            region.index,
        )
