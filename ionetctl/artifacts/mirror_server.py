"""Serves the packed files of a cache over HTTP, each below ``/`` by its SHA-256, and nothing else.

GET and HEAD, ranges of bytes included. It knows digests and paths; who fetches is none of its business.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import Digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

_DIGEST: Final = re.compile(r"/[0-9a-f]{64}")


@asynccontextmanager
async def serve_mirror(
    files: Callable[[], Mapping[Digest, Path]], address: str, port: int
) -> AsyncIterator[tuple[str, int]]:
    """Serves what ``files`` returns, which is called for each request, until the block ends; its address and port.

    Raises ``ConfigurationError`` (``mirror_not_bound``) where nothing can listen there.
    """

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        path = None
        if _DIGEST.fullmatch(request.raw_path):
            path = (await asyncio.to_thread(files)).get(Digest(request.raw_path[1:]))
        if path is None:
            return web.Response(status=404)
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as error:
            message = f"cannot listen on {address}, port {port}: {error.strerror or error}"
            raise ConfigurationError(
                "mirror_not_bound", message, "choose another --bind or --port"
            ) from error
        bound = runner.addresses[0]
        yield bound[0], bound[1]
    finally:
        await runner.cleanup()
