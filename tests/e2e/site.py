"""A site for the end-to-end tests: a mirror with releases, an inventory of real hosts, and ionetctl run against it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.e2e.machines import GATEWAY, USER
from tests.e2e.real_region import Address, RealRegion, device_plugin_binary, nomad_binary
from tests.e2e.standin_nomad import build
from tests.e2e.standin_region import StandInRegion
from tests.rehearsal.site import Running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.e2e.machines import Fleet, Machine

NOMAD_VERSION: Final = "2.0.5"
PLUGIN_VERSION: Final = "1.1.0"
ON_OVERLAYS: Final = {
    "root_overlay": {"severity": "waived", "reason": "the hosts' overlays stay as long as they do"}
}


def write_release(mirror: Path, name: str, version: str, program: Path) -> None:
    """A release with one program, laid out as on the vendor's site."""
    folder = mirror / name / version
    folder.mkdir(parents=True)
    archive = folder / f"{name}_{version}_linux_amd64.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as release:
        release.write(program, name)
        release.writestr("LICENSE.txt", "see the vendor\n")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (folder / f"{name}_{version}_SHA256SUMS").write_text(f"{digest}  {archive.name}\n")


@dataclass(frozen=True, slots=True)
class Finished:
    """One run of ionetctl."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.stdout)

    @property
    def outcomes(self) -> dict[str, str]:
        """Each host's outcome."""
        return {host["name"]: host["outcome"] for host in self.document["hosts"]}

    @property
    def codes(self) -> dict[str, str]:
        """The error codes of the hosts that have one."""
        return {host["name"]: host["error"]["code"] for host in self.document["hosts"] if host["error"]}


@dataclass(slots=True)
class Site:
    """Real hosts and their region; ``gpus`` is what the inventory promises of every host.

    ``nomad`` and ``issuer`` are added to those sections of the inventory.
    """

    fleet: Fleet
    region: RealRegion | StandInRegion
    directory: Path
    gpus: Mapping[str, Any] = field(default_factory=lambda: {"count": 0})
    nomad: Mapping[str, Any] = field(default_factory=dict)
    issuer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        """The inventory file."""
        return self.directory / "inventory.yaml"

    def write(self, machines: Iterable[Machine], **host_fields: Any) -> None:
        """Write the inventory of some machines; JSON is YAML."""
        pki = self.region.directory
        document = {
            "version": 1,
            "datacenter": "rey1",
            "regions": {
                self.region.name: {
                    "api": [self.region.api],
                    "servers": [self.region.rpc],
                    "token": {"file": str(pki / "token")},
                    "tls": {
                        "ca": str(pki / "ca.pem"),
                        "client": {"cert": str(pki / "cli.pem"), "key": {"file": str(pki / "cli-key.pem")}},
                        "issuer": {
                            "cert": str(pki / "ca.pem"),
                            "key": {"file": str(pki / "ca-key.pem")},
                            **self.issuer,
                        },
                    },
                }
            },
            "nomad": {
                "version": NOMAD_VERSION,
                "device_plugin_version": PLUGIN_VERSION,
                "mirror": str(self.directory / "mirror"),
                "own_builds": True,
                **self.nomad,
            },
            "defaults": {
                "region": self.region.name,
                "node_pool": "gpu",
                "gpus": dict(self.gpus),
                "ssh": {"user": USER, "identity": str(self.fleet.identity)},
                **host_fields,
                "checks": {**ON_OVERLAYS, **host_fields.get("checks", {})},
            },
            "hosts": [
                {"name": machine.name, "address": machine.address, "ssh": {"host_key": machine.host_key}}
                for machine in machines
            ],
        }
        self.inventory.write_text(json.dumps(document, indent=1))

    def change(self, **fields: Any) -> None:
        """Set fields of the inventory as a whole."""
        self.inventory.write_text(json.dumps({**json.loads(self.inventory.read_text()), **fields}, indent=1))

    def environment(self) -> dict[str, str]:
        """A user's environment with state, cache and home of its own."""
        places = {"HOME": "home", "IONETCTL_STATE_DIR": "state", "IONETCTL_CACHE_DIR": "cache"}
        for place in places.values():
            (self.directory / place).mkdir(exist_ok=True)
        own = {name: str(self.directory / place) for name, place in places.items()}
        return {"PATH": os.environ["PATH"], "TERM": "dumb", **own}

    def argv(self, *arguments: str) -> list[str]:
        """The command line of ionetctl with this interpreter."""
        return [sys.executable, "-m", "ionetctl", *arguments]

    def run(self, *arguments: str, timeout_s: float = 300.0) -> Finished:
        """Run ionetctl beside the hosts."""
        done = self.fleet.run_controller(self.argv(*arguments), self.environment(), timeout_s)
        return Finished(done.returncode, done.stdout, done.stderr)

    def enroll(self, *options: str) -> Finished:
        """``enroll`` as a CI would call it."""
        return self.run("enroll", str(self.inventory), "--yes", "-o", "json", *options)

    def start_enroll(self, *options: str) -> Running:
        """``enroll``, left running, with its events streamed."""
        argv = self.argv("enroll", str(self.inventory), "--yes", "-o", "ndjson", *options)
        process = subprocess.Popen(
            self.fleet.controller_argv(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            encoding="utf-8",
        )
        return Running(process)


@contextmanager
def site_of(fleet: Fleet, directory: Path) -> Iterator[Site]:
    """The hosts and a region for them, a real one where there is a real Nomad, with a mirror of what it needs."""
    program = nomad_binary()
    release = Path(program) if program else build(NOMAD_VERSION, directory / "nomad")
    write_release(directory / "mirror", "nomad", NOMAD_VERSION, release)
    plugin = Path(device_plugin_binary() or directory / "no-plugin")
    if not plugin.exists():
        plugin.write_text("#!/bin/sh\n")
    write_release(directory / "mirror", "nomad-device-nvidia", PLUGIN_VERSION, plugin)
    address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
    region: RealRegion | StandInRegion = (
        RealRegion(program, directory / "region", address)
        if program
        else StandInRegion(directory / "region", address)
    )
    with region:
        yield Site(fleet, region, directory)
