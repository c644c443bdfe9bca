"""A real Nomad server as a region of its own: ACL on, mTLS, introductions enforced. Never part of the product.

The program is taken from PATH or IONETCTL_TEST_NOMAD; where there is none, the tests that need it are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from ionetctl.lab.certificates import issue, new_authority

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START_TIMEOUT_S: Final = 60.0
POLICY: Final = 'node { policy = "write" }\nagent { policy = "read" }\nnode_pool "*" { policy = "read" }\n'


def nomad_binary() -> str | None:
    """The real Nomad to test with, or ``None``."""
    return os.environ.get("IONETCTL_TEST_NOMAD") or shutil.which("nomad")


def device_plugin_binary() -> str | None:
    """The real device plugin to test with, or ``None``."""
    return os.environ.get("IONETCTL_TEST_DEVICE_PLUGIN") or shutil.which("nomad-device-nvidia")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens; ``prefix`` is the command that gets there (``ip netns exec …``), or empty."""

    host: str
    http_port: int = 4646
    rpc_port: int = 4647
    serf_port: int = 4648
    prefix: tuple[str, ...] = ()


class RealRegion:
    """One Nomad server; a context manager. ``token`` has just the rights that ionetctl's documentation asks for."""

    def __init__(
        self,
        program: str,
        directory: Path,
        address: Address,
        *,
        name: str = "eu-north",
        enforcement: str = "strict",
    ) -> None:
        self.name = name
        self.directory = directory
        self.address = address
        self.api = f"https://{address.host}:{address.http_port}"
        self.rpc = f"{address.host}:{address.rpc_port}"
        self.management_token = ""
        self.token = ""
        self._program = program
        self._enforcement = enforcement
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

    def start(self) -> None:
        """Start the server."""
        log = (self.directory / "server.log").open("ab")
        argv = [*self.address.prefix, self._program, "agent", "-config", str(self.directory / "server.json")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def stop(self) -> None:
        """End the server."""
        if self._process is not None:
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
            "advertise": dict.fromkeys(("http", "rpc", "serf"), self.address.host),
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
                "verify_https_client": True,
            },
        }

    def _bootstrap(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.management_token:
            try:
                self.management_token = self.call("POST", "/v1/acl/bootstrap")["SecretID"]
            except (OSError, RuntimeError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
        self.call("POST", "/v1/acl/policy/ionetctl", {"Name": "ionetctl", "Rules": POLICY})
        token = {"Name": "ionetctl", "Type": "client", "Policies": ["ionetctl"]}
        self.token = self.call("POST", "/v1/acl/token", token)["SecretID"]
        self.call("POST", "/v1/node/pools", {"Name": "gpu"})
        token_path = self.directory / "token"
        token_path.touch(mode=0o600)
        token_path.write_text(self.token)

    def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
        """A call of the API with the management token; raises ``RuntimeError`` with status and text."""
        data = None if body is None else json.dumps(body).encode()
        if self.address.prefix:
            return self._call_by_curl(method, path, data, token)
        request = urllib.request.Request(self.api + path, data=data, method=method)
        request.add_header("X-Nomad-Token", self.management_token if token is None else token)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._tls()) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code}: {error.read()[:200]!r}") from error

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "ca.pem"))
        context.load_cert_chain(self.directory / "cli.pem", self.directory / "cli-key.pem")
        context.check_hostname = False
        return context

    def _call_by_curl(self, method: str, path: str, data: bytes | None, token: str | None) -> Any:
        """The same from inside another network namespace."""
        place = self.directory
        headers = f"X-Nomad-Token: {self.management_token if token is None else token}\n"
        argv = [
            *self.address.prefix,
            "curl",
            "-sS",
            "--max-time",
            "10",
            "-X",
            method,
            "-H",
            "@-",
            "-w",
            "\n%{http_code}",
        ]
        argv += [
            "--cacert",
            f"{place}/ca.pem",
            "--cert",
            f"{place}/cli.pem",
            "--key",
            f"{place}/cli-key.pem",
            "-k",
        ]
        argv += [] if data is None else ["--data-binary", data.decode()]
        done = subprocess.run(
            [*argv, self.api + path], input=headers, capture_output=True, text=True, timeout=20, check=False
        )
        if done.returncode != 0:
            raise OSError(done.stderr.strip())
        text, _, status = done.stdout.rpartition("\n")
        if not status.startswith("2"):
            raise RuntimeError(f"{status}: {text[:200]}")
        return json.loads(text or "null")

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
            "NOMAD_TLS_SERVER_NAME": f"server.{self.name}.nomad",
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
