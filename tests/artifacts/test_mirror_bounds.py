"""A mirror that pours out more than a release has: no more of it is in memory, or taken, than was asked for."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from ionetctl.artifacts.mirror import REDIRECTIONS, open_mirror
from ionetctl.core.errors import IonetctlError
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

LIMIT_BYTES = 1 << 20
ROOM_BYTES = 8 << 20
"""What a copy may take at its most; the answers stand for far more."""
BOMB = gzip.compress(bytes(64 << 20))
NESTED = gzip.compress(BOMB * 16)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    """A web server on the loopback that answers everything so."""
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def copied(url: str) -> tuple[str, int, int]:
    """How the copy of a file ended, how much of it was taken, and the most memory that this took, in bytes."""
    target = io.BytesIO()
    async with open_mirror(url, None, ManualClock().sleep) as mirror:
        tracemalloc.start()
        try:
            ending = str(await mirror.copy("x", target, LIMIT_BYTES, lambda _done, _total: None))
        except IonetctlError as error:
            ending = error.code
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    return ending, len(target.getvalue()), peak


@pytest.mark.parametrize(("encoding", "body"), [("gzip", BOMB), ("gzip, gzip", NESTED), ("deflate", BOMB)])
async def test_what_is_compressed_unasked_is_not_unpacked(encoding: str, body: bytes) -> None:
    """A megabyte that stands for a thousand is none that anybody takes."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    async with serving(answer) as url:
        ending, taken, peak = await copied(url)
    assert (ending, taken, peak < ROOM_BYTES) == ("mirror_untrusted", 0, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("encoding", "body"), [("gzip", BOMB), ("identity", bytes(32 << 20))])
async def test_what_comes_with_a_redirection_is_not_read(status: int, encoding: str, body: bytes) -> None:
    """Its text is for people; it is neither unpacked nor kept, and what it leads to is taken."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/there":
            return web.Response(body=b"whole")
        return await poured(
            request,
            web.StreamResponse(status=status, headers={"Location": "/there", "Content-Encoding": encoding}),
            body,
        )

    async with serving(answer) as url:
        ending, taken, peak = await copied(url)
    assert (len(ending), taken, peak < ROOM_BYTES) == (64, len(b"whole"), True)


async def test_redirections_without_end_are_given_up() -> None:
    """Each to another place."""
    asked = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=302, headers={"Location": f"/{asked}"})

    async with serving(answer) as url:
        ending, _, _ = await copied(url)
    assert (ending, asked) == ("artifact_unreachable", REDIRECTIONS + 1)


@pytest.mark.parametrize("location", ["mailto:x", "http://xn--a/", "http://[::1/", "http://a:b/"])
async def test_redirection_to_no_place_is_refused(location: str) -> None:
    """Whatever httpx makes of it, it is an error of the mirror's, not of ours."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    async with serving(answer) as url:
        ending, taken, _ = await copied(url)
    assert (ending, taken) == ("artifact_unreachable", 0)


async def test_a_file_without_end_is_cut() -> None:
    """A gigabyte that comes in pieces is given up at the limit."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await poured(request, web.StreamResponse(), bytes(1 << 20), times=1024)

    async with serving(answer) as url:
        ending, taken, peak = await copied(url)
    assert (ending, taken <= LIMIT_BYTES, peak < ROOM_BYTES) == ("artifact_too_large", True, True)


async def poured(
    request: web.Request, response: web.StreamResponse, body: bytes, times: int = 1
) -> web.StreamResponse:
    """The response with its body in small pieces, until the reader goes."""
    await response.prepare(request)
    view = memoryview(body)
    for _ in range(times):
        for begin in range(0, len(view), 1 << 16):
            await response.write(view[begin : begin + (1 << 16)])
    return response
