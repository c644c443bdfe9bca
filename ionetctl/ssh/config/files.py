"""OpenSSH configuration files: the options that hold for each host (ssh_config(5)).

Each file is read and split into lines once; ``Host``, ``Match`` and ``Include`` are then followed for each host, as
``ssh`` does. Options that ionetctl does not use never matter, so what OpenSSH adds to them never stops a rollout.
"""

from __future__ import annotations

import glob
import os
import stat
import subprocess
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ionetctl.ssh.config.config_lines import Criterion, Line, parse_lines, parse_port
from ionetctl.ssh.config.jump_list import parse_jumps
from ionetctl.ssh.config.local_addresses import local_addresses
from ionetctl.ssh.config.tokens import Login, expand, expand_home
from ionetctl.ssh.host_keys.known_hosts import DEFAULT_PORT
from ionetctl.ssh.settings import SYSTEM_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.ssh.settings import TransportSettings

DEEPEST_INCLUDE: Final = 16
_COLLECTED: Final = ("identityfile", "certificatefile")
_OTHERS_WRITE: Final = 0o022


@dataclass(frozen=True, slots=True)
class HostOptions:
    """The options that hold for one host. ``host``, ``port`` and ``user`` have their defaults where nothing is set.

    ``alias`` is HostKeyAlias, empty where it is not set.
    """

    host: str
    port: int
    user: str
    alias: str
    tokens: Mapping[str, str]
    _values: Mapping[str, Sequence[str]]
    _settings: TransportSettings

    def texts(self, option: str) -> tuple[str, ...] | None:
        """The values of an option as they are written; ``None`` where it is not set, empty for ``none``."""
        values = self._values.get(option)
        return None if values is None else tuple(value for value in values if value.lower() != "none")

    def text(self, option: str) -> str | None:
        """The value of an option that takes one; ``None`` where it is not set or ``none``."""
        return next(iter(self.texts(option) or ()), None)

    def paths(self, option: str) -> tuple[str, ...] | None:
        """The same as ``texts``, with ``~``, tokens and environment variables replaced. Raises ``ValueError``."""
        texts = self.texts(option)
        return None if texts is None else tuple(self.path(text) for text in texts)

    def path(self, text: str) -> str:
        """``text`` with ``~``, tokens and environment variables replaced. Raises ``ValueError``."""
        return expand(expand_home(text, self._settings.home), self.tokens, self._settings.environ)


@dataclass(slots=True)
class ConfigFiles:
    """The files of one rollout. They are read when the first host is looked up."""

    settings: TransportSettings
    local_user: str
    _lines: dict[str, tuple[Line, ...]] = field(default_factory=dict, repr=False)
    _exit_statuses: dict[str, int] = field(default_factory=dict, repr=False)

    def look_up(self, address: str, given: Mapping[str, str]) -> HostOptions:
        """The options that hold for a host; those ``given`` (user, port, proxyjump) are settled already.

        Raises ``OSError`` and ``ValueError`` for files that cannot be used.
        """
        reading = _Reading(self, address, {option: [value] for option, value in given.items()})
        reading.read_all()
        if reading.needs_final_pass:
            reading.begin_final_pass()
            reading.read_all()
        return reading.options(is_user_given="user" in given)

    def lines(self, path: str) -> tuple[Line, ...]:
        """The lines of a file. Raises ``OSError`` and ``ValueError``."""
        if path not in self._lines:
            with open(path, "rb") as file:  # noqa: PTH123  (its name may be no UTF-8)
                _check_owner(path, os.fstat(file.fileno()))
                text = file.read().decode("utf-8", "surrogateescape")
            self._lines[path] = tuple(parse_lines(text, path))
        return self._lines[path]

    def exit_status(self, command: str) -> int:
        """How a ``Match exec`` command ends in the user's shell; run once, within the time that a connection has.

        Raises ``OSError`` and ``ValueError``.
        """
        timeout_s = self.settings.connect_timeout_s
        if command not in self._exit_statuses:
            try:
                completed = subprocess.run(
                    [self.settings.shell, "-c", command],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=timeout_s,
                )
            except subprocess.TimeoutExpired as error:
                raise ValueError(f"Match exec {command!r} did not end within {timeout_s:g} s") from error
            self._exit_statuses[command] = completed.returncode
        return self._exit_statuses[command]


