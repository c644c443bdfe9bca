"""A region's API as a test asks it by hand: through curl, from where the hosts can be reached too."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RegionApi:
    """``pki`` holds CA, client pair and token; ``prefix`` is the command that leads into the network namespace."""

    host: str
    port: int
    server_name: str
    pki: Path
    prefix: tuple[str, ...]

    def call(self, method: str, path: str) -> Any:
        """The decoded answer; raises ``RuntimeError`` for any status but 200."""
        options = {
            "--max-time": "10",
            "--request": method,
            "--header": "@-",
            "--write-out": "\n%{http_code}",
            "--cacert": f"{self.pki}/ca.pem",
            "--cert": f"{self.pki}/cli.pem",
            "--key": f"{self.pki}/cli-key.pem",
            "--resolve": f"{self.server_name}:{self.port}:{self.host}",
        }
        flags = [word for option in options.items() for word in option]
        argv = [*self.prefix, "curl", "-sS", *flags, f"https://{self.server_name}:{self.port}{path}"]
        token = (self.pki / "token").read_text().strip()
        done = subprocess.run(
            argv, input=f"X-Nomad-Token: {token}\n", capture_output=True, text=True, timeout=20, check=True
        )
        text, _, status = done.stdout.rpartition("\n")
        if status != "200":
            raise RuntimeError(f"{method} {path}: {status} {text[:200]}")
        return json.loads(text)

    def purge_nodes(self) -> None:
        """Forget every node, as after their hosts were installed anew; their agents must have been stopped."""
        for node in self.call("GET", "/v1/nodes"):
            self.call("POST", f"/v1/node/{node['ID']}/purge")
