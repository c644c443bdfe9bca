"""Look-ups of names hold up nothing else, and are bounded."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
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


HANGING = """
import asyncio, os, socket, threading
from ionetctl.core.event_loop import run

def hang(*_, **__):
    # Not by print: Python's buffer must not be held by a thread that ends with the interpreter.
    os.write(1, b"asked\\n")
    threading.Event().wait()

async def look_up():
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(loop.getaddrinfo("h", 1)) for _ in range(40)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    print("through", flush=True)

socket.getaddrinfo = hang
run(look_up())
"""


def test_a_lookup_that_hangs_holds_up_no_end() -> None:
    """The process ends as soon as its work has: the command's own end is not waited for by it."""
    ended = subprocess.run((sys.executable, "-c", HANGING), capture_output=True, timeout=WAIT_S, check=True)
    assert (b"asked" in ended.stdout, b"through" in ended.stdout, ended.stderr) == (True, True, b"")


def test_a_lookup_that_fails_says_so_and_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that nobody waits for any more."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "nobody knows it")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    async def look_up() -> list[BaseException | object]:
        loop = asyncio.get_running_loop()
        given_up = asyncio.create_task(loop.getaddrinfo("h", 1))
        await asyncio.sleep(0)
        given_up.cancel()
        calls = (loop.getaddrinfo("h", 1) for _ in range(2 * LOOKUPS))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    assert [type(each) for each in run(look_up())] == [socket.gaierror] * 2 * LOOKUPS
