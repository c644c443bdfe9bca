"""The stand-in for a Nomad client agent: registers its host's node with the region, and keeps it registered.

Uses nothing but the files of its host: connects with the TLS files that its configuration names, registers, sends
heartbeats. Failures are logged with Nomad's messages, so that log diagnosis can be tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import random
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ionetctl.lab import rpc_stream
from ionetctl.lab.agent.config import RPC_PORT, AgentConfig, AgentConfigError, read_config
from ionetctl.lab.agent.config_schema import plugin_errors
from ionetctl.lab.agent.fingerprint import AgentContext, node_document
from ionetctl.lab.agent.go_errors import go_error_texts, tls_file_error
from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.lab.json_object import JsonObject
    from ionetctl.lab.rpc_stream import RpcStream

Log = Callable[[str], None]

_PLUGINS_REFUSED: Final = "==> Error starting agent: failed to create plugin loader: failed to initialize plugin loader: parsing plugin configurations failed"
_CONNECT_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = (15.0, 25.0)
"""The pause between attempts to register: least and most."""
HEARTBEAT_SHARE: Final = 0.8
"""The share of a heartbeat's TTL after which the next one is sent."""


class AgentStartError(Exception):
    """The agent exits with status 1 during its start; the text is what it prints."""


class RpcError(Exception):
    """A call failed; each of the texts is logged on a line of its own, as Nomad does."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts[0])
        self.texts = texts


@dataclass(slots=True)
class Registration:
    """What a registered agent sends its heartbeats with, and its node's eligibility as of the last one."""

    node_id: str
    secret_id: str = field(repr=False)
    identity: str = field(repr=False)
    eligibility: str


