"""The region's process: ``python -m ionetctl.lab.region_process DIR``. It serves API and RPC until it is ended.

It reads its plan from the rehearsal's directory, says in its ready file which ports it took, and looks at the
control file now and then, so that an outage can be rehearsed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ionetctl.lab.places import Places
from ionetctl.lab.region.api.handlers import Api
from ionetctl.lab.region.rpc import RpcServer, server_context
from ionetctl.lab.region.state.region import RegionState, Right

if TYPE_CHECKING:
    import ssl

    from ionetctl.lab.documents import Document

ADMIN_RIGHTS: Final[tuple[Right, ...]] = ("node:write", "agent:read", "node_pool:read")
_LOOPBACK: Final = "127.0.0.1"
_TICK_S: Final = 0.5
_HTTP_KEEPALIVE_S: Final = 75.0


async def serve(directory: Path, stop: asyncio.Event) -> None:
    """Serve the region that ``directory`` describes until ``stop`` is set."""
    places = Places(directory)
    plan = json.loads(places.plan("region").read_text())
    state, api = _region(places, plan)
    context = server_context(places.pki / "ca.pem", places.pki / "server.pem", places.pki / "server-key.pem")
    rpc = RpcServer(state)
    address = plan.get("address", _LOOPBACK)
    async with rpc.listening(address, plan.get("rpc_port", 0), context) as rpc_port:
        api.server_address = f"{address}:{rpc_port}"
        runner, api_port = await _serve_api(api, address, plan.get("api_port", 0), context)
        try:
            publish(places.ready("region"), {"api_port": api_port, "rpc_port": rpc_port})
            await _watch(Control(places.region_control, {"enforcement": plan["enforcement"]}), api, rpc, stop)
        finally:
            await runner.cleanup()


def _region(places: Places, plan: Document) -> tuple[RegionState, Api]:
    name, version = plan["region"], plan["nomad_version"]
    state = RegionState(name, version=version, enforcement=plan["enforcement"])
    for pool in plan["node_pools"]:
        state.add_pool(pool)
    state.add_token("ionetctl", ADMIN_RIGHTS, places.token.read_text().strip())
    peers = {peer: RegionState(peer, version=version) for peer in plan["federated_regions"]}
    return state, Api(state, "", peers)


async def _serve_api(api: Api, address: str, port: int, context: ssl.SSLContext) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(
        api.application(), access_log=None, keepalive_timeout=_HTTP_KEEPALIVE_S, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, address, port, ssl_context=context, backlog=1024)
    await site.start()
    return runner, int(runner.addresses[0][1])


@dataclass(slots=True)
class Control:
    """The control file: what it said last. ``usual`` stands where it says nothing, or is not there."""

    path: Path
    usual: Document
    _seen_at: int = 0

    def changed(self) -> Document | None:
        """The orders that stand from now on, or ``None`` where they are the old ones (or are half written)."""
        changed_at = self.path.stat().st_mtime_ns if self.path.exists() else 0
        if changed_at == self._seen_at:
            return None
        try:
            orders = json.loads(self.path.read_text()) if changed_at else {}
        except ValueError:
            return None
        self._seen_at = changed_at
        return {**self.usual, **orders}


async def _watch(control: Control, api: Api, rpc: RpcServer, stop: asyncio.Event) -> None:
    while not stop.is_set():
        orders = control.changed()
        if orders is not None:
            obey(orders, api, rpc)
        for state in (api.state, *api.peers.values()):
            state.expire(time.time())
        try:
            await asyncio.wait_for(stop.wait(), _TICK_S)
        except TimeoutError:
            continue


def obey(orders: Document, api: Api, rpc: RpcServer) -> None:
    """Carry out what a control file says: ``has_leader``, ``enforcement``, ``api`` (a mode of misbehaviour), ``deaf``."""
    api.state.has_leader = bool(orders.get("has_leader", True))
    api.state.enforcement = orders.get("enforcement", api.state.enforcement)
    api.misbehaviour.mode = orders.get("api")
    rpc.is_deaf = bool(orders.get("deaf", False))


def publish(path: Path, document: Document) -> None:
    """Write a file so that whoever waits for it never sees half of it."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(document))
    draft.rename(path)


async def until_signalled(directory: Path) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(directory, stop)


if __name__ == "__main__":
    asyncio.run(until_signalled(Path(sys.argv[1])))
