"""Namespaces (``/v1/namespaces``), and the policies that say which of them the caller's token sees (``/v1/acl/polic…``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from ionetctl.lab.region.api.access import TOKEN_HEADER
from ionetctl.lab.region.api.http_responses import json_response, read_headers, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.region.api.access import Regions
    from ionetctl.lab.region.state.region_state import AclToken


@dataclass(frozen=True, slots=True)
class NamespaceHandlers:
    """The handlers of calls about namespaces. A token's policy bears its name, and grants what it does in all of them."""

    regions: Regions

    def routes(self) -> list[web.RouteDef]:
        """The routes of these handlers."""
        return [
            web.get("/v1/namespaces", self._list),
            web.get("/v1/acl/policies", self._policies),
            web.get("/v1/acl/policy/{name}", self._policy),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        region = self.regions.requested(request)
        seen = region.task_drivers.items() if _capabilities(self._token(request)) else ()
        return json_response([_namespace(name, drivers) for name, drivers in sorted(seen)], read_headers(10))

    async def _policies(self, request: web.Request) -> web.Response:
        return json_response([_stub(self._token(request).name)], read_headers(10))

    async def _policy(self, request: web.Request) -> web.Response:
        token = self._token(request)
        if request.match_info["name"] != token.name:
            refuse(403, "Permission denied")
        rules = [{"Capabilities": granted, "Name": "*", "Policy": "", "Variables": None}] if (granted := _capabilities(token)) else None  # fmt: skip
        return json_response({**_stub(token.name), "RulesJSON": {"Namespaces": rules}}, read_headers(10))

    def _token(self, request: web.Request) -> AclToken:
        token = self.regions.local.tokens.get(request.headers.get(TOKEN_HEADER, ""))
        if token is None:
            refuse(403, "Permission denied")
        return token


def _capabilities(token: AclToken) -> list[str]:
    return sorted(right for right in token.rights if right.endswith(("-job", "-jobs")))


def _stub(name: str) -> JsonObject:
    return {
        "CreateIndex": 10,
        "Description": "",
        "Hash": "",
        "JobACL": None,
        "ModifyIndex": 10,
        "Name": name,
    }


def _namespace(name: str, drivers: Sequence[str] | None) -> JsonObject:
    limits = {
        "DisabledNetworkModes": None,
        "DisabledTaskDrivers": None,
        "EnabledNetworkModes": None,
        "EnabledTaskDrivers": drivers,
    }
    return {
        "Capabilities": None if drivers is None else limits,
        "ConsulConfiguration": None,
        "CreateIndex": 10,
        "Description": "",
        "Hash": "",
        "Meta": None,
        "ModifyIndex": 10,
        "Name": name,
        "NodePoolConfiguration": None,
        "OptionalExtraClaims": None,
        "Quota": "",
        "RequiredExtraClaims": None,
        "VaultConfiguration": None,
    }
