"""Settings of the SSH connections of a rollout: deadlines, limits and files. No default reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KIB: Final = 1024
SYSTEM_CONFIG: Final = Path("/etc/ssh/ssh_config")
SYSTEM_KNOWN_HOSTS: Final = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Deadlines in seconds, sizes in bytes.

    ``connect_timeout_s`` bounds the time until TCP is up, ``login_timeout_s`` that from there to a login; neither begins
    before it is the host's turn. ``known_hosts`` are the user's files; with ``accept_new``, new keys are appended to the first. ``ssh_config``
    is ``None`` where no SSH configuration is to be read; ``home`` and ``environ`` are what it may refer to. ``agent_path`` is the SSH agent's socket (``SSH_AUTH_SOCK``).
    ``jump_linger_s`` is how long an unused connection to a jump host stays open. ``exit_grace_s`` is how long output may
    still arrive after the exit status: a background process can hold a channel open for ever. ``in_flight_bytes`` may be
    unacknowledged per channel: with more, sshd grows its buffers and costs the host CPU time. ``handshakes`` and
    ``handshakes_per_jump`` are the most at the same time, over all hosts and through one jump host; fewer where they turn
    out slow. ``transfers`` is the number of hosts that large payloads are sent to at the same time, ``bytes_per_s`` what
    is sent over all connections of this process, ``None`` for no limit.
    """

    connect_timeout_s: float = 10.0
    login_timeout_s: float = 20.0
    keepalive_interval_s: float = 15.0
    keepalive_count: int = 3
    accept_new: bool = False
    known_hosts: tuple[Path, ...] = ()
    system_known_hosts: tuple[Path, ...] = SYSTEM_KNOWN_HOSTS
    ssh_config: tuple[Path, ...] | None = None
    home: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    default_identities: tuple[Path, ...] = ()
    agent_path: str | None = None
    handshakes: int = 256
    handshakes_per_jump: int = 32
    jump_linger_s: float = 15.0
    in_flight_bytes: int = 512 * KIB
    transfers: int = 32
    bytes_per_s: float | None = None
    sudo_timeout_s: float = 30.0
    exit_grace_s: float = 10.0

    @property
    def shell(self) -> str:
        """The shell that runs the commands of the SSH configuration, as with ``ssh``."""
        return self.environ.get("SHELL") or "/bin/sh"

    @classmethod
    def for_home(
        cls,
        home: Path,
        environ: Mapping[str, str],
        agent_path: str | None = None,
        *,
        accept_new: bool = False,
    ) -> TransportSettings:
        """Settings with the files that OpenSSH would use for the user whose home directory is ``home``."""
        folder = home / ".ssh"
        configs = (folder / "config", SYSTEM_CONFIG)
        return cls(
            accept_new=accept_new,
            home=home,
            environ=environ,
            known_hosts=(folder / "known_hosts", folder / "known_hosts2"),
            ssh_config=tuple(path for path in configs if path.is_file()) or None,
            default_identities=tuple(folder / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")),
            agent_path=agent_path,
        )
