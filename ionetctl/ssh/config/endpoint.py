"""How a host is reached: the inventory, then ``~/.ssh/config``, then OpenSSH's defaults.

Every option is resolved here, once per host, into an ``Endpoint``, and asyncssh is called without any configuration
file. Jump hosts are resolved likewise, whether the inventory or ProxyJump names them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Jump, SshSettings
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.config.files import ConfigFiles, HostOptions
from ionetctl.ssh.config.jump_list import parse_jumps
from ionetctl.ssh.config.tokens import expand, expand_home
from ionetctl.ssh.host_keys.known_hosts import DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.settings import TransportSettings

LONGEST_CHAIN: Final = 8
_COMMAND_TOKENS: Final = "%hknpr"
"""The tokens of ProxyCommand, and of ProxyJump, which ``ssh`` makes a ProxyCommand of."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One SSH server and how to log in to it. ``known_name`` and ``known_port`` are its name in known_hosts.

    ``required`` are the identities and the certificate of the inventory: one that cannot be used is an error, whereas
    those of the SSH configuration are used where they exist. ``through`` is the chain of jump hosts, nearest first.
    """

    address: str
    port: int
    user: str
    known_name: str
    known_port: int
    known_hosts: tuple[Path, ...]
    system_known_hosts: tuple[Path, ...] = ()
    identities: tuple[Path, ...] = ()
    required: frozenset[Path] = frozenset()
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
    _resolved: dict[tuple[str, SshSettings], Endpoint] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._files = ConfigFiles(self.settings, self.local_user)

    def resolve(self, host: Host) -> Endpoint:
        """The endpoint of an inventory's host. The first call for a host may block: files are read, commands run.

        Raises ``ConfigurationError``: ``ssh_config_invalid`` for an SSH configuration that cannot be used, ``jump_loop``
        for a chain of jump hosts that leads in a circle or has more than ``LONGEST_CHAIN`` hops.
        """
        key = (host.address, host.ssh)
        if key not in self._resolved:
            try:
                self._resolved[key] = self._resolve(host.address, host.ssh, _user(host.ssh), ())
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    "ssh_config_invalid",
                    f"the SSH configuration cannot be used for {host.address}: {harmless(str(error), 300)}",
                    "correct the file; `ssh -G HOST` reads it too",
                ) from error
        return self._resolved[key]

    def _resolve(self, address: str, ssh: SshSettings, user: str | None, seen: tuple[str, ...]) -> Endpoint:
        options = self._files.look_up(address, _given(ssh, user))
        address_and_port = f"{options.host}:{options.port}"
        if address_and_port in seen or len(seen) > LONGEST_CHAIN:
            raise _jump_loop((*seen, address_and_port))
        command_tokens = {letter: options.tokens[letter] for letter in _COMMAND_TOKENS}
        command = options.text("proxycommand")
        jumps = ssh.jump
        if jumps is None:
            jumps = parse_jumps(expand(options.text("proxyjump") or "none", command_tokens))
        own = self._own_paths(ssh.identities), self._own_paths((ssh.certificate,) if ssh.certificate else ())
        return Endpoint(
            address=options.host,
            port=options.port,
            user=options.user,
            known_name=(options.alias or options.host).lower(),
            known_port=DEFAULT_PORT if options.alias else options.port,
            known_hosts=_paths(options.paths("userknownhostsfile"), self.settings.known_hosts),
            system_known_hosts=_paths(
                options.paths("globalknownhostsfile"), self.settings.system_known_hosts
            ),
            identities=own[0] or _paths(options.paths("identityfile"), self.settings.default_identities),
            certificates=own[1] or _paths(options.paths("certificatefile"), ()),
            required=frozenset((*own[0], *own[1])),
            passphrase=ssh.passphrase,
            password=ssh.password,
            agent_path=self._agent_path(options) if ssh.agent else None,
            is_agent_limited=(options.text("identitiesonly") or "").lower() in ("yes", "true"),
            proxy_command=None if command is None else expand(command, command_tokens),
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

    def _agent_path(self, options: HostOptions) -> str | None:
        """IdentityAgent may name a socket, ``none``, ``SSH_AUTH_SOCK`` or a variable as ``$NAME`` (ssh_config(5))."""
        named = options.texts("identityagent")
        if named is None or named == ("SSH_AUTH_SOCK",):
            return self.settings.agent_path
        if named and named[0].startswith("$") and not named[0].startswith("${"):
            return self.settings.environ.get(named[0][1:])
        return options.path(named[0]) if named else None

    def _own_paths(self, paths: Iterable[str]) -> tuple[Path, ...]:
        return tuple(Path(expand_home(path, self.settings.home)) for path in paths)


def _given(ssh: SshSettings, user: str | None) -> dict[str, str]:
    """What the inventory settles, as options on the command line of ``ssh`` would."""
    given = {"user": user, "port": str(ssh.port) if ssh.port else None}
    if ssh.jump is not None:
        given["proxyjump"] = ",".join(f"[{jump.address}]" for jump in ssh.jump) or "none"
        given["proxycommand"] = "none"
    return {option: value for option, value in given.items() if value is not None}


def _paths(configured: tuple[str, ...] | None, default: tuple[Path, ...]) -> tuple[Path, ...]:
    return default if configured is None else tuple(map(Path, configured))


def _jump_loop(visited: tuple[str, ...]) -> ConfigurationError:
    return ConfigurationError(
        "jump_loop",
        f"the jump hosts of {visited[0]} lead in a circle: {' → '.join(visited)}",
        "correct ssh: {jump: …} in the inventory, or ProxyJump in ~/.ssh/config",
    )


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
