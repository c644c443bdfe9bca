"""How a host is reached: the inventory's word, then ``~/.ssh/config``, then OpenSSH's defaults.

Everything is settled here, once per host, into an ``Endpoint`` that asyncssh gets without reading any configuration
of its own; jump hosts too, so that those of the inventory and of ProxyJump are one and the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Jump, SshSettings
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.config.files import ConfigFiles
from ionetctl.ssh.host_keys.known_hosts import DEFAULT_PORT

if TYPE_CHECKING:
    from asyncssh.config import SSHClientConfig

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.settings import TransportSettings

LONGEST_CHAIN: Final = 8
_JUMP: Final = re.compile(
    r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<address>\[[^\]]+\]|[^:@\[\]]+|[0-9A-Fa-f:]+:[0-9A-Fa-f:.]+)(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One SSH server and what to say to it. ``known_name`` and ``known_port`` are what known_hosts calls it.

    ``identities`` that ``must_load`` come from the inventory: one that cannot be used is an error, as opposed to
    those of the SSH configuration, which are tried where they are there. ``through`` is the chain of jump hosts,
    nearest first.
    """

    address: str
    port: int
    user: str
    known_name: str
    known_port: int
    known_hosts: tuple[Path, ...]
    system_known_hosts: tuple[Path, ...] = ()
    identities: tuple[Path, ...] = ()
    must_load: bool = False
    certificates: tuple[Path, ...] = ()
    passphrase: SecretRef | None = None
    password: SecretRef | None = None
    agent_path: str | None = None
    is_agent_limited: bool = False
    proxy_command: str | None = None
    through: tuple[Endpoint, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        return f"{self.user}@{address}{port}"


@dataclass(slots=True)
class Routes:
    """Resolves hosts. ``local_user`` is the login where nobody names one."""

    settings: TransportSettings
    local_user: str
    _files: ConfigFiles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._files = ConfigFiles(self.settings.ssh_config or (), self.local_user)

    def resolve(self, host: Host) -> Endpoint:
        """The endpoint of an inventory's host.

        Raises ``ConfigurationError`` for an SSH configuration that cannot be read and for a chain of jump hosts that
        has no end.
        """
        return self._resolve(host.address, host.ssh, _user(host.ssh), ())

    def _resolve(self, address: str, ssh: SshSettings, user: str | None, seen: tuple[str, ...]) -> Endpoint:
        config = self._files.look_up(address, user, ssh.port)
        jumps = _proxy_jumps(config) if ssh.jump is None else ssh.jump
        alias = cast("str | None", config.get("HostKeyAlias"))
        name = cast("str", config.get("Hostname", address))
        port = ssh.port or cast("int", config.get("Port", DEFAULT_PORT))
        place = f"{name}:{port}"
        if place in seen or len(seen) > LONGEST_CHAIN:
            raise _endless((*seen, place))
        identities = tuple(Path(path) for path in ssh.identities) or self._identities(config)
        certificate = (ssh.certificate,) if ssh.certificate else config.get("CertificateFile", ())
        return Endpoint(
            address=name,
            port=port,
            user=user or cast("str", config.get("User", self.local_user)),
            known_name=(alias or name).lower(),
            known_port=DEFAULT_PORT if alias else port,
            known_hosts=_paths(config, "UserKnownHostsFile", self.settings.known_hosts),
            system_known_hosts=_paths(config, "GlobalKnownHostsFile", self.settings.system_known_hosts),
            identities=tuple(path.expanduser() for path in identities),
            must_load=bool(ssh.identities),
            certificates=tuple(Path(path).expanduser() for path in cast("tuple[str, ...]", certificate)),
            passphrase=ssh.passphrase,
            password=ssh.password,
            agent_path=self._agent_path(config) if ssh.agent else None,
            is_agent_limited=bool(config.get("IdentitiesOnly")),
            proxy_command=None if jumps else cast("str | None", config.get("ProxyCommand")),
            through=self._chain(jumps, ssh, (*seen, place)),
        )

    def _chain(
        self, jumps: tuple[Jump, ...], ssh: SshSettings, seen: tuple[str, ...]
    ) -> tuple[Endpoint, ...]:
        """The whole chain: as with ``ssh -J``, only the nearest hop may bring jump hosts of its own."""
        chain: tuple[Endpoint, ...] = ()
        for jump in jumps:
            own_jumps = None if not chain else ()
            hop = self._resolve(jump.address, _for_jump(jump, ssh, own_jumps), jump.user, seen)
            chain = (*chain, *hop.through, _without_chain(hop))
        return chain

    def _identities(self, config: SSHClientConfig) -> tuple[Path, ...]:
        named = cast("list[str]", config.get("IdentityFile", []))
        return tuple(Path(path) for path in named) or self.settings.default_identities

    def _agent_path(self, config: SSHClientConfig) -> str | None:
        """IdentityAgent may name a socket, ``none`` or ``SSH_AUTH_SOCK`` (ssh_config(5))."""
        named = cast("str | None", config.get("IdentityAgent", "SSH_AUTH_SOCK"))
        if named == "SSH_AUTH_SOCK":
            return self.settings.agent_path
        return str(Path(named).expanduser()) if named and named.lower() != "none" else None


def parse_jumps(text: str) -> tuple[Jump, ...]:
    """The chain that ``[user@]host[:port],…`` names, nearest hop first; empty for ``none``.

    Raises ``ValueError`` for text that is no such chain.
    """
    if text.lower() == "none":
        return ()
    return tuple(_parse_jump(part.strip()) for part in text.split(","))


def _parse_jump(text: str) -> Jump:
    match = _JUMP.fullmatch(text)
    if match is None:
        raise ValueError(f"not a jump host: {harmless(text, 100)!r}")
    port = int(match["port"]) if match["port"] else None
    return Jump(match["address"].strip("[]"), port, match["user"])


def _proxy_jumps(config: SSHClientConfig) -> tuple[Jump, ...]:
    named = cast("str | None", config.get("ProxyJump"))
    try:
        return parse_jumps(named) if named else ()
    except ValueError as error:
        message = f"ProxyJump in the SSH configuration: {error}"
        raise ConfigurationError("ssh_config_invalid", message, "write [user@]host[:port],…") from error


def _endless(places: tuple[str, ...]) -> ConfigurationError:
    return ConfigurationError(
        "jump_loop",
        f"the jump hosts of {places[0]} lead in a circle: {' → '.join(places)}",
        "correct ssh: {jump: …} in the inventory, or ProxyJump in ~/.ssh/config",
    )


def _paths(config: SSHClientConfig, option: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
    named = cast("list[str] | None", config.get(option))
    return default if named is None else tuple(Path(path).expanduser() for path in named)


def _for_jump(jump: Jump, ssh: SshSettings, own_jumps: tuple[Jump, ...] | None) -> SshSettings:
    """What a jump host is told: the host's keys may be offered to it, its password never."""
    return SshSettings(
        user=jump.user,
        port=jump.port,
        identities=ssh.identities,
        passphrase=ssh.passphrase,
        certificate=ssh.certificate,
        jump=own_jumps,
        agent=ssh.agent,
    )


def _without_chain(hop: Endpoint) -> Endpoint:
    return replace(hop, through=())


def _user(ssh: SshSettings) -> str | None:
    return "root" if ssh.become == "root" else ssh.user
