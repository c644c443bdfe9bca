"""How a host is reached: the inventory, then ``~/.ssh/config``, then OpenSSH's defaults.

Every option is resolved here, once per host, into an ``Endpoint``, and asyncssh is called without any configuration
file. Jump hosts are resolved likewise, whether the inventory or ProxyJump names them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Jump, SshSettings
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.config.files import ConfigFiles
from ionetctl.ssh.host_keys.known_hosts import DEFAULT_PORT

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.asyncssh_internals import ClientOptions
    from ionetctl.ssh.settings import TransportSettings

LONGEST_CHAIN: Final = 8
_JUMP: Final = re.compile(
    r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<address>\[[^\]]+\]|[^:@\[\]]+|[0-9A-Fa-f:]+:[0-9A-Fa-f:.]+)(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One SSH server and how to log in to it. ``known_name`` and ``known_port`` are its name in known_hosts.

    ``must_load`` is true for ``identities`` of the inventory: one that cannot be used is an error, whereas those of the
    SSH configuration are used where they exist. ``through`` is the chain of jump hosts, nearest first.
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
class EndpointResolver:
    """Resolves hosts to endpoints. ``local_user`` is the login user where neither file nor inventory names one."""

    settings: TransportSettings
    local_user: str
    _files: ConfigFiles = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._files = ConfigFiles(self.settings.ssh_config or (), self.local_user)

    def resolve(self, host: Host) -> Endpoint:
        """The endpoint of an inventory's host.

        Raises ``ConfigurationError``: ``ssh_config_invalid`` for an SSH configuration that cannot be used, ``jump_loop``
        for a chain of jump hosts that leads in a circle or has more than ``LONGEST_CHAIN`` hops.
        """
        return self._resolve(host.address, host.ssh, _user(host.ssh), ())

    def _resolve(self, address: str, ssh: SshSettings, user: str | None, seen: tuple[str, ...]) -> Endpoint:
        config = self._files.look_up(address, user, ssh.port)
        jumps = _proxy_jumps(config) if ssh.jump is None else ssh.jump
        alias = config.text("HostKeyAlias")
        name = config.text("Hostname") or address
        port = ssh.port or config.number("Port", DEFAULT_PORT)
        address_and_port = f"{name}:{port}"
        if address_and_port in seen or len(seen) > LONGEST_CHAIN:
            raise _jump_loop((*seen, address_and_port))
        identities = ssh.identities or config.texts("IdentityFile") or ()
        certificates = (ssh.certificate,) if ssh.certificate else config.texts("CertificateFile") or ()
        return Endpoint(
            address=name,
            port=port,
            user=user or config.text("User") or self.local_user,
            known_name=(alias or name).lower(),
            known_port=DEFAULT_PORT if alias else port,
            known_hosts=_paths(config, "UserKnownHostsFile", self.settings.known_hosts),
            system_known_hosts=_paths(config, "GlobalKnownHostsFile", self.settings.system_known_hosts),
            identities=_expanded(identities) or self.settings.default_identities,
            must_load=bool(ssh.identities),
            certificates=_expanded(certificates),
            passphrase=ssh.passphrase,
            password=ssh.password,
            agent_path=self._agent_path(config) if ssh.agent else None,
            is_agent_limited=config.is_set("IdentitiesOnly"),
            proxy_command=None if jumps else config.text("ProxyCommand"),
            through=self._chain(jumps, ssh, (*seen, address_and_port)),
        )

    def _chain(
        self, jumps: tuple[Jump, ...], ssh: SshSettings, seen: tuple[str, ...]
    ) -> tuple[Endpoint, ...]:
        """The whole chain: as with ``ssh -J``, only the nearest hop may have jump hosts of its own in the files."""
        chain: tuple[Endpoint, ...] = ()
        for jump in jumps:
            own_jumps = None if not chain else ()
            hop = self._resolve(jump.address, _for_jump(jump, ssh, own_jumps), jump.user, seen)
            chain = (*chain, *hop.through, _without_chain(hop))
        return chain

    def _agent_path(self, config: ClientOptions) -> str | None:
        """IdentityAgent may name a socket, ``none`` or ``SSH_AUTH_SOCK`` (ssh_config(5))."""
        named = config.text("IdentityAgent", "SSH_AUTH_SOCK")
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


def _proxy_jumps(config: ClientOptions) -> tuple[Jump, ...]:
    named = config.text("ProxyJump")
    try:
        return parse_jumps(named) if named else ()
    except ValueError as error:
        message = f"ProxyJump in the SSH configuration: {error}"
        raise ConfigurationError("ssh_config_invalid", message, "write [user@]host[:port],…") from error


def _jump_loop(visited: tuple[str, ...]) -> ConfigurationError:
    return ConfigurationError(
        "jump_loop",
        f"the jump hosts of {visited[0]} lead in a circle: {' → '.join(visited)}",
        "correct ssh: {jump: …} in the inventory, or ProxyJump in ~/.ssh/config",
    )


def _paths(config: ClientOptions, option: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
    named = config.texts(option)
    return default if named is None else _expanded(named)


def _expanded(paths: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(path).expanduser() for path in paths)


def _for_jump(jump: Jump, ssh: SshSettings, own_jumps: tuple[Jump, ...] | None) -> SshSettings:
    """The settings for a jump host: the host's keys may be offered to it, the host's password never."""
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
