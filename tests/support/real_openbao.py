"""A real OpenBao on loopback, by https, with its storage in memory: ``kv2/`` and ``kv1/``, tokens of several rights. Never part of the product.

The program is taken from IONETCTL_TEST_OPENBAO alone; where that is not set, the tests that need it are skipped.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from tests.e2e.namespaces import ending_with_us
from tests.e2e.real_region import Address
from tests.support import pki

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT_S: Final = 60.0


def openbao_binary() -> str:
    """The real OpenBao to test with; skips the running test, or the tests of the running fixture, without it."""
    program = os.environ.get("IONETCTL_TEST_OPENBAO")
    if not program:
        pytest.skip("no IONETCTL_TEST_OPENBAO")
    return program


class RealOpenBao:
    """One server; a context manager. ``root`` is its first token."""

    def __init__(self, program: str, directory: Path) -> None:
        self.directory = directory
        self.port = Address.on_loopback().http_port
        self.address = f"https://127.0.0.1:{self.port}"
        self.root = ""
        self._key = ""
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        authority = pki.root("OpenBao's own CA")
        own = authority.sign("openbao", names=["127.0.0.1"])
        pki.write(self.directory / "bao-ca.pem", authority)
        pki.write(self.directory / "bao.pem", own)
        (self.directory / "bao-key.pem").write_text(own.key_pem)
        (self.directory / "bao.json").write_text(json.dumps(self._config()))
        argv = [*ending_with_us(), self._program, "server", f"-config={self.directory / 'bao.json'}"]
        with (self.directory / "bao.log").open("wb") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()  # nothing of it is to stay
        self._process.wait(timeout=20)

    def ask(
        self, method: str, path: str, body: object = None, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their names in lower case, and body of an answer; asks with the root token unless told otherwise."""
        context = ssl.create_default_context(cafile=str(self.directory / "bao-ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        sent = {"X-Vault-Request": "true", "X-Vault-Token": self.root if token is None else token}
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, f"/v1/{path}", content, {**sent, **headers})
            response = connection.getresponse()
            received = response.read()
        finally:
            connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, received

    def done(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The answer to a request that must succeed."""
        status, _, content = self.ask(method, path, body, **headers)
        assert status // 100 == 2, (path, status, content)
        return json.loads(content or b"null")

    def new_token(self, *policies: str, ttl: str = "1h", wrap_ttl: str = "") -> Any:
        """The answer to the creation of a token."""
        headers = {"X-Vault-Wrap-TTL": wrap_ttl} if wrap_ttl else {}
        return self.done("POST", "auth/token/create", {"policies": [*policies], "ttl": ttl}, **headers)

    def unseal(self) -> None:
        """Make it answer, after its start or a seal."""
        self.done("PUT", "sys/unseal", {"key": self._key})

    def environ(self) -> dict[str, str]:
        """What its users have in their environment, but for a token."""
        return {"BAO_ADDR": self.address, "BAO_CACERT": str(self.directory / "bao-ca.pem")}

    def _start(self) -> None:
        ends_at = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                keys = self.done("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
                break
            except OSError:
                assert time.monotonic() < ends_at, (self.directory / "bao.log").read_text()
                time.sleep(0.1)
        self.root, self._key = keys["root_token"], keys["keys"][0]
        self.unseal()

    def _config(self) -> dict[str, Any]:
        files = {"tls_cert_file": "bao.pem", "tls_key_file": "bao-key.pem"}
        tcp = {name: str(self.directory / file) for name, file in files.items()}
        return {
            "storage": {"inmem": {}},
            "listener": {"tcp": {"address": f"127.0.0.1:{self.port}", **tcp}},
            "api_addr": self.address,
            "log_level": "warn",
        }
