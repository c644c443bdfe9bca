"""Responses of Nomad's HTTP API: JSON with its headers, refusals as plain text, and the reading of JSON bodies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NoReturn

from aiohttp import web

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject

_TEXT: Final = {"Content-Type": "text/plain; charset=utf-8"}
OLD_LOG_HEADERS: Final = {
    "X-Nomad-Index": "1",
    "X-Nomad-Knownleader": "false",
    "X-Nomad-Lastcontact": "9223372036854",
}
"""What a server says of a stale read that it answers before it has found its leader after a restart."""
_LITERALS: Final = {"n": "null", "t": "true", "f": "false"}


class RefusalError(Exception):
    """A call is answered by a status with Nomad's text; ``response`` is that answer."""

    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        super().__init__(status, text)
        self.response = text_response(status, text, headers)


def refuse(status: int, text: str, headers: dict[str, str] | None = None) -> NoReturn:
    """Raise ``RefusalError``."""
    raise RefusalError(status, text, headers or {})


def text_response(status: int, text: str, headers: dict[str, str] | None = None) -> web.StreamResponse:
    """Plain text, as Nomad's errors are."""
    return web.Response(status=status, body=text.encode(), headers={**_TEXT, **(headers or {})})


def json_response(document: object, headers: dict[str, str] | None = None, status: int = 200) -> web.Response:
    """Compact JSON."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(
        status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})}
    )


def write_response(document: JsonObject, index: int) -> web.Response:
    """The answer to a write, with its index in the header."""
    return json_response(document, {"X-Nomad-Index": str(index)})


def read_headers(index: int) -> dict[str, str]:
    """The headers that Nomad adds to reads."""
    return {"X-Nomad-Index": str(index), "X-Nomad-Knownleader": "true", "X-Nomad-Lastcontact": "0"}


async def json_body(request: web.Request) -> JsonObject:
    """The body of a request; refuses anything but a JSON object."""
    text = await request.text()
    try:
        body = json.loads(text)
    except ValueError:
        refuse(400, go_json_error(text))
    if not isinstance(body, dict):
        refuse(400, f"json: cannot unmarshal {type(body).__name__} into Go value")
    return body


def go_json_error(text: str) -> str:
    """The error of Go's ``encoding/json`` for a text that is not JSON; exact for errors in its first value only."""
    stripped = text.lstrip()
    if not stripped:
        return "EOF"
    literal = _LITERALS.get(stripped[0])
    if literal is None:
        return f"invalid character '{stripped[0]}' looking for beginning of value"
    for found, wanted in zip(stripped[1:], literal[1:], strict=False):
        if found != wanted:
            return f"invalid character '{found}' in literal {literal} (expecting '{wanted}')"
    return "unexpected EOF"
