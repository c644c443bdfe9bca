"""A node's metadata, as the servers get it from the node's agent: ``/v1/client/metadata``."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ionetctl.lab.region.api.http_responses import json_body, json_response, refuse

if TYPE_CHECKING:
    from ionetctl.lab.region.api.access import Regions
    from ionetctl.lab.region.state.region_state import Metadata, RegionState, Right

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")


@dataclass(frozen=True, slots=True)
class MetadataHandlers:
    """The handlers of calls about nodes' metadata."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/client/metadata", self._read),
            web.post("/v1/client/metadata", self._change),
        ]

    async def _read(self, request: web.Request) -> web.Response:
        _, metadata = self._find(request, "node:read", request.query.get("node_id", ""))
        return _response(metadata)

    async def _change(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        wanted = body.get("Meta")
        if not wanted:
            refuse(400, "missing required Meta object")
        for key in wanted:
            if not _KEY.fullmatch(key):
                refuse(400, f'"{key}" is invalid; metadata keys must be valid dotted hcl identifiers')
        node_id = request.query.get("node_id") or str(body.get("NodeID", ""))
        region, metadata = self._find(request, "node:write", node_id)
        region.change_metadata(node_id, wanted, time.time())
        return _response(metadata)

    def _find(self, request: web.Request, right: Right, node_id: str) -> tuple[RegionState, Metadata]:
        """The region and the node's metadata; refuses when the node is unknown or its agent cannot be reached."""
        region = self.regions.authorized(request, right)
        if node_id not in region.nodes:
            refuse(500, f"Unknown node {node_id}")
        metadata = region.metadata(node_id)
        if metadata is None:
            refuse(404, "No path to node")
        return region, metadata


def _response(metadata: Metadata) -> web.Response:
    return json_response({"Dynamic": metadata.dynamic, "Meta": metadata.merged, "Static": metadata.static})
