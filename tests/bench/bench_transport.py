"""What the transport costs beside bare asyncssh: CPU per host, per gigabyte, and per known_hosts line.

Run by ``python -m tests.bench.bench_transport [--hosts N] [--mib N]``. Both sides run in turn, in this process and
against the same servers in another one; ratios hold from machine to machine, seconds do not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from ionetctl.core.model.host import Host, SshSettings
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.ports import Command
from ionetctl.ssh import SshConnector, TransportSettings
from ionetctl.ssh.config.endpoint import EndpointResolver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection

ROUNDS = 3
AT_ONCE = 50
BLOCK = bytes(64 * 1024)
SINK = Command(("sh", "-c", "cat >/dev/null"), timeout_s=300, idle_s=60, as_root=False)
HELLO = Command(("echo", "hello"), timeout_s=60, idle_s=60, as_root=False)


@dataclass(frozen=True)
class Site:
    """Where the servers are and what opens them."""

    folder: Path
    port: int
    user: str

    @property
    def identity(self) -> str:
        return str(self.folder / "id")

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def host(self) -> Host:
        ssh = SshSettings(user=self.user, port=self.port, identities=(self.identity,), agent=False, jump=())
        return Host(HostName("bench"), "127.0.0.1", RegionName("r"), "dc", ssh=ssh)

    def settings(self) -> TransportSettings:
        return TransportSettings(known_hosts=(self.known_hosts,), system_known_hosts=(), connect_timeout_s=60)


def main() -> None:
    """Print one line for each thing measured."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hosts", type=int, default=200)
    arguments.add_argument("--mib", type=int, default=256)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, _servers(Path(name)) as site:
        gc.collect()
        gc.freeze()
        _report_connects(site, options.hosts)
        _report_throughput(site, options.mib)
    _report_routes()


def _report_connects(site: Site, hosts: int) -> None:
    _know(site, lines=1)
    bare = _cpu(lambda: _bare_connects(site, hosts, str(site.known_hosts)))
    ours = _cpu(lambda: _our_connects(site, hosts))
    _say("connect, exec, close: bare asyncssh", bare / hosts * 1e3, "ms/host")
    _say("connect, exec, close: ionetctl", ours / hosts * 1e3, "ms/host", ours / bare)
    _know(site, lines=2000)
    few = max(hosts // 10, 10)
    bare = _cpu(lambda: _bare_connects(site, few, str(site.known_hosts)))
    ours = _cpu(lambda: _our_connects(site, hosts))
    _say("the same, known_hosts of 2,000 lines: bare asyncssh", bare / few * 1e3, "ms/host")
    _say(
        "the same, known_hosts of 2,000 lines: ionetctl",
        ours / hosts * 1e3,
        "ms/host",
        ours / hosts / (bare / few),
    )


def _report_throughput(site: Site, mib: int) -> None:
    _know(site, lines=1)
    bare = _cpu(lambda: _bare_push(site, mib))
    ours = _cpu(lambda: _our_push(site, mib))
    _say("push: bare asyncssh, its own cipher, drain()", bare / mib * 1024, "s CPU/GiB")
    _say("push: ionetctl", ours / mib * 1024, "s CPU/GiB", ours / bare)


def _report_routes() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "config"
        path.write_text("".join(f"Host rack-{n}-*\n  User miner\n  Port 22\n" for n in range(20)))
        resolver = EndpointResolver(TransportSettings(ssh_config=(path,)), "ops")
        hosts = [Host(HostName(f"h{n}"), f"rack-{n % 20}-{n}", RegionName("r"), "dc") for n in range(1000)]
        started = time.process_time()
        for host in hosts:
            resolver.resolve(host)
        _say(
            "resolve a host by an ssh_config of 60 lines",
            (time.process_time() - started) * 1e3 / len(hosts),
            "ms/host",
        )


async def _our_connects(site: Site, hosts: int) -> None:
    host = site.host()
    async with SshConnector(site.settings(), lambda _: "") as connector:

        async def one() -> None:
            async with connector.connect(host) as session:
                await session.run(HELLO)

        await _at_once(one, hosts)


async def _bare_connects(site: Site, hosts: int, known_hosts: str) -> None:
    async def one() -> None:
        async with asyncssh.connect(
            "127.0.0.1",
            site.port,
            username=site.user,
            client_keys=[site.identity],
            known_hosts=known_hosts,
            config=None,
        ) as connection:
            await connection.run("echo hello")

    await _at_once(one, hosts)


async def _our_push(site: Site, mib: int) -> None:
    async with (
        SshConnector(site.settings(), lambda _: "") as connector,
        connector.connect(site.host()) as session,
    ):
        await session.run(SINK, stdin=_blocks(mib))


async def _bare_push(site: Site, mib: int) -> None:
    async with (
        asyncssh.connect(
            "127.0.0.1",
            site.port,
            username=site.user,
            client_keys=[site.identity],
            known_hosts=str(site.known_hosts),
            config=None,
        ) as connection,
        connection.create_process("cat >/dev/null", encoding=None) as process,
    ):
        async for block in _blocks(mib):
            process.stdin.write(block)
            await process.stdin.drain()
        process.stdin.write_eof()
        await process.wait()


async def _blocks(mib: int) -> AsyncIterator[bytes]:
    for _ in range(mib * 16):
        yield BLOCK


async def _at_once(one: Callable[[], Awaitable[None]], hosts: int) -> None:
    limit = asyncio.Semaphore(AT_ONCE)

    async def limited() -> None:
        async with limit:
            await one()

    async with asyncio.TaskGroup() as group:
        for _ in range(hosts):
            group.create_task(limited())


def _cpu(work: Callable[[], Awaitable[None]]) -> float:
    """CPU seconds of this process for the work; the median of a few rounds."""

    async def run() -> float:
        started = time.process_time()
        await work()
        return time.process_time() - started

    return statistics.median(asyncio.run(run()) for _ in range(ROUNDS))


def _know(site: Site, lines: int) -> None:
    """A known_hosts file of so many lines, the servers' own last."""
    key = asyncssh.read_public_key(site.folder / "host.pub").export_public_key().decode().strip()
    others = "".join(f"rig-{number}.example {key}\n" for number in range(lines - 1))
    site.known_hosts.write_text(f"{others}[127.0.0.1]:{site.port} {key}\n")


@contextlib.contextmanager
def _servers(folder: Path) -> Iterator[Site]:
    """An asyncssh server in a process of its own, so that its CPU is not counted."""
    for name in ("host", "id"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(folder / name)
        (folder / name).chmod(0o600)
        key.write_public_key(folder / f"{name}.pub")
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(str(folder), there))
    process.start()
    try:
        yield Site(folder, here.recv(), "miner")
    finally:
        process.terminate()
        process.join()


def _serve(folder: str, ready: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_forever(Path(folder), ready))


async def _serve_forever(folder: Path, ready: Connection) -> None:
    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if "hello" in (process.command or ""):
            process.stdout.write(b"hello\n")
        else:
            while await process.stdin.read(1 << 20):
                pass
        process.exit(0)

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "id.pub"),
        process_factory=handle,
        encoding=None,
        backlog=1000,
    )
    ready.send(listener.get_port())
    await listener.wait_closed()


def _say(what: str, value: float, unit: str, ratio: float | None = None) -> None:
    beside = "" if ratio is None else f"   ({ratio:.2f} of bare)"
    sys.stdout.write(f"{what:60} {value:8.2f} {unit}{beside}\n")


if __name__ == "__main__":
    main()
