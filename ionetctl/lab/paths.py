"""The paths of a rehearsal's files below its directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The paths below one rehearsal's directory ``root``."""

    root: Path

    @property
    def inventory(self) -> Path:
        """The inventory of all hosts."""
        return self.root / "inventory.yaml"

    @property
    def token(self) -> Path:
        """The ACL token for the inventory (mode 0600)."""
        return self.root / "token"

    @property
    def identity(self) -> Path:
        """The SSH key of user ``miner`` (mode 0600)."""
        return self.root / "id_ed25519"

    @property
    def pki(self) -> Path:
        """The region's CA, and certificates with their keys."""
        return self.root / "pki"

    @property
    def artifacts(self) -> Path:
        """A mirror of releases, with the layout of the vendor's site."""
        return self.root / "artifacts"

    @property
    def programs(self) -> Path:
        """Stand-ins for programs of the hosts (see ``host.programs``)."""
        return self.root / "bin"

    @property
    def hosts(self) -> Path:
        """A file tree for each host."""
        return self.root / "hosts"

    @property
    def run(self) -> Path:
        """Plans, pid files, ready files and logs of the processes."""
        return self.root / "run"

    @property
    def faults(self) -> Path:
        """JSON: host → fault."""
        return self.root / "faults.json"

    @property
    def region_control(self) -> Path:
        """The failures that the region is to show; read while it runs (see ``region.process``)."""
        return self.run / "region-control.json"

    def plan(self, process: str) -> Path:
        """The JSON document that a process is configured by."""
        return self.run / f"{process}.json"

    def ready(self, process: str) -> Path:
        """A JSON document that a process writes once it serves, with the ports that it listens on."""
        return self.run / f"{process}.ready"

    def pid(self, process: str) -> Path:
        """JSON: the process's id and start time."""
        return self.run / f"{process}.pid"

    def log(self, process: str) -> Path:
        """What a process writes to standard output and error."""
        return self.run / f"{process}.log"

    def tree(self, host: str) -> Path:
        """The directory that stands for ``/`` on a host."""
        return self.hosts / host
