"""A real Nomad server as a region of its own: ACL on, mTLS, introductions enforced. Never part of the product.

The program is taken from PATH or IONETCTL_TEST_NOMAD; where there is none, the tests that need it are skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from ionetctl.lab.certificates import issue, new_authority, write_private
from tests.e2e.namespaces import connect, ending_with_us, inside
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

START_TIMEOUT_S: Final = 60.0
CALL_TIMEOUT_S: Final = 10.0
INTRODUCTION: Final = "/v1/acl/identity/client-introduction-token"
POLICY: Final = 'node { policy = "write" }\nagent { policy = "read" }\nnode_pool "*" { policy = "read" }\n'
"""The rights that ionetctl's documentation asks for, and no others."""


def nomad_binary() -> str | None:
    """The real Nomad to test with, or ``None``."""
    return os.environ.get("IONETCTL_TEST_NOMAD") or shutil.which("nomad")


def device_plugin_binary() -> str | None:
    """The real device plugin to test with, or ``None``."""
    return os.environ.get("IONETCTL_TEST_DEVICE_PLUGIN") or shutil.which("nomad-device-nvidia")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens; ``prefix`` is the command that gets there (``ip netns exec NAMESPACE``), or empty."""

    host: str
    http_port: int = 4646
    rpc_port: int = 4647
    serf_port: int = 4648
    prefix: tuple[str, ...] = ()

    @classmethod
    def in_namespace(cls, host: str, namespace: str) -> Self:
        """``host`` inside a network namespace, with Nomad's usual ports."""
        return cls(host, prefix=tuple(inside(namespace)))

    @classmethod
    def on_loopback(cls) -> Self:
        """This machine's loopback, with ports that are free now."""
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        return cls("127.0.0.1", *ports)

    @property
    def namespace(self) -> str | None:
        """The network namespace that ``prefix`` enters."""
        return self.prefix[-1] if self.prefix else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON, ``None`` when it is empty."""
        return json.loads(self.body or b"null")


class RealRegion:
    """One Nomad server; a context manager.

    ``directory`` then holds ``ca.pem`` and ``ca-key.pem`` (the issuer), ``cli.pem`` and ``cli-key.pem`` (the admin's
    pair), ``token`` and ``server.log``. ``token`` has just the rights that ionetctl's documentation asks for.
    """

    def __init__(
        self,
        program: str,
        directory: Path,
        address: Address,
        *,
        name: str = "eu-north",
        enforcement: str = "strict",
        verify_https_client: bool = True,
    ) -> None:
        self.name = name
        self.directory = directory
        self.address = address
        self.api = f"https://{address.host}:{address.http_port}"
        self.rpc = f"{address.host}:{address.rpc_port}"
        self.server_name = f"server.{name}.nomad"
        self.management_token = ""
        self.token = ""
        self._program = program
        self._enforcement = enforcement
        self._verify_https_client = verify_https_client
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_pki()
        (self.directory / "server.json").write_text(json.dumps(self._config()))
        self.start()
        try:
            self._bootstrap()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The server

    def start(self) -> None:
        """Start the server. To be called from the main thread."""
        config = str(self.directory / "server.json")
        argv = [*ending_with_us(), *self.address.prefix, self._program, "agent", "-config", config]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> None:
        """End the server; what it knows stays, and ``start`` goes on with it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=20)
        self._process = None

    def _write_pki(self) -> None:
        authority = new_authority(f"{self.name} test CA")
        authority.write(self.directory / "ca.pem", self.directory / "ca-key.pem")
        for role in ("server", "cli"):
            pair = issue(authority, f"{role}.{self.name}.nomad")
            pair.write(self.directory / f"{role}.pem", self.directory / f"{role}-key.pem")

    def _config(self) -> dict[str, Any]:
        place = str(self.directory)
        return {
            "name": f"server-{self.name}",
            "region": self.name,
            "datacenter": "control",
            "data_dir": f"{place}/data",
            "bind_addr": self.address.host,
            "ports": {
                "http": self.address.http_port,
                "rpc": self.address.rpc_port,
                "serf": self.address.serf_port,
            },
            "disable_update_check": True,
            "server": {
                "enabled": True,
                "bootstrap_expect": 1,
                "client_introduction": {"enforcement": self._enforcement},
            },
            "client": {"enabled": False},
            "acl": {"enabled": True},
            "tls": {
                "http": True,
                "rpc": True,
                "ca_file": f"{place}/ca.pem",
                "cert_file": f"{place}/server.pem",
                "key_file": f"{place}/server-key.pem",
                "verify_server_hostname": True,
                "verify_https_client": self._verify_https_client,
            },
        }

    def _bootstrap(self) -> None:
        wait_until(self._is_led, f"a leader; see {self.directory}/server.log", timeout_s=START_TIMEOUT_S)
        self.management_token = self.call("POST", "/v1/acl/bootstrap")["SecretID"]
        self.call("POST", "/v1/acl/policy/ionetctl", {"Name": "ionetctl", "Rules": POLICY})
        self.renew_token()
        self.call("POST", "/v1/node/pools", {"Name": "gpu"})
        wait_until(self._can_sign, "the server's keyring", timeout_s=START_TIMEOUT_S)

    def _is_led(self) -> bool:
        """Whether the server runs and has elected itself; raises ``RuntimeError`` once it has ended."""
        if self._process is not None and self._process.poll() is not None:
            words = (self.directory / "server.log").read_text()[-800:]
            raise RuntimeError(f"the server ended with {self._process.returncode}: {words}")
        return self.answers("/v1/status/leader")

    def _can_sign(self) -> bool:
        """Whether introduction tokens can be had: a new leader makes its keyring some time after it answers calls."""
        return self.request("POST", INTRODUCTION, {"NodeName": "nobody"}).status == http.client.OK

    # Its API

    def answers(self, path: str, token: str | None = None) -> bool:
        """Whether a GET succeeds now; a server that starts is silent first, and has no leader then."""
        try:
            return self.request("GET", path, token=token).status == http.client.OK
        except OSError:
            return False

    def request(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Answer:
        """The API's answer to one call, whatever its status; ``token`` is the management token by default."""
        headers = {"X-Nomad-Token": self.management_token if token is None else token}
        data = None if body is None else json.dumps(body).encode()
        connection = _Connection(self.address, self._tls(), self.server_name)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """The document that a call answers; raises ``RuntimeError`` with status and text when it is refused."""
        answer = self.request(method, path, body, token=token)
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status}: {answer.body[:200]!r}")
        return answer.document

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        context.load_cert_chain(self.directory / "cli.pem", self.directory / "cli-key.pem")
        return context

    def new_token(self, *policies: str) -> str:
        """A new client token of these policies."""
        body = {"Name": "-".join(policies), "Type": "client", "Policies": list(policies)}
        return str(self.call("POST", "/v1/acl/token", body)["SecretID"])

    def renew_token(self) -> None:
        """Give the admin a new token."""
        self.token = self.new_token("ionetctl")
        write_private(self.directory / "token", self.token.encode())

    def revoke_token(self) -> None:
        """Delete the admin's token; every later call with it is refused."""
        accessor = self.call("GET", "/v1/acl/token/self", token=self.token)["AccessorID"]
        self.call("DELETE", f"/v1/acl/token/{accessor}")

    def introduce(self, node_name: str, node_pool: str = "gpu", ttl: str = "2m") -> str:
        """An introduction token for a node."""
        body = {"NodeName": node_name, "NodePool": node_pool, "TTL": ttl}
        return str(self.call("POST", INTRODUCTION, body)["JWT"])

    def nodes(self) -> list[dict[str, Any]]:
        """The stubs of all nodes, with their devices."""
        stubs: list[dict[str, Any]] = self.call("GET", "/v1/nodes?resources=true")
        return stubs

    def node_status(self) -> str:
        """What Nomad's own command line prints of the nodes."""
        return self._command(["node", "status", "-verbose"])

    def _command(self, argv: Sequence[str]) -> str:
        place = str(self.directory)
        env = {
            **os.environ,
            "NOMAD_ADDR": self.api,
            "NOMAD_TOKEN": self.management_token,
            "NOMAD_CACERT": f"{place}/ca.pem",
            "NOMAD_CLIENT_CERT": f"{place}/cli.pem",
            "NOMAD_CLIENT_KEY": f"{place}/cli-key.pem",
            "NOMAD_TLS_SERVER_NAME": self.server_name,
        }
        done = subprocess.run(
            [*self.address.prefix, self._program, *argv],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout


class _Connection(http.client.HTTPSConnection):
    """A connection to an API that may listen in another network namespace, and bears a name of its own."""

    def __init__(self, address: Address, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(address.host, address.http_port, timeout=CALL_TIMEOUT_S, context=context)
        self._address = address
        self._tls = context
        self._server_name = server_name

    def connect(self) -> None:
        """Connect and prove the server's name."""
        plain = connect(self._address.namespace, self.host, self.port, CALL_TIMEOUT_S)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._server_name)
