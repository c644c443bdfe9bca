"""A region in the test process, and hosts whose agents register with it, for the tests of the lab."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from ionetctl.lab import certificates
from ionetctl.lab.agent.agent import Agent
from ionetctl.lab.host.file_tree import build_tree
from ionetctl.lab.host.machine import sound_machine
from ionetctl.lab.host.nvidia_driver import GPU_MODELS, Gpu, make_gpus
from ionetctl.lab.region.api.access import Regions
from ionetctl.lab.region.api.application import Api
from ionetctl.lab.region.rpc_server import RpcServer, server_context
from ionetctl.lab.region.state.region_state import RegionState, Right

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

DEADLINE_S = 10.0
RIGHTS: tuple[Right, ...] = (
    "node:write",
    "agent:read",
    "node_pool:read",
    "list-jobs",
    "read-job",
    "submit-job",
)


@dataclass
class RunningRegion:
    """A region that serves on loopback; ``token`` has the admin's rights."""

    state: RegionState
    api: Api
    rpc: RpcServer
    authority: certificates.Pair
    pki: Path
    api_url: str
    rpc_address: str
    token: str
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        """Send a request with the admin's token."""
        headers = {"X-Nomad-Token": self.token, **options.pop("headers", {})}
        response = await self.session.request(method, self.api_url + path, headers=headers, **options)
        await response.read()
        return response

    async def introduce(self, name: str, pool: str = "gpu") -> str:
        body = {"NodeName": name, "NodePool": pool, "TTL": "2m"}
        response = await self.call("POST", "/v1/acl/identity/client-introduction-token", json=body)
        return str((await response.json())["JWT"])


def write_pki(pki: Path, name: str) -> certificates.Pair:
    """A CA of the region, its server's pair and the admin's."""
    pki.mkdir(parents=True, exist_ok=True)
    return certificates.write_region_pki(pki, name)


@contextlib.asynccontextmanager
async def running_region(
    pki: Path, name: str = "eu-north", peers: Mapping[str, RegionState] | None = None, **settings: Any
) -> AsyncIterator[RunningRegion]:
    authority = write_pki(pki, name)
    state = RegionState(name, **settings)
    state.add_pool("gpu")
    token = state.add_token("ionetctl", RIGHTS)
    rpc = RpcServer(state)
    context = server_context(pki / "ca.pem", pki / "server.pem", pki / "server-key.pem")
    stack = contextlib.AsyncExitStack()
    rpc_port = await stack.enter_async_context(rpc.listening("127.0.0.1", 0, context))
    rpc_address = f"127.0.0.1:{rpc_port}"
    api = Api(Regions(state, dict(peers or {})), rpc_address)
    runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    connector = aiohttp.TCPConnector(ssl=client_context(pki), limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            yield RunningRegion(state, api, rpc, authority, pki, url, rpc_address, token, session)
    finally:
        await runner.cleanup()
        await stack.aclose()


def client_context(pki: Path) -> ssl.SSLContext:
    """The admin's TLS context, with the client certificate that the API requires."""
    context = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "cli.pem", pki / "cli-key.pem")
    return context


CONFIG = """\
name = "{name}"
region = "{region}"
datacenter = "lab1"
data_dir = "/opt/nomad/data"
plugin_dir = "/opt/nomad/plugins"
client {{
  enabled = true
  servers = ["{servers}"]
  node_pool = "{pool}"
  meta {{
    {meta}
  }}
}}
tls {{
  rpc = true
  http = true
  ca_file = "/etc/nomad.d/tls/ca.pem"
  cert_file = "/etc/nomad.d/tls/client.pem"
  key_file = "/etc/nomad.d/tls/client-key.pem"
  verify_server_hostname = true
}}
plugin "{plugin}" {{
  config {{
    enabled = true
  }}
}}
"""


@dataclass
class Rig:
    """A host's tree with all that an agent needs; tests spoil one part of it and start the agent."""

    tree: Path
    name: str
    region: RunningRegion
    log: list[str] = field(default_factory=list)
    agents: list[asyncio.Task[None]] = field(default_factory=list)

    def configure(self, **changes: str) -> None:
        """Write the client configuration: ``CONFIG`` with ``changes`` of its values."""
        values = {
            "name": self.name,
            "region": self.region.state.name,
            "servers": self.region.rpc_address,
            "pool": "gpu",
            "meta": 'rack = "a01"',
            "plugin": "nomad-device-nvidia",
            **changes,
        }
        folder = self.tree / "etc/nomad.d"
        (folder / "tls").mkdir(parents=True, exist_ok=True)
        (folder / "nomad.hcl").write_text(CONFIG.format(**values))

    def certify(self, authority: certificates.Pair, role: str = "client.eu-north.nomad") -> None:
        """Put the region's CA and a certificate of ``authority`` in place."""
        tls = self.tree / "etc/nomad.d/tls"
        tls.mkdir(parents=True, exist_ok=True)
        (tls / "ca.pem").write_bytes((self.region.pki / "ca.pem").read_bytes())
        certificates.issue(authority, role).write(tls / "client.pem", tls / "client-key.pem")

    def introduce(self, jwt: str) -> None:
        state = self.tree / "opt/nomad/data/client"
        state.mkdir(parents=True, exist_ok=True)
        (state / "intro_token.jwt").write_text(jwt)

    def install_plugin(self) -> None:
        program = self.tree / "opt/nomad/plugins/nomad-device-nvidia"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)

    def agent(self) -> Agent:
        """An agent that has been started and has not registered yet."""
        agent = Agent(self.tree, "127.0.0.1", "2.0.5", self.log.append)
        agent.start(("/etc/nomad.d",))
        return agent

    async def run_until(self, line: str) -> None:
        """Run a new agent until its log has ``line``, then end it."""
        agent = self.agent()
        await run_until(agent, self.log, line)


async def run_until(agent: Agent, log: list[str], line: str) -> None:
    """Run ``agent`` until ``line`` is in its log, for at most ``DEADLINE_S``."""
    seen = asyncio.Event()
    keep = agent.log

    def watch(text: str) -> None:
        keep(text)
        if line in text:
            seen.set()

    agent.log = watch
    task = asyncio.create_task(agent.run())
    try:
        await asyncio.wait_for(seen.wait(), DEADLINE_S)
    except TimeoutError:
        raise AssertionError(f"{line!r} is not in the log:\n" + "\n".join(log)) from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def new_rig(folder: Path, name: str, region: RunningRegion, gpus: tuple[Gpu, ...] | None = None) -> Rig:
    """A rig with the right CA, certificate and plugin, and without an introduction token."""
    shown = tuple(make_gpus(GPU_MODELS[0], name, 2)) if gpus is None else gpus
    build_tree(folder / name, sound_machine(name, cpu_cores=4, memory_gib=8, gpus=shown))
    rig = Rig(folder / name, name, region)
    rig.configure()
    rig.certify(region.authority)
    rig.install_plugin()
    return rig
