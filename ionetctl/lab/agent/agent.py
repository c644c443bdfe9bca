"""The Nomad agent's stand-in: it knows its host's files and nothing else, and presents to the region what lies there.

It opens a real TLS connection with the files its configuration names, registers, sends heartbeats, and logs its
failures in the words of the original, so that whoever reads the log can be tested against them.
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

from ionetctl.lab import line_socket
from ionetctl.lab.agent.config import RPC_PORT, AgentConfig, AgentConfigError, read_config
from ionetctl.lab.agent.fingerprint import Presence, node_document
from ionetctl.lab.agent.go_errors import go_words, reason_words
from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.lab.documents import Document
    from ionetctl.lab.line_socket import LineStream

Log = Callable[[str], None]

_DIAL_S: Final = 10.0
_RETRY_S: Final = (15.0, 25.0)
_HEARTBEAT_SHARE: Final = 0.8
"""When in a TTL the next heartbeat goes out."""


class AgentStartError(Exception):
    """The agent ends right away, with these words and exit status 1."""


class _RpcError(Exception):
    """A call failed; the texts are what the original logs, one line each."""

    def __init__(self, *texts: str) -> None:
        super().__init__(texts[0])
        self.texts = texts


@dataclass(slots=True)
class Agent:
    """One agent of one host, from its start to its end. ``can_reach`` is false where the host has no way out."""

    tree: Path
    address: str
    version: str
    log: Log = field(repr=False)
    can_reach: bool = True
    is_registered: bool = False
    config: AgentConfig = field(init=False, repr=False)
    _tls: ssl.SSLContext | None = field(init=False, default=None, repr=False)
    _node_id: str = field(init=False, default="")
    _secret_id: str = field(init=False, default="", repr=False)
    _introduction: str = field(init=False, default="", repr=False)
    _identity: str = field(init=False, default="", repr=False)
    _server: str = field(init=False, default="")
    _eligibility: str = field(init=False, default="")
    """As the servers last had it; a purged node comes back with it."""

    def start(self, places: tuple[str, ...]) -> None:
        """Read everything that is read at start only; raises ``AgentStartError`` where the original would exit."""
        try:
            self.config = read_config(self.tree, places, self.tree.name, self.version)
        except AgentConfigError as error:
            raise AgentStartError(f"==> {error}") from None
        self._tls = self._tls_context() if self.config.wants_tls else None
        state = locate(self.tree, self.config.state_dir)
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        self._node_id = _kept(state / "client-id")
        self._secret_id = _kept(state / "secret-id")
        self._introduction = _read(state / "intro_token.jwt").strip()
        saved = _read(state / "state.db")
        self._identity = json.loads(saved)["identity"] if saved else ""
        self.log("==> Nomad agent started! Log data will stream in below:")
        self._say("INFO", f"client: using state directory: state_dir={self.config.state_dir}")

    def _tls_context(self) -> ssl.SSLContext:
        ca, cert, key = (locate(self.tree, path) for path in self.config.tls_files)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # done by hand in _check_name: the log must name the names
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise AgentStartError(
                f"==> Error starting agent: Failed to load cert/key pair: {reason_words(error)}"
            ) from None
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise AgentStartError(
                f"==> Error starting agent: Failed to read CA file: {reason_words(error)}"
            ) from None
        return context

    async def run(self) -> None:
        """Register and stay registered, until cancelled."""
        while True:
            try:
                with contextlib.closing(await self._dial()) as stream:
                    await self._live(stream)
            except _RpcError as error:
                self._complain(error)
            await asyncio.sleep(random.uniform(*_RETRY_S))  # noqa: S311 - jitter

    async def _live(self, stream: LineStream) -> None:
        await self._register(stream)
        while True:
            ttl_s = await self._heartbeat(stream)
            await asyncio.sleep(ttl_s * _HEARTBEAT_SHARE)

    async def _register(self, stream: LineStream) -> None:
        when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        presence = Presence(self.tree, self._node_id, self.version, self.address, when)
        node = node_document(self.config, presence)
        request = {
            "node": node | {"SchedulingEligibility": self._eligibility or _default_eligibility(self.config)},
            "credential": self._identity or self._introduction,
        }
        answer = await self._call(stream, "Node.Register", request)
        self.is_registered = True
        self._identity = str(answer["identity"])
        state = locate(self.tree, self.config.state_dir)
        _write(state / "state.db", json.dumps({"identity": self._identity}))
        self._say("INFO", "client: node registration complete")

    async def _heartbeat(self, stream: LineStream) -> float:
        request = {"node_id": self._node_id, "credential": self._identity}
        try:
            answer = await self._call(stream, "Node.UpdateStatus", request)
        except _RpcError as error:
            if error.texts[0] != "node not found":
                raise
            await self._register(stream)
            answer = await self._call(stream, "Node.UpdateStatus", request)
        self._eligibility = str(answer["eligibility"])
        return float(answer["heartbeat_ttl_s"])

    async def _call(self, stream: LineStream, method: str, request: Document) -> Document:
        try:
            await stream.send({"method": method, "secret_id": self._secret_id, **request})
            answer = await stream.receive()
        except (OSError, ValueError) as error:
            raise _RpcError(*go_words(error, self._server)) from None
        if answer["error"] is not None:
            raise _RpcError(str(answer["error"]))
        result: Document = answer["result"]
        return result

    async def _dial(self) -> LineStream:
        failures: list[_RpcError] = []
        for server in random.sample(self.config.servers, len(self.config.servers)):
            self._server = server
            try:
                return await self._dial_one(server)
            except _RpcError as error:
                failures.append(error)
        raise failures[0] if failures else _RpcError("no servers available")

    async def _dial_one(self, server: str) -> LineStream:
        host, _, port = server.rpartition(":") if ":" in server else (server, "", str(RPC_PORT))
        name = f"server.{self.config.region}.nomad"
        if not self.can_reach:
            raise _RpcError(*go_words(OSError(errno.EHOSTUNREACH, "no route to host"), server))
        try:
            dialling = line_socket.dial(host, int(port), self.address, self._tls, name)
            stream = await asyncio.wait_for(dialling, _DIAL_S)
        except (OSError, ValueError) as error:
            raise _RpcError(*go_words(error, server)) from None
        try:
            await self._greet(stream, name)
        except BaseException:
            stream.close()
            raise
        return stream

    async def _greet(self, stream: LineStream, name: str) -> None:
        """Judge the server by its certificate, and hear how it judges ours."""
        names = line_socket.certificate_names(stream.certificate)
        if self._tls and self.config.tls.get("verify_server_hostname") and name not in names:
            valid_for = ", ".join(names) or "no name"
            message = (
                f"tls: failed to verify certificate: x509: certificate is valid for {valid_for}, not {name}"
            )
            raise _RpcError(message)
        try:
            greeting = await asyncio.wait_for(stream.receive(), _DIAL_S)
        except (OSError, ValueError) as error:
            raise _RpcError(*go_words(error, self._server)) from None
        if greeting["alert"]:
            raise _RpcError(f"remote error: tls: {greeting['alert']}", "write: broken pipe")

    def _complain(self, error: _RpcError) -> None:
        method = "Node.UpdateStatus" if self.is_registered else "Node.Register"
        self.is_registered = False
        for text in error.texts:
            detail = f'error="rpc error: {text}" rpc={method} server={self._server}'
            self._say("ERROR", f"client.rpc: error performing RPC to server: {detail}")
        what = "heartbeating. retrying" if method == "Node.UpdateStatus" else "registering"
        self._say("ERROR", f'client: error {what}: error="rpc error: {error.texts[0]}"')

    def _say(self, level: str, message: str) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        bracketed = f"[{level}]"
        self.log(f"    {when} {bracketed:7} {message}")


def _default_eligibility(config: AgentConfig) -> str:
    return "ineligible" if config.is_default_ineligible else "eligible"


def _kept(path: Path) -> str:
    """The id that lies there, made on the first start."""
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
