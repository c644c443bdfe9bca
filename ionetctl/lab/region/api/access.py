"""Which region answers a request (``?region=``), and whether the request's ACL token has the right that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.region.api.http_responses import refuse

if TYPE_CHECKING:
    from aiohttp import web

    from ionetctl.lab.region.state.region_state import RegionState, Right

TOKEN_HEADER: Final = "X-Nomad-Token"  # noqa: S105 - a header's name


@dataclass(frozen=True, slots=True)
class Regions:
    """The region that serves the API, and the other regions of its federation by name."""

    local: RegionState
    peers: dict[str, RegionState] = field(default_factory=dict)

    def all(self) -> list[RegionState]:
        """The serving region, then its peers."""
        return [self.local, *self.peers.values()]

    def requested(self, request: web.Request) -> RegionState:
        """The region that ``?region=`` names, the serving one without it; refuses an unknown name."""
        wanted = request.query.get("region", self.local.name)
        if wanted == self.local.name:
            return self.local
        if wanted not in self.peers:
            refuse(500, "No path to region")
        return self.peers[wanted]

    def authorized(self, request: web.Request, right: Right) -> RegionState:
        """The requested region; refuses when it has no leader, or when the token lacks ``right``."""
        region = self.requested(request)
        if not region.has_leader:
            is_stale = "stale" in request.query
            refuse(*((403, "Permission denied") if is_stale else (500, "No cluster leader")))
        if not self.has_right(request, right):
            refuse(403, "Permission denied")
        return region

    def has_right(self, request: web.Request, right: Right) -> bool:
        """Whether the request's token has a right."""
        token = self.local.tokens.get(request.headers.get(TOKEN_HEADER, ""))
        return token is not None and right in token.rights
