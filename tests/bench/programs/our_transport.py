"""Our transport alone: ``our_transport.py WHAT SETTINGS``, as ``asyncssh_client.py`` beside it.

``connect`` and ``stream`` do the same as there; ``hold`` opens a connection to every host and prints the process's memory
while all are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.model.host import Host, SshSettings
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.ports import Command
from ionetctl.ssh import SshConnector, TransportSettings
from tests.bench.meter import pss_kib

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK: Final = memoryview(bytes(64 * 1024))
EXECS: Final = 3
NOTHING: Final = Command(("true",), timeout_s=120, idle_s=120, as_root=False)
SINK: Final = Command(("sh", "-c", "cat >/dev/null"), timeout_s=600, idle_s=60, as_root=False)


def host(settings: dict[str, Any], address: str) -> Host:
    """The inventory's host for an address."""
    ssh = SshSettings(
        user=settings["user"],
        port=settings["port"],
        identities=(settings["identity"],),
        jump=(),
        host_keys=(settings["host_key"],),
        agent=False,
    )
    return Host(HostName(address), address, RegionName("eu-north"), "lab1", ssh=ssh)


def connector() -> SshConnector:
    """A connector that reads no file of the user's."""
    settings = TransportSettings(connect_timeout_s=120, login_timeout_s=120, system_known_hosts=())
    return SshConnector(settings, lambda _: "")


async def connect(settings: dict[str, Any]) -> None:
    """Log in at every host, run three commands, close."""
    limit = asyncio.Semaphore(settings["concurrency"])
    async with connector() as opened, asyncio.TaskGroup() as group:

        async def one(address: str) -> None:
            async with limit, opened.connect(host(settings, address)) as session:
                for _ in range(EXECS):
                    assert (await session.run(NOTHING)).exit_status == 0

        for address in settings["addresses"]:
            group.create_task(one(address))


async def stream(settings: dict[str, Any]) -> None:
    """Send ``size`` bytes to a command of the first host."""

    async def blocks() -> AsyncIterator[memoryview]:
        left = settings["size"]
        while left > 0:
            yield BLOCK[:left]
            left -= len(BLOCK)

    async with (
        connector() as opened,
        opened.connect(host(settings, settings["addresses"][0])) as session,
    ):
        assert (await session.run(SINK, stdin=blocks())).exit_status == 0


async def hold(settings: dict[str, Any]) -> None:
    """Open all connections; prints the memory (PSS, in KiB) without and with them."""
    before = pss_kib(os.getpid())
    limit = asyncio.Semaphore(settings["concurrency"])
    async with connector() as opened, contextlib.AsyncExitStack() as stack:

        async def one(address: str) -> None:
            async with limit:
                session = await stack.enter_async_context(opened.connect(host(settings, address)))
                assert (await session.run(NOTHING)).exit_status == 0

        async with asyncio.TaskGroup() as group:
            for address in settings["addresses"]:
                group.create_task(one(address))
        gc.collect()
        sys.stdout.write(json.dumps({"before_kib": before, "open_kib": pss_kib(os.getpid())}))


def main() -> None:
    """Do one of them and print what it took."""
    what, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text())
    gc.collect()
    gc.freeze()
    cpu_s, wall_s = time.process_time(), time.monotonic()
    asyncio.run({"connect": connect, "stream": stream, "hold": hold}[what](settings))
    if what != "hold":
        used = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}
        sys.stdout.write(json.dumps(used))


if __name__ == "__main__":
    main()
