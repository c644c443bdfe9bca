"""``ionetctl trust scan`` from outside, against SSH servers of this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncssh
import pytest

from tests.ssh.servers import Behaviour, public, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import RunIonetctl

SITE = """version: 1
datacenter: dc1
regions:
  eu:
    api: [https://nomad.example:4646]
    servers: [nomad.example:4647]
    token: {{env: TOKEN}}
    tls: {{ca: ca.pem, issuer: {{cert: ca.pem, key: {{file: ca-key.pem}}}}}}
nomad: {{version: 2.0.5, device_plugin_version: 1.1.0}}
defaults: {{region: eu}}
hosts:
  - {{name: "rig-[1-2]", address: 127.0.0.1, ssh: {{port: "{ports}"}}}}
"""


async def test_pins_of_a_scan_are_read_by_the_inventory(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """What was written can be pasted; a second scan knows the hosts, and a file is not replaced unasked."""
    keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]
    async with serve(Behaviour(), keys[0]) as one, serve(Behaviour(), keys[1]) as two:
        text = SITE.format(ports=f"[{one.port},{two.port}]")
        site, out = write("site.yaml", text), tmp_path / "pins.yaml"
        wanted = ("trust", "scan", site, "--out", str(out))
        first = await asyncio.to_thread(ionetctl, *wanted, "-o", "json")
        assert (first.exit_code, first.document["summary"]["new"]) == (0, 2), first.stderr
        assert "warning  These keys are those of whatever answered." in first.stderr
        again = await asyncio.to_thread(ionetctl, *wanted)
        forced = await asyncio.to_thread(ionetctl, *wanted, "--force")
        assert (again.exit_code, "exists already" in again.stderr, forced.exit_code) == (2, True, 0)
        pinned = write("pinned.yaml", text + out.read_text())
        second = await asyncio.to_thread(ionetctl, "trust", "scan", pinned, "-o", "json")
    assert [host["standing"] for host in second.document["hosts"]] == ["pinned", "pinned"]
    assert [host["key"] for host in second.document["hosts"]] == [public(key) for key in keys]
    assert "warning" not in second.stderr


async def test_cloned_hosts_and_missing_ones(ionetctl: RunIonetctl, write: Callable[[str, str], str]) -> None:
    """Two hosts with one key end with 6 and get no pins; --limit looks at one of them alone."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with serve(Behaviour(), key) as one, serve(Behaviour(), key) as two:
        site = write("site.yaml", SITE.format(ports=f"[{one.port},{two.port}]"))
        both = await asyncio.to_thread(ionetctl, "trust", "scan", site)
        alone = await asyncio.to_thread(ionetctl, "trust", "scan", site, "--limit", "rig-2")
    assert (both.exit_code, both.stdout.splitlines()[-1]) == (6, "pins: {}")
    assert "one host key on rig-[1-2]: a cloned image" in both.stderr
    assert (alone.exit_code, f'"rig-2": {public(key)}' in alone.stdout) == (0, True)
    gone = await asyncio.to_thread(ionetctl, "trust", "scan", site, "-o", "json", "--limit", "rig-1")
    assert (gone.exit_code, gone.document["hosts"][0]["error"]["code"]) == (4, "connect_refused")


@pytest.mark.parametrize("out", ["", "missing/pins.yaml"])
def test_out_that_cannot_be_written(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], tmp_path: Path, out: str
) -> None:
    """Found before any host is asked."""
    site = write("site.yaml", SITE.format(ports="[1-2]"))
    ended = ionetctl("trust", "scan", site, "--out", str(tmp_path / out), "--force", "-o", "json")
    document = ended.document
    assert (ended.exit_code, document["schema"], document["error"]["code"]) == (
        2,
        "ionetctl.trust-scan/1",
        "out_unwritable",
    )