@dataclass(slots=True)
class _Reading:
    """One host's way through the files. The first value of an option wins."""

    files: ConfigFiles
    original: str
    values: dict[str, list[str]]
    is_final: bool = False
    has_match_final: bool = False

    @property
    def host(self) -> str:
        """The name so far, after HostName."""
        named = self.values.get("hostname")
        if named is None or self.is_final:
            return named[0] if named else self.original
        return expand(named[0], {"h": self.original, "%": "%"})

    @property
    def needs_final_pass(self) -> bool:
        """Whether a ``Match final`` line or CanonicalizeHostname wants the files to be read again."""
        return self.has_match_final or self._first("canonicalizehostname").lower() in (
            "yes",
            "true",
            "always",
        )

    def begin_final_pass(self) -> None:
        """From now on ``Host`` lines are held against the name that was found."""
        self.values["hostname"] = [_canonical(self.host)]
        self.is_final = True

    def read_all(self) -> None:
        """Read all files, from the user's to the system's."""
        for path in self.files.settings.ssh_config or ():
            self._read(str(path), is_active=True, is_system=path == SYSTEM_CONFIG)

    def options(self, *, is_user_given: bool) -> HostOptions:
        """The result."""
        host = _canonical(self.host)
        alias = self._first("hostkeyalias").lower()
        login = self._login(host, alias or self.original)
        user = login.user
        if not is_user_given:
            before = {letter: value for letter, value in login.tokens().items() if letter not in "rC"}
            user = expand(user, before, self.files.settings.environ)
        tokens = self._login(host, login.known_name, user).tokens()
        return HostOptions(host, login.port, user, alias, tokens, self.values, self.files.settings)

    def _read(self, path: str, *, is_active: bool, is_system: bool, depth: int = 0) -> None:
        """Read one file. Where it is included by lines that do not hold, nothing in it holds either."""
        if depth > DEEPEST_INCLUDE:
            raise ValueError(f"{path} is included more than {DEEPEST_INCLUDE} levels deep")
        is_set = is_active
        for line in self.files.lines(path):
            if line.patterns is not None:
                host = self.host if self.is_final else self.original
                is_set = is_active and line.patterns.matches(host)
            elif line.keyword == "match":
                self.has_match_final |= any(criterion.name == "final" for criterion in line.criteria)
                is_set = is_active and all(self._holds(each) for each in line.criteria)
            elif line.keyword == "include":
                for included in self._included(line, is_system=is_system):
                    self._read(included, is_active=is_set, is_system=is_system, depth=depth + 1)
            elif is_set:
                self._set(line)

    def _set(self, line: Line) -> None:
        if line.keyword in _COLLECTED:
            collected = self.values.setdefault(line.keyword, [])
            collected += (argument for argument in line.arguments if argument not in collected)
        elif line.arguments and not self._is_other_proxy_set(line.keyword):
            self.values.setdefault(line.keyword, list(line.arguments))

    def _is_other_proxy_set(self, keyword: str) -> bool:
        """Of ProxyJump and ProxyCommand the first counts; but `ProxyJump none` leaves room for a ProxyCommand."""
        if keyword == "proxycommand":
            return self._first("proxyjump", "none").lower() != "none"
        return keyword == "proxyjump" and "proxycommand" in self.values

    def _included(self, line: Line, *, is_system: bool) -> list[str]:
        """The files of an ``Include`` line; a variable or token that stands for nothing names none."""
        settings, found = self.files.settings, list[str]()
        for argument in line.arguments:
            try:
                pattern = expand(argument, self._login().tokens(), settings.environ)
            except ValueError:
                continue
            folder = SYSTEM_CONFIG.parent if is_system else settings.home / ".ssh"
            matching = glob.glob(os.path.join(folder, expand_home(pattern, settings.home)))  # noqa: PTH118, PTH207  (paths may be no UTF-8)
            found += sorted((path for path in matching if not os.path.isdir(path)), key=os.fsencode)  # noqa: PTH112  (likewise)
        return found

    def _holds(self, criterion: Criterion) -> bool:
        return self._is_true(criterion) is not criterion.is_negated

    def _is_true(self, criterion: Criterion) -> bool:
        match criterion.name:
            case "all":
                return True
            case "canonical" | "final":
                return self.is_final
            case "exec":
                return self.files.exit_status(expand(criterion.argument, self._login().tokens())) == 0
            case "localnetwork":
                networks = [ip_network(network) for network in criterion.argument.split(",")]
                return any(address in network for address in local_addresses() for network in networks)
            case "host" | "originalhost":
                name = self.host if criterion.name == "host" else self.original
                return criterion.patterns.matches(name.lower())
            case name:
                value = self._compared(name)
                return criterion.patterns.matches(value) if value else criterion.argument == ""

    def _compared(self, name: str) -> str:
        """What the condition ``name`` is about. ionetctl runs commands of its own, and has no version of OpenSSH."""
        login = self._login()
        known = {"user": login.user, "localuser": login.local_user, "sessiontype": "exec"}
        return self._first("tag") if name == "tagged" else known.get(name, "")

    def _login(
        self, host: str | None = None, known_name: str | None = None, user: str | None = None
    ) -> Login:
        host = self.host if host is None else host
        jumps = parse_jumps(self._first("proxyjump", "none"))
        return Login(
            original=self.original,
            host=host,
            port=parse_port(self._first("port", str(DEFAULT_PORT))),
            user=user or self._first("user", self.files.local_user),
            known_name=known_name or self._first("hostkeyalias", host),
            jump=jumps[-1].address if jumps else "",
            local_user=self.files.local_user,
            home=self.files.settings.home,
        )

    def _first(self, option: str, default: str = "") -> str:
        return self.values.get(option, (default,))[0]


def _canonical(host: str) -> str:
    """A name in lower case, an address in its usual form; only the case of its letters is kept."""
    try:
        address = str(ip_address(host))
    except ValueError:
        return host if ":" in host else host.lower()
    return host if address == host.lower() else address


def _check_owner(path: str, status: os.stat_result) -> None:
    """As ``ssh``: the file may run commands, so nobody else may write to it."""
    if path == str(SYSTEM_CONFIG) or not stat.S_ISREG(status.st_mode):
        return
    if status.st_uid not in (0, os.getuid()) or status.st_mode & _OTHERS_WRITE:
        raise ValueError(f"{path}: others than you may write to it (chmod go-w)")
