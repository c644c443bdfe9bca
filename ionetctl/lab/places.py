"""Where the files of a rehearsal lie below its directory. Names only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """The layout of one rehearsal's directory."""

    root: Path

    @property
    def inventory(self) -> Path:
        """What the admin would have written."""
        return self.root / "inventory.yaml"

    @property
    def token(self) -> Path:
        """The admin's ACL token (0600)."""
        return self.root / "token"

    @property
    def identity(self) -> Path:
        """The SSH key of user ``miner`` (0600)."""
        return self.root / "id_ed25519"

    @property
    def pki(self) -> Path:
        """The region's CA and pairs."""
        return self.root / "pki"

    @property
    def artifacts(self) -> Path:
        """Releases, laid out as the vendor's site."""
        return self.root / "artifacts"

    @property
    def programs(self) -> Path:
        """Stand-ins for programs of a host; one folder for all hosts, one more for each fault."""
        return self.root / "bin"

    @property
    def hosts(self) -> Path:
        """One file tree per host."""
        return self.root / "hosts"

    @property
    def run(self) -> Path:
        """Plans, process ids, ready files and logs of the processes."""
        return self.root / "run"

    @property
    def faults(self) -> Path:
        """Which host has which fault."""
        return self.root / "faults.json"

    @property
    def region_control(self) -> Path:
        """What the region is to do wrong; looked at while it runs."""
        return self.run / "region-control.json"

    def plan(self, process: str) -> Path:
        """What a process is to do."""
        return self.run / f"{process}.json"

    def ready(self, process: str) -> Path:
        """Written by a process once it serves; says what it took (ports)."""
        return self.run / f"{process}.ready"

    def pid(self, process: str) -> Path:
        """A process's id and start time."""
        return self.run / f"{process}.pid"

    def log(self, process: str) -> Path:
        """What a process complained of."""
        return self.run / f"{process}.log"

    def tree(self, host: str) -> Path:
        """What stands for ``/`` on a host."""
        return self.hosts / host
