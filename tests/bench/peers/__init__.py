"""What admins would use instead of ionetctl: how each is told to do the same work, and which versions are here.

The work: three commands that read facts, a program, four small files, six commands, a restart and its verification. What a
peer does not do (survey, certificates, region, records, stop after failures) it need not do here either.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tests.bench.hosts import Fleet, SshHost

FOLDER: Final = "opt/peer"
"""Where peers put everything, below a host's root."""
FACTS: Final = ("uname -m", 'cat "$IONET_ROOT/etc/os-release"', "df -Pk /")
MAKE_FOLDER: Final = 'mkdir -p "$IONET_ROOT/opt/peer"'
PROGRAM: Final = "opt/peer/nomad"
SMALL_FILES: Final = tuple(f"opt/peer/{name}.conf" for name in ("client", "server", "plugin", "tls"))
COMMANDS: Final = (
    f'chmod 755 "$IONET_ROOT/{PROGRAM}"',
    f'sha256sum "$IONET_ROOT/{PROGRAM}"',
    'ln -sfn nomad "$IONET_ROOT/opt/peer/current"',
    'chmod 600 "$IONET_ROOT/opt/peer/client.conf"',
    "systemctl daemon-reload",
)
RESTART: Final = "systemctl restart nomad"
VERIFY: Final = "systemctl is-active nomad"
SMALL_BYTES: Final = 2048
_PYPI: Final = ("pyinfra", "ansible-core", "mitogen", "parallel-ssh")


@dataclass(frozen=True, slots=True)
class Task:
    """What a peer is given: the hosts that already run Nomad, the files to send, and how many hosts at once."""

    site: Fleet
    hosts: Sequence[SshHost]
    program: Path
    small_files: Sequence[Path]
    directory: Path
    concurrency: int

    def write(self, name: str, text: str) -> Path:
        """A file of the peer's settings."""
        path = self.directory / name
        path.write_text(text)
        return path

    @property
    def copies(self) -> list[tuple[Path, str]]:
        """Local file → its path below a host's root."""
        return [(self.program, PROGRAM), *zip(self.small_files, SMALL_FILES, strict=True)]

    def ssh_config(self) -> Path:
        """The settings of OpenSSH's client: one connection a host that is kept, and the cheapest algorithms."""
        lines = (
            "Host *",
            f"User {self.site.user}",
            f"Port {self.site.port}",
            f"IdentityFile {self.site.identity}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {self.site.known_hosts}",
            "BatchMode yes",
            "Ciphers aes128-gcm@openssh.com",
            "KexAlgorithms curve25519-sha256",
            "ControlMaster auto",
            "ControlPersist 60",
            f"ControlPath {self.directory}/%h",
        )
        return self.write("ssh_config", "\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The command that does a task, and its environment."""

    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer. ``program`` must be there: a path, or a name on PATH. A slow peer is tried on fewer hosts."""

    name: str
    program: str
    invoke: Callable[[Task, Path], Invocation]
    is_slow: bool = False
    lacks: str = ""
    target: str = ""


def python_of(build: Path) -> Path:
    """The Python of the peers' own environment."""
    return build / "peers/bin/python"


def versions(build: Path) -> dict[str, str]:
    """The versions of the peers that are here."""
    found = {}
    if python_of(build).exists():
        frozen = subprocess.run(
            [python_of(build), "-m", "pip", "freeze"], capture_output=True, text=True, check=True
        )
        installed = dict(line.split("==") for line in frozen.stdout.splitlines() if "==" in line)
        found = {name: installed[name] for name in _PYPI if name in installed}
    return found | _debian()


def _debian() -> dict[str, str]:
    """Versions of packages as dpkg knows them; none where there is no dpkg."""
    shown = subprocess.run(
        ["sh", "-c", "dpkg-query -W -f '${Package} ${Version}\n' pdsh clustershell 2>/dev/null; true"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split() for line in shown.stdout.splitlines() if len(line.split()) == 2)
