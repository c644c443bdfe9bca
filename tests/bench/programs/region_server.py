"""A region's list of nodes over TLS, made from a recorded one: ``region_server.py DIR NODES``; writes its URL to ``DIR/url``.

It answers ``GET /v1/nodes`` in pages, with resources where they are asked for, as a real region does, from bytes that were
made before: its own time is not measured. Every filter is answered with all nodes.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import sys
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ionetctl.lab.processes import stop_on_signals
from tests.support.region_server import SERVER_NAME, RegionSite, recording

GPUS: Final = 8


def gpu_id(node: int, card: int) -> str:
    """The UUID of a node's card."""
    return f"GPU-{node:08x}-0000-4000-8000-{card:012x}"


def _row(template: dict[str, Any], index: int, *, with_resources: bool) -> bytes:
    node = {**template, "ID": f"{index:08x}-0000-4000-8000-000000000000", "Name": f"rey1-g{index:05}"}
    node |= {"SchedulingEligibility": "eligible", "NodePool": "gpu", "Datacenter": "rey1"}
    if not with_resources:
        return json.dumps({key: value for key, value in node.items() if "Resources" not in key}).encode()
    group = copy.deepcopy(template["NodeResources"]["Devices"][0])
    instance = group["Instances"][0]
    group["Instances"] = [{**instance, "ID": gpu_id(index, card)} for card in range(GPUS)]
    node["NodeResources"] = {**template["NodeResources"], "Devices": [group]}
    return json.dumps(node).encode()


class NodeList:
    """The pages of the list, each encoded and compressed once."""

    def __init__(self, count: int) -> None:
        template = recording("nodes: with resources")["response"]["body"][0]
        self._rows = {
            with_resources: [_row(template, index, with_resources=with_resources) for index in range(count)]
            for with_resources in (False, True)
        }
        self._pages: dict[tuple[int, int, bool, bool], bytes] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """One page."""
        start, size = int(request.query.get("next_token", "0")), int(request.query.get("per_page", "1000"))
        with_resources = request.query.get("resources") == "true"
        packs = "gzip" in request.headers.get("Accept-Encoding", "")
        headers = {"Content-Type": "application/json", "X-Nomad-Index": "87", "X-Nomad-KnownLeader": "true"}
        headers["X-Nomad-LastContact"] = "0"
        if packs:
            headers["Content-Encoding"] = "gzip"
        if start + size < len(self._rows[with_resources]):
            headers["X-Nomad-NextToken"] = str(start + size)
        key = (start, size, with_resources, packs)
        if key not in self._pages:
            body = b"[" + b",".join(self._rows[with_resources][start : start + size]) + b"]"
            self._pages[key] = gzip.compress(body, 1) if packs else body
        return web.Response(body=self._pages[key], headers=headers)


async def serve(directory: Path, count: int) -> None:
    """Serve until a signal."""
    site = RegionSite(directory)
    pair = site.root.sign("server", names=[SERVER_NAME])
    app = web.Application()
    app.router.add_get("/v1/nodes", NodeList(count).answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=site._context(pair)).start()
    (directory / "cli-key.pem").write_text(site.client.key_pem)
    partial = directory / "url.partial"
    partial.write_text(f"https://127.0.0.1:{runner.addresses[0][1]}")
    partial.rename(directory / "url")
    await stop_on_signals().wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