@dataclass(slots=True)
class Agent:
    """The agent of one host. ``has_route`` is false where every connection fails for lack of a route.

    ``eligibility`` is the node's as of the last heartbeat; a purged node registers with it again.
    """

    tree: Path
    address: str
    version: str
    log: Log = field(repr=False)
    has_route: bool = True
    eligibility: str = ""
    is_registered: bool = False
    config: AgentConfig = field(init=False, repr=False)
    _tls: ssl.SSLContext | None = field(init=False, default=None, repr=False)
    _node_id: str = field(init=False, default="")
    _secret_id: str = field(init=False, default="", repr=False)
    _introduction: str = field(init=False, default="", repr=False)
    _identity: str = field(init=False, default="", repr=False)
    _server: str = field(init=False, default="")

    def start(self, config_paths: tuple[str, ...]) -> None:
        """Read configuration, certificates and saved state; raises ``AgentStartError`` where Nomad would exit."""
        try:
            self.config = read_config(self.tree, config_paths, self.tree.name, self.version)
        except AgentConfigError as error:
            raise AgentStartError(f"==> {error}") from None
        if found := plugin_errors(self.config.plugins):
            raise AgentStartError(f"{_PLUGINS_REFUSED}: {found[0]}")
        self._tls = self._tls_context() if self.config.wants_tls else None
        state = locate(self.tree, self.config.state_dir)
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        self._node_id = _persistent_id(state / "client-id")
        self._secret_id = _persistent_id(state / "secret-id")
        self._introduction = _read(state / "intro_token.jwt").strip()
        saved = _read(state / "state.db")
        self._identity = json.loads(saved)["identity"] if saved else ""
        self.log("==> Nomad agent started! Log data will stream in below:")
        self._log_at("INFO", f"client: using state directory: state_dir={self.config.state_dir}")

    def _tls_context(self) -> ssl.SSLContext:
        ca, cert, key = (locate(self.tree, path) for path in self.config.tls_files)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # _check_server compares names itself: the log has to list them
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise AgentStartError(
                f"==> Error starting agent: Failed to load cert/key pair: {tls_file_error(error)}"
            ) from None
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise AgentStartError(
                f"==> Error starting agent: Failed to read CA file: {tls_file_error(error)}"
            ) from None
        return context

    @property
    def registration(self) -> Registration:
        """The agent's registration, as of its last call."""
        return Registration(self._node_id, self._secret_id, self._identity, self.eligibility)

    async def run(self) -> None:
        """Register and send heartbeats, and start over after every failure, until cancelled."""
        while True:
            try:
                with contextlib.closing(await self.connect()) as stream:
                    await self._stay_registered(stream)
            except RpcError as error:
                self.log_failure(error)
            await pause_before_retry()

    async def _stay_registered(self, stream: RpcStream) -> None:
        await self._register(stream)
        while True:
            delay_s = await self.heartbeat(stream)
            await asyncio.sleep(delay_s)

    async def register(self) -> float:
        """Register, and start over after every failure; returns the seconds until the next heartbeat, without a connection."""
        while True:
            try:
                with contextlib.closing(await self.connect()) as stream:
                    await self._register(stream)
                    return await self.heartbeat(stream)
            except RpcError as error:
                self.log_failure(error)
            await pause_before_retry()

    async def _register(self, stream: RpcStream) -> None:
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        context = AgentContext(self.tree, self._node_id, self.version, self.address, when)
        node = node_document(self.config, context)
        request = {
            "node": node | {"SchedulingEligibility": self.eligibility or _default_eligibility(self.config)},
            "credential": self._identity or self._introduction,
        }
        answer = await self._call(stream, "Node.Register", request)
        self.is_registered = True
        self._identity = str(answer["identity"])
        state = locate(self.tree, self.config.state_dir)
        _write(state / "state.db", json.dumps({"identity": self._identity}))
        self._log_at("INFO", "client: node registration complete")

    async def heartbeat(self, stream: RpcStream) -> float:
        """Send one heartbeat, register again where the region does not know the node; returns the seconds until the next.

        Raises ``RpcError``.
        """
        request = {"node_id": self._node_id, "credential": self._identity}
        try:
            answer = await self._call(stream, "Node.UpdateStatus", request)
        except RpcError as error:
            if error.texts[0] != "node not found":
                raise
            await self._register(stream)
            answer = await self._call(stream, "Node.UpdateStatus", request)
        self.eligibility = str(answer["eligibility"])
        return float(answer["heartbeat_ttl_s"]) * HEARTBEAT_SHARE

    async def ask(self, method: str, **request: str) -> JsonObject:
        """A server's answer to a call about this node, over a connection of its own. Raises ``RpcError``."""
        named = {"node_id": self._node_id, "credential": self._identity, **request}
        with contextlib.closing(await self.connect()) as stream:
            return await self._call(stream, method, named)

    async def _call(self, stream: RpcStream, method: str, request: JsonObject) -> JsonObject:
        try:
            await stream.send({"method": method, "secret_id": self._secret_id, **request})
            answer = await stream.receive()
        except (OSError, ValueError) as error:
            raise RpcError(*go_error_texts(error, self._server)) from None
        if answer["error"] is not None:
            raise RpcError(str(answer["error"]))
        result: JsonObject = answer["result"]
        return result

    async def connect(self) -> RpcStream:
        """A connection to one of the servers that accepts our certificate; raises ``RpcError``."""
        failures: list[RpcError] = []
        for server in random.sample(self.config.servers, len(self.config.servers)):
            self._server = server
            try:
                return await self._connect_to(server)
            except RpcError as error:
                failures.append(error)
        raise failures[0] if failures else RpcError("no servers available")

    async def _connect_to(self, server: str) -> RpcStream:
        host, _, port = server.rpartition(":") if ":" in server else (server, "", str(RPC_PORT))
        name = f"server.{self.config.region}.nomad"
        if not self.has_route:
            raise RpcError(*go_error_texts(OSError(errno.EHOSTUNREACH, "no route to host"), server))
        try:
            connecting = rpc_stream.connect(host, int(port), self.address, self._tls, name)
            stream = await asyncio.wait_for(connecting, _CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise RpcError(*go_error_texts(error, server)) from None
        try:
            await self._check_server(stream, name)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _check_server(self, stream: RpcStream, name: str) -> None:
        """Check the server's certificate, then read whether it accepts ours; raises ``RpcError`` otherwise."""
        names = rpc_stream.certificate_names(stream.certificate)
        if self._tls and self.config.tls.get("verify_server_hostname") and name not in names:
            valid_for = ", ".join(names) or "no name"
            message = (
                f"tls: failed to verify certificate: x509: certificate is valid for {valid_for}, not {name}"
            )
            raise RpcError(message)
        try:
            verdict = await asyncio.wait_for(stream.receive(), _CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise RpcError(*go_error_texts(error, self._server)) from None
        if verdict["alert"]:
            raise RpcError(f"remote error: tls: {verdict['alert']}", "write: broken pipe")

    def log_failure(self, error: RpcError) -> None:
        """Log a failed call as Nomad does."""
        method = "Node.UpdateStatus" if self.is_registered else "Node.Register"
        self.is_registered = False
        for text in error.texts:
            detail = f'error="rpc error: {text}" rpc={method} server={self._server}'
            self._log_at("ERROR", f"client.rpc: error performing RPC to server: {detail}")
        what = "heartbeating. retrying" if method == "Node.UpdateStatus" else "registering"
        self._log_at("ERROR", f'client: error {what}: error="rpc error: {error.texts[0]}"')

    def _log_at(self, level: str, message: str) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        bracketed = f"[{level}]"
        self.log(f"    {when} {bracketed:7} {message}")


async def pause_before_retry() -> None:
    """Wait as long as an agent does between attempts to register."""
    await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311 - jitter


def _default_eligibility(config: AgentConfig) -> str:
    return "ineligible" if config.is_default_ineligible else "eligible"


def _persistent_id(path: Path) -> str:
    """The id in this file, which is written on the first start."""
    if not _read(path).strip():
        _write(path, str(uuid.uuid4()))
    return _read(path).strip()


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.rename(path)
