"""Look-ups of names hold up nothing else, and are bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

from ionetctl.core.event_loop import LOOKUPS, run

if TYPE_CHECKING:
    import pytest

WAIT_S = 60.0


def test_slow_lookups_hold_up_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the name server does not answer, files are written; so many names are asked for at once and no more."""
    answers, begun = threading.Event(), threading.Semaphore(0)
    asked: list[tuple[object, ...]] = []

    def unanswered(*arguments: object, **options: int) -> list[object]:
        asked.append((*arguments, options["type"]))
        begun.release()
        answers.wait(WAIT_S)
        return [arguments]

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)

    async def look_up() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        waiting = [
            asyncio.create_task(loop.getaddrinfo("h", port, type=socket.SOCK_STREAM)) for port in range(99)
        ]
        for _ in range(LOOKUPS):
            assert await asyncio.to_thread(begun.acquire, timeout=WAIT_S)
        at_once = len(asked)
        answers.set()
        return at_once, len(await asyncio.gather(*waiting))

    assert run(look_up()) == (LOOKUPS, 99)
    assert sorted(asked) == [("h", port, socket.SOCK_STREAM) for port in range(99)]


def test_address_is_looked_up() -> None:
    """As asyncio does it, for connections to names too."""

    async def connect() -> str:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "localhost", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("localhost", port)
            read = await reader.read()
            writer.close()
        return read.decode()

    assert run(connect()) == ""
