"""Tokens: minting introduction tokens of nodes, and the ACL token of the caller (``/v1/acl/…``)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.access import TOKEN_HEADER
from ionetctl.lab.region.api.http_responses import json_body, json_response, read_headers, refuse
from ionetctl.lab.region.state.introduction import DEFAULT_TTL_S, duration_s

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.region.api.access import Regions
    from ionetctl.lab.region.state.region_state import AclToken


@dataclass(frozen=True, slots=True)
class TokenHandlers:
    """The handlers of calls about tokens."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        mint = "/v1/acl/identity/client-introduction-token"
        return [
            web.post(mint, self._mint_introduction),
            web.put(mint, self._mint_introduction),
            web.get("/v1/acl/token/self", self._read_own),
        ]

    async def _mint_introduction(self, request: web.Request) -> web.Response:
        region = self.regions.authorized(request, "node:write")
        body = await json_body(request)
        try:
            ttl_s = duration_s(body["TTL"]) if body.get("TTL") else DEFAULT_TTL_S
        except ValueError as error:
            refuse(400, str(error))
        pool = str(body.get("NodePool") or "default")
        jwt = region.signer.mint_introduction(str(body.get("NodeName") or ""), pool, ttl_s, time.time())
        return json_response({"JWT": jwt})

    async def _read_own(self, request: web.Request) -> web.Response:
        secret = request.headers.get(TOKEN_HEADER, "")
        token = self.regions.local.tokens.get(secret)
        if token is None:
            refuse(403, "Permission denied")
        return json_response(_acl_token(token, secret), read_headers(10))


def _acl_token(token: AclToken, secret: str) -> JsonObject:
    return {
        "AccessorID": token.accessor_id,
        "CreateIndex": 10,
        "CreateTime": token.created_at,
        "ExpirationTTL": "",
        "ExpirationTime": None,
        "Global": True,
        "Hash": "",
        "ModifyIndex": 10,
        "Name": token.name,
        "Policies": [token.name],
        "Roles": None,
        "SecretID": secret,
        "Type": "client",
    }
