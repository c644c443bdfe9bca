"""Answers of a real OpenBao, recorded, and a server that gives them again: to the same call the same answers, in their order."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).parents[1] / "data/openbao/recordings.json"
CALLS: Final[list[dict[str, Any]]] = json.loads(FILE.read_text())["calls"]


def recorded(name: str) -> tuple[int, Any]:
    """Status and body of the call by that name."""
    response = next(call["response"] for call in CALLS if call["name"] == name)
    return response["status"], deepcopy(response["body"])


class Replay:
    """A server that knows the recorded calls and no others; tokens are the names that the recordings have for them."""

    def __init__(self) -> None:
        self._given: Counter[tuple[str, ...]] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        headers = request.headers
        asked = (
            headers["X-Vault-Token"],
            headers.get("X-Vault-Namespace", ""),
            request.method,
            request.path.removeprefix("/v1/"),
        )
        answers = [call["response"] for call in CALLS if _asked(call["request"]) == asked]
        if not answers:
            raise AssertionError(f"not recorded: {asked}")
        response = answers[min(self._given[asked], len(answers) - 1)]
        self._given[asked] += 1
        return web.json_response(response["body"], status=response["status"])


def _asked(request: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(request[part] for part in ("token", "namespace", "method", "path"))
