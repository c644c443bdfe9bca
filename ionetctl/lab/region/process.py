"""The process of the region: ``python -m ionetctl.lab.region.process DIR``. Serves API and RPC until it is ended.

Reads its plan from the rehearsal's directory, writes its ports to its ready file, and applies the control file whenever
that changes: the file makes the region fail in the ways that docs/reference/lab.md lists.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from aiohttp import web

from ionetctl.lab.paths import LabPaths
from ionetctl.lab.processes import stop_on_signals, write_ready
from ionetctl.lab.region.api.access import Regions
from ionetctl.lab.region.api.application import Api
from ionetctl.lab.region.rpc_server import RpcServer, server_context
from ionetctl.lab.region.state.region_state import OPEN_NAMESPACES, RegionState, Right

if TYPE_CHECKING:
    import ssl

    from ionetctl.lab.json_object import JsonObject

ADMIN_RIGHTS: Final[tuple[Right, ...]] = get_args(Right)
_LOOPBACK: Final = "127.0.0.1"
_POLL_INTERVAL_S: Final = 0.5
_HTTP_KEEPALIVE_S: Final = 75.0


async def serve(directory: Path, stop: asyncio.Event) -> None:
    """Serve the region that ``directory`` describes until ``stop`` is set."""
    paths = LabPaths(directory)
    plan = json.loads(paths.plan("region").read_text())
    regions = _regions(paths, plan)
    context = server_context(paths.pki / "ca.pem", paths.pki / "server.pem", paths.pki / "server-key.pem")
    rpc = RpcServer(regions.local)
    address = plan.get("address", _LOOPBACK)
    async with rpc.listening(address, plan.get("rpc_port", 0), context) as rpc_port:
        api = Api(regions, f"{address}:{rpc_port}")
        runner, api_port = await _serve_api(api, address, plan.get("api_port", 0), context)
        try:
            write_ready(paths.ready("region"), {"api_port": api_port, "rpc_port": rpc_port})
            control = ControlFile(paths.region_control, {"enforcement": plan["enforcement"]})
            await _apply_changes(control, api, rpc, stop)
        finally:
            await runner.cleanup()


def _regions(paths: LabPaths, plan: JsonObject) -> Regions:
    name, version = plan["region"], plan["nomad_version"]
    state = RegionState(name, version=version, enforcement=plan["enforcement"])
    for pool in plan["node_pools"]:
        state.add_pool(pool)
    state.add_token("ionetctl", ADMIN_RIGHTS, paths.token.read_text().strip())
    return Regions(state, {peer: RegionState(peer, version=version) for peer in plan["federated_regions"]})


async def _serve_api(api: Api, address: str, port: int, context: ssl.SSLContext) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(
        api.application(), access_log=None, keepalive_timeout=_HTTP_KEEPALIVE_S, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, address, port, ssl_context=context, backlog=1024)
    await site.start()
    return runner, int(runner.addresses[0][1])


@dataclass(slots=True)
class ControlFile:
    """The control file at ``path``; ``defaults`` are the values of keys that it does not have."""

    path: Path
    defaults: JsonObject
    _seen_at: int = 0

    def read_changed(self) -> JsonObject | None:
        """The settings, when the file has changed since the last call; else, or when it is no JSON yet, ``None``."""
        changed_at = self.path.stat().st_mtime_ns if self.path.exists() else 0
        if changed_at == self._seen_at:
            return None
        try:
            settings = json.loads(self.path.read_text()) if changed_at else {}
        except ValueError:
            return None
        self._seen_at = changed_at
        return {**self.defaults, **settings}


async def _apply_changes(control: ControlFile, api: Api, rpc: RpcServer, stop: asyncio.Event) -> None:
    """Until ``stop`` is set: apply the control file when it changes, and update the regions by the time."""
    while not stop.is_set():
        settings = control.read_changed()
        if settings is not None:
            apply_control(settings, api, rpc)
        for state in api.regions.all():
            state.update(time.time())
        try:
            await asyncio.wait_for(stop.wait(), _POLL_INTERVAL_S)
        except TimeoutError:
            continue


def apply_control(settings: JsonObject, api: Api, rpc: RpcServer) -> None:
    """Apply a control file: ``has_leader``, ``old_log``, ``enforcement``, ``api`` (a key of ``FAILURE_MODES``), ``deaf`` and more.

    ``forgets_system_jobs`` and ``task_drivers`` are as ``Workload`` and ``RegionState`` have them.
    """
    api.regions.local.has_old_log = bool(settings.get("old_log", False))
    api.regions.local.has_leader = bool(settings.get("has_leader", True))
    api.regions.local.enforcement = settings.get("enforcement", api.regions.local.enforcement)
    api.regions.local.workload.forgets_system_jobs = bool(settings.get("forgets_system_jobs", False))
    api.regions.local.task_drivers = settings.get("task_drivers", OPEN_NAMESPACES)
    api.failure_mode = settings.get("api")
    rpc.drops_connections = bool(settings.get("deaf", False))


async def until_signalled(directory: Path) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    await serve(directory, stop_on_signals())


if __name__ == "__main__":
    asyncio.run(until_signalled(Path(sys.argv[1])))
