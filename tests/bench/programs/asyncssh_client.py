"""The floors: the least that a program with asyncssh does, tuned by its public API: ``asyncssh_client.py WHAT SETTINGS``.

``connect`` logs in at every host, runs three commands and closes; ``stream`` sends bytes to ``cat`` on one host, as fast as
asyncssh can. SETTINGS is a file of JSON. Prints, as JSON, its own CPU and wall time without the start of Python and its
imports.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncssh

EXECS: Final = 3
BLOCK: Final = bytes(256 * 1024)
IN_FLIGHT: Final = 512 * 1024
"""More unacknowledged bytes make sshd's buffer grow, and its CPU with it."""


def options(settings: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection: keys parsed once, the cheapest algorithms first, no files read."""
    return {
        "port": settings["port"],
        "username": settings["user"],
        "client_keys": [asyncssh.read_private_key(settings["identity"])],
        "known_hosts": ([asyncssh.import_public_key(settings["host_key"])], [], []),
        "encryption_algs": ["aes128-gcm@openssh.com"],
        "kex_algs": ["curve25519-sha256"],
        "server_host_key_algs": ["ssh-ed25519"],
        "compression_algs": None,
        "agent_path": None,
        "config": None,
        "connect_timeout": 120,
        "login_timeout": 120,
    }


async def connect(settings: dict[str, Any]) -> None:
    """Log in at every host, run three commands, close."""
    limit = asyncio.Semaphore(settings["concurrency"])
    common = options(settings)

    async def one(address: str) -> None:
        async with limit, asyncssh.connect(address, **common) as connection:
            for _ in range(EXECS):
                done = await connection.run("true", encoding=None)
                assert done.exit_status == 0

    async with asyncio.TaskGroup() as group:
        for address in settings["addresses"]:
            group.create_task(one(address))


async def stream(settings: dict[str, Any]) -> None:
    """Send ``size`` bytes to a command of the first host, with bounded bytes in flight."""
    async with (
        asyncssh.connect(settings["addresses"][0], **options(settings)) as connection,
        connection.create_process("cat >/dev/null", encoding=None) as process,
    ):
        process.channel.set_write_buffer_limits(IN_FLIGHT)
        left = settings["size"]
        while left > 0:
            block = BLOCK if left >= len(BLOCK) else BLOCK[:left]
            process.stdin.write(block)
            await process.stdin.drain()
            left -= len(block)
        process.stdin.write_eof()
        done = await process.wait()
        assert done.exit_status == 0


def main() -> None:
    """Do one of them and print what it took."""
    what, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text())
    gc.collect()
    gc.freeze()
    cpu_s, wall_s = time.process_time(), time.monotonic()
    asyncio.run({"connect": connect, "stream": stream}[what](settings))
    used = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}
    sys.stdout.write(json.dumps(used))


if __name__ == "__main__":
    main()
