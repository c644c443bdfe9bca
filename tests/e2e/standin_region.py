"""The rehearsal's region beside real hosts, for machines without a real Nomad. Looks like ``RealRegion`` from outside."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Self

from ionetctl.lab.certificates import write_private, write_region_pki
from ionetctl.lab.paths import LabPaths
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.real_region import Address

START_TIMEOUT_S: Final = 30.0


class StandInRegion:
    """The rehearsal's region process; a context manager."""

    def __init__(
        self, directory: Path, address: Address, *, name: str = "eu-north", enforcement: str = "strict"
    ) -> None:
        self.name = name
        self.directory = directory / "pki"
        self.api = f"https://{address.host}:{address.http_port}"
        self.rpc = f"{address.host}:{address.rpc_port}"
        self._paths = LabPaths(directory)
        self._address = address
        self._enforcement = enforcement
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._write()
        argv = [
            *self._address.prefix,
            sys.executable,
            "-m",
            "ionetctl.lab.region.process",
            str(self._paths.root),
        ]
        with self._paths.log("region").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(
            self._paths.ready("region").exists, "the stand-in region serves", timeout_s=START_TIMEOUT_S
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)

    def _write(self) -> None:
        self.directory.mkdir(parents=True)
        self._paths.run.mkdir()
        write_region_pki(self.directory, self.name)
        token = secrets.token_hex(16)
        for path in (self._paths.token, self.directory / "token"):
            write_private(path, token.encode())
        plan = {
            "region": self.name,
            "nomad_version": "2.0.5",
            "enforcement": self._enforcement,
            "node_pools": ["gpu"],
            "federated_regions": [],
            "address": self._address.host,
            "api_port": self._address.http_port,
            "rpc_port": self._address.rpc_port,
        }
        self._paths.plan("region").write_text(json.dumps(plan))

    def revoke_token(self) -> None:
        """Refuse every call, some time after this returns, as where the token is deleted."""
        self._paths.region_control.write_text(json.dumps({"api": "forbidden"}))

    def renew_token(self) -> None:
        """Answer calls again, some time after this returns."""
        self._paths.region_control.unlink(missing_ok=True)

    def node_status(self) -> str:
        """What this region would be asked by hand; the real one has a command line for it."""
        return f"the stand-in region at {self.api} ({ssl.OPENSSL_VERSION})"
