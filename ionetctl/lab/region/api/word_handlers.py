"""What the maintenance door needs of a region: variables (``/v1/var/…``), and the log of the door's task (``/v1/client/fs/logs``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.http_responses import (
    json_body,
    json_response,
    read_headers,
    refuse,
    text_response,
    write_response,
)

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions
    from ionetctl.lab.region.state.region_state import RegionState

_VARIABLE: str = "/v1/var/{path:.+}"


@dataclass(frozen=True, slots=True)
class WordHandlers:
    """The handlers of calls about variables and about the log of the door's task."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get(_VARIABLE, self._read),
            web.put(_VARIABLE, self._write),
            web.delete(_VARIABLE, self._remove),
            web.get("/v1/client/fs/logs/{allocation}", self._log),
        ]

    async def _read(self, request: web.Request) -> web.Response:
        region, path = self._asked(request)
        if path not in region.variables:
            refuse(404, "variable not found")
        return json_response(region.variables[path], read_headers(region.index))

    async def _write(self, request: web.Request) -> web.Response:
        region, path = self._asked(request)
        items = (await json_body(request))["Items"]
        self._check_index(request, region, path)
        index = region.next_index()
        known = region.variables.get(path, {"CreateIndex": index})
        region.variables[path] = {
            "CreateIndex": known["CreateIndex"],
            "Items": items,
            "ModifyIndex": index,
            "Namespace": request.query.get("namespace", "default"),
            "Path": path,
        }
        return write_response(region.variables[path], index)

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        region, path = self._asked(request)
        self._check_index(request, region, path)
        region.variables.pop(path, None)
        return text_response(200, "", {"X-Nomad-Index": str(region.next_index())})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        region = self.regions.authorized(request, "read-logs")
        wanted = request.match_info["allocation"]
        found = [each for each in region.allocations_now() if each["ID"] == wanted]
        if not found:
            refuse(404, f'Unknown allocation "{wanted}"')
        log = region.door_logs.get(str(found[0]["NodeID"]), "")
        return text_response(200, log[-int(request.query.get("offset", "0")) :])

    def _asked(self, request: web.Request) -> tuple[RegionState, str]:
        return self.regions.authorized(request, "variables"), request.match_info["path"]

    def _check_index(self, request: web.Request, region: RegionState, path: str) -> None:
        """Refuse a write that was made for another state of the variable."""
        wanted = request.query.get("cas")
        now = region.variables.get(path, {"ModifyIndex": 0})["ModifyIndex"]
        if wanted is not None and int(wanted) != now:
            refuse(409, f"cas error: requested index {wanted}; found index {now}")
