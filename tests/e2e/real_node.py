"""A real Nomad client on loopback, for a region there: enough to be a node, and to run programs of this machine."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Final, Self

from tests.e2e.namespaces import ending_with_us

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.real_region import RealRegion

DENYLIST: Final = "env_aws,env_gce,env_azure,env_digitalocean,consul,cni,bridge"

APART: Final = (
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
"""In namespaces of its own, with which its tasks and their mounts end."""


class RealNode:
    """One client of a region whose directory holds ``client.pem`` too; a context manager. Needs root."""

    def __init__(self, program: str, region: RealRegion, directory: Path, http_port: int) -> None:
        self._program = program
        self._region = region
        self._directory = directory
        self._http_port = http_port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        state = self._directory / "data/client"
        state.mkdir(parents=True)
        (state / "intro_token.jwt").write_text(self._region.introduce("rig-1"))
        config = self._directory / "client.json"
        config.write_text(json.dumps(self._config()))
        with (self._directory / "client.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*ending_with_us(), *APART, self._program, "agent", "-config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)

    def _config(self) -> dict[str, Any]:
        pki = self._region.directory
        return {
            "name": "rig-1",
            "region": self._region.name,
            "datacenter": "rey1",
            "data_dir": str(self._directory / "data"),
            "bind_addr": "127.0.0.1",
            "advertise": dict.fromkeys(("http", "rpc", "serf"), "127.0.0.1"),
            "ports": {"http": self._http_port},
            "disable_update_check": True,
            "server": {"enabled": False},
            "acl": {"enabled": True},
            "plugin": [{"raw_exec": [{"config": [{"enabled": True}]}]}],
            "consul": {"client_auto_join": False, "auto_advertise": False},
            "client": {
                "enabled": True,
                "default_ineligible": True,
                "servers": [self._region.rpc],
                "network_interface": "lo",
                "node_pool": "gpu",
                "meta": {"ionet_admission": "held"},
                "options": {"fingerprint.denylist": DENYLIST},
            },
            "tls": {
                "http": True,
                "rpc": True,
                "ca_file": str(pki / "ca.pem"),
                "cert_file": str(pki / "client.pem"),
                "key_file": str(pki / "client-key.pem"),
                "verify_server_hostname": True,
            },
        }
