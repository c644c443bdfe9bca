"""``~/.ssh/config`` is read as ``ssh`` reads it: both read the same files, and ``ssh -G`` is right.

The environment may choose another ``ssh`` (IONETCTL_TEST_SSH) and more generated configurations (IONETCTL_TEST_SSH_CONFIGS).
"""

from __future__ import annotations

import os
import pwd
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.ssh import TransportSettings
from ionetctl.ssh.config.endpoint import EndpointResolver
from ionetctl.ssh.config.files import ConfigFiles
from ionetctl.ssh.config.jump_list import parse_jumps
from tests.ssh.config_generator import ADDRESSES, ENVIRON, Generator
from tests.ssh.servers import make_host

if TYPE_CHECKING:
    from collections.abc import Callable

SSH: Final = os.environ.get("IONETCTL_TEST_SSH") or shutil.which("ssh")
COUNT: Final = int(os.environ.get("IONETCTL_TEST_SSH_CONFIGS", "300"))
BATCHES: Final = 10
CONFIGS: Final = Path(__file__).parents[1] / "configs"
USER: Final = pwd.getpwuid(os.getuid())
HOME: Final = Path(USER.pw_dir)


def _version() -> tuple[int, int]:
    """The version of ``ssh``; nought where there is none."""
    if SSH is None:
        return 0, 0
    said = subprocess.run([SSH, "-V"], capture_output=True, text=True, check=True).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


VERSION: Final = _version()
needs_ssh = pytest.mark.skipif(VERSION == (0, 0), reason="no OpenSSH client (ssh) on this machine")


@dataclass(frozen=True)
class Read:
    """What was read of a configuration for one host: values as ``ssh -G`` prints them, ``None`` where nothing is set."""

    host: str
    user: str
    port: str
    alias: str | None
    identities: tuple[str, ...] | None
    certificates: tuple[str, ...] | None
    is_limited: bool
    agent: str | None
    known_hosts: str | None
    system_known_hosts: str | None
    command: str | None
    jumps: tuple[Any, ...]


def settings(path: Path) -> TransportSettings:
    return TransportSettings(ssh_config=(path,), home=HOME, environ=ENVIRON, agent_path="/run/agent")


def ours(path: Path, address: str) -> Read:
    """What we read."""
    options = ConfigFiles(settings(path), USER.pw_name).look_up(address, {})
    known, system = (options.paths(f"{whose}knownhostsfile") for whose in ("user", "global"))
    agent = options.texts("identityagent")
    return Read(
        host=options.host,
        user=options.user,
        port=str(options.port),
        alias=options.alias or None,
        identities=options.texts("identityfile"),
        certificates=options.texts("certificatefile"),
        is_limited=(options.text("identitiesonly") or "no").lower() in ("yes", "true"),
        agent=None if agent is None else options.path(agent[0]) if agent else "none",
        known_hosts=None if known is None else " ".join(known) or "none",
        system_known_hosts=None if system is None else " ".join(system) or "none",
        command=options.text("proxycommand"),
        jumps=parse_jumps(options.text("proxyjump") or "none"),
    )


def printed(path: Path, address: str) -> dict[str, list[str]]:
    """The options that ``ssh -G`` prints, each with its values. Raises ``CalledProcessError`` where it refuses."""
    command = [SSH or "ssh", "-G", "-F", str(path), address]
    completed = subprocess.run(command, capture_output=True, env=ENVIRON, check=True)
    found: dict[str, list[str]] = {}
    for line in completed.stdout.decode("utf-8", "surrogateescape").splitlines():
        option, _, value = line.partition(" ")
        found.setdefault(option, []).append(value)
    return found


def theirs(path: Path, address: str, unset: dict[str, list[str]]) -> Read:
    """What ``ssh`` reads; ``unset`` is what it prints where nothing is set."""
    found = printed(path, address)

    def value(option: str) -> str | None:
        return found[option][0] if found.get(option) != unset.get(option) else None

    def values(option: str) -> tuple[str, ...] | None:
        if found.get(option) == unset.get(option):
            return None
        return tuple(value for value in found[option] if value.lower() != "none")

    return Read(
        host=found["hostname"][0],
        user=found["user"][0],
        port=found["port"][0],
        alias=value("hostkeyalias"),
        identities=values("identityfile"),
        certificates=values("certificatefile"),
        is_limited=found["identitiesonly"][0] == "yes",
        agent=value("identityagent"),
        known_hosts=value("userknownhostsfile"),
        system_known_hosts=value("globalknownhostsfile"),
        command=value("proxycommand"),
        jumps=parse_jumps(found.get("proxyjump", ["none"])[0]),
    )


@pytest.fixture
def unset(tmp_path: Path) -> dict[str, list[str]]:
    """What ``ssh -G`` prints of an empty configuration."""
    (tmp_path / "empty").write_text("")
    return printed(tmp_path / "empty", "rig-1")


@dataclass(frozen=True)
class Explained:
    """A difference with a reason: where the files have ``where``, some versions read ``options`` otherwise."""

    versions: Callable[[tuple[int, int]], bool]
    options: tuple[str, ...]
    where: str
    reason: str


EXPLAINED: Final = (
    Explained(
        lambda it: it < (9, 6), ("known_hosts", "agent"), "%C", "the jump host is no part of %C before 9.6"
    ),
    Explained(
        lambda it: it < (10, 3),
        ("command",),
        r"proxyjump[ =\t]+none",
        "before 10.3, unless Debian mended it, `ProxyJump none` keeps any ProxyCommand out",
    ),
    Explained(
        lambda it: it >= (10, 1),
        tuple(field.name for field in fields(Read)),
        "!final",
        "since 10.1 `Match !final` makes no second pass; Debian 12 and 13, and Ubuntu 24.04, have older ones",
    ),
)


@needs_ssh
@pytest.mark.parametrize("batch", range(BATCHES))
def test_generated_configurations(batch: int, tmp_path: Path, unset: dict[str, list[str]]) -> None:
    """No generated configuration is read otherwise than by ``ssh``, but for what the table explains."""
    different: list[object] = []
    for number in range(batch, COUNT, BATCHES):
        folder = tmp_path / str(number)
        folder.mkdir()
        choose = random.Random(number)  # noqa: S311  (not for secrets)
        path = Generator(folder, USER.pw_name, choose).write()
        for address in choose.sample(ADDRESSES, 2):
            different += differences(path, address, unset)
    assert different == []


def differences(path: Path, address: str, unset: dict[str, list[str]]) -> list[object]:
    """What we read for a host otherwise than ``ssh``, unless there is a reason."""
    try:
        right = theirs(path, address, unset)
    except subprocess.CalledProcessError as error:
        is_loop = b"jumphost loop" in error.stderr and _refusal(path, address) == "jump_loop"
        return [] if is_loop else [(path, address, error.stderr)]
    read, text = ours(path, address), _with_included(path)
    for each in EXPLAINED:
        if each.versions(VERSION) and re.search(each.where, text, re.IGNORECASE):
            read = replace(read, **{option: getattr(right, option) for option in each.options})
    return [] if read == right else [(path, address, read, right)]


def _refusal(path: Path, address: str) -> str | None:
    """The code of the error that a host of the inventory ends with."""
    try:
        EndpointResolver(settings(path), USER.pw_name).resolve(make_host(address))
    except ConfigurationError as error:
        return error.code
    return None


def _with_included(path: Path) -> str:
    return "".join(each.read_text("cp1251") for each in (path, *path.parent.glob("included/*")))


CASES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("agent-env", "rig-1", {"agent_path": ENVIRON["FARM_AGENT"]}),
    ("alive", "rig-1", {"user": "miner"}),
    ("cp1251", "rig-1", {"user": "miner"}),
    ("exec-env", "rig-1", {"user": "miner"}),
    ("exec-token", "rig-1", {"user": "miner"}),
    ("exec-token", "rig-2", {"user": USER.pw_name}),
    ("first-wins", "rig-1", {"proxy_command": "nc rig-1 22", "through": ""}),
    ("identity-k", "rig-1", {"identities": (HOME / ".ssh/keys/rig-1",)}),
    ("known-token", "rig-1", {"known_hosts": (HOME / ".ssh/known_hosts.d/rig-1",)}),
    ("known-token-d", "rig-1", {"known_hosts": (HOME / ".ssh/farm_known",)}),
    ("match-final", "rig-1.farm.example", {"user": "miner", "through": "bastion.example"}),
    ("match-final", "rig-1", {"user": USER.pw_name, "through": ""}),
    ("match-localnetwork", "rig-1", {"user": "miner"}),
    ("proxycommand-none", "rig-1", {"through": "bastion.example"}),
    ("proxycommand-none", "bastion.example", {"through": ""}),
    ("trailing-comment", "rig-1", {"user": "miner", "identities": (HOME / ".ssh/farm_key",)}),
    ("unbound", "rig-1", {"user": "miner"}),
)
"""Configurations from the field: what an endpoint has to be."""
SINCE: Final = {"match-localnetwork": (9, 4)}
"""What older versions of ``ssh`` do not know."""


@pytest.mark.parametrize(
    ("name", "address", "expected"), CASES, ids=[f"{name} {host}" for name, host, _ in CASES]
)
def test_cases_from_the_field(name: str, address: str, expected: dict[str, Any], tmp_path: Path) -> None:
    """Each becomes what it should, and what ``ssh`` reads; no machine is in 240.0.0.0/8."""
    path = tmp_path / "config"
    path.write_bytes((CONFIGS / name).read_bytes().replace(b"10.0.0.0/8", b"240.0.0.0/8"))
    endpoint = EndpointResolver(settings(path), USER.pw_name).resolve(make_host(address))
    found = {field: getattr(endpoint, field) for field in expected}
    if "through" in expected:
        found["through"] = ",".join(hop.address for hop in endpoint.through)
    assert found == expected
    if SINCE.get(name, (0, 1)) <= VERSION:
        (tmp_path / "empty").write_text("")
        assert differences(path, address, printed(tmp_path / "empty", "rig-1")) == []


def test_comment_does_not_change_another_host(tmp_path: Path) -> None:
    """What a comment at a line's end names is no pattern, and one host's options are not another's."""
    path = tmp_path / "config"  # our own, whoever has checked the repository out
    path.write_bytes((CONFIGS / "comment-poisons-cache").read_bytes())
    resolver = EndpointResolver(settings(path), USER.pw_name)
    assert [str(resolver.resolve(make_host(name))) for name in ("bastion", "rig-z", "rig-a")] == [
        f"{USER.pw_name}@bastion",
        f"{USER.pw_name}@rig-z",
        "root@rig-a:2222",
    ]


REFUSED: Final = (
    "Port many",
    "Port 65536",
    "Port 0",
    "Host",
    "Match # none",
    'Host ""',
    "User",
    "User 'open",
    "User two words",
    'IdentityFile "open',
    "IdentitiesOnly maybe",
    "Match",
    "Match nonsense x",
    "Match host",
    "Match host x all y",
    "Match final user x all",
    'Match user ""',
    "ProxyJump bastion:port",
    "ProxyJump @bastion",
    "ProxyCommand echo don't",
    "Include ''",
    "Include {here}",
    "HostName %x",
    "User ok\nMatch exec %x",
)
"""What both refuse; ``{here}`` is the file itself."""


@pytest.mark.parametrize("text", REFUSED)
def test_what_ssh_refuses_of_what_we_use(text: str, tmp_path: Path) -> None:
    """A mistake in an option that counts is told, with its place, also where it is for another host."""
    path = tmp_path / "config"
    path.write_text(text.format(here=path).replace("\\n", "\n") + "\n")
    with pytest.raises(ConfigurationError) as caught:
        EndpointResolver(settings(path), USER.pw_name).resolve(make_host("rig-1"))
    assert caught.value.code == "ssh_config_invalid"
    if VERSION > (0, 0):
        with pytest.raises(subprocess.CalledProcessError):
            printed(path, "rig-1")


@pytest.mark.parametrize(
    "line",
    [
        "ServerAliveInterval often",
        "PubkeyAuthentication some-day",
        "OptionOfNextYear yes",
        "GSSAPIAuthentication",
        "LocalCommand 'open",
        "Compression zstd",
        "ControlPersist 1 2 3",
    ],
)
def test_what_we_do_not_use_never_matters(line: str, tmp_path: Path) -> None:
    """Lines that this ``ssh`` refuses, and a newer one may take."""
    path = tmp_path / "config"
    path.write_text(f"{line}\nUser miner\n")
    assert ours(path, "rig-1").user == "miner"


NEWER: Final = (
    ((9, 4), "Tag farm\nMatch tagged farm\n User miner\n"),
    ((9, 4), "Match tagged ''\n User miner\n"),
    ((9, 4), "Match localnetwork 240.0.0.0/8,127.0.0.0/8\n User miner\n"),
    ((9, 4), "Match !localnetwork=240.0.0.0/8,2001:db8::/32\n User miner\n"),
    ((10, 0), "Match command ''\n User miner\n"),
    ((10, 0), "Match !version OpenSSH_1.*\n User miner\n"),
    ((10, 0), "Match sessiontype shell,exec\n User miner\n"),
    ((10, 0), "User m${{INER}}\n"),
    ((10, 0), "Port 2\nUser m%%\nMatch user m%%\n User root\n"),
    ((10, 0), "Include {folder}/%h.${{INER}} ${{NONE}}/x\n"),
)


@pytest.mark.parametrize(("since", "text"), NEWER, ids=[repr(text) for _, text in NEWER])
def test_what_only_newer_versions_know(
    since: tuple[int, int], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held against ``ssh`` where that is new enough, and against what the manual says in any case."""
    monkeypatch.setitem(ENVIRON, "INER", "iner")
    (tmp_path / "rig-1.iner").write_text("User miner\n")
    path = tmp_path / "config"
    path.write_text(text.format(folder=tmp_path))
    assert ours(path, "rig-1").user == ("m%" if "m%%" in text else "miner")
    if since <= VERSION:
        (tmp_path / "empty").write_text("")
        assert differences(path, "rig-1", printed(tmp_path / "empty", "rig-1")) == []


@pytest.mark.parametrize("text", ["Match localnetwork 10.0.0.1/8", "Match localnetwork many"])
def test_network_that_is_none(text: str, tmp_path: Path) -> None:
    """Newer versions refuse it; older ones refuse any."""
    path = tmp_path / "config"
    path.write_text(text)
    assert _refusal(path, "rig-1") == "ssh_config_invalid"


TOKENS: Final = """
Host rig-1
  HostName localhost
  Port 2
  User miner
  HostKeyAlias Rigs
  IdentityFile ~/.ssh/a-%h-%n-%k-%r-%u-%p-%i-%l-%L-%%
  IdentityFile %d/${{FARM}}/%C
  CertificateFile {folder}/c-%h-%k
"""


@needs_ssh
def test_tokens(tmp_path: Path) -> None:
    """``ssh -G`` prints paths of keys unexpanded, and commands; ``ssh -v`` says what it makes of them."""
    path = tmp_path / "config"
    path.write_text(f"{TOKENS.format(folder=tmp_path)}  ProxyCommand true %h %k %n %p %r\n")
    endpoint = EndpointResolver(settings(path), USER.pw_name).resolve(make_host("rig-1"))
    said = _said(path, "rig-1")
    assert re.findall(r"Executing proxy command: exec (.*)", said) == [endpoint.proxy_command]
    assert [Path(name) for name in re.findall(r"identity file (\S+) type", said)] == list(endpoint.identities)
    assert [Path(name) for name in re.findall(r"(?:certificate file|cert loaded from) (\S+)", said)] == list(
        endpoint.certificates
    )


@needs_ssh
def test_tokens_in_proxy_jump(tmp_path: Path) -> None:
    """They are those of the host behind it. Nothing listens on the port, so that this ``ssh`` gets nowhere."""
    path = tmp_path / "config"
    path.write_text(f"{TOKENS.format(folder=tmp_path)}  ProxyJump %r-%n@%h:1\n")
    (hop,) = EndpointResolver(settings(path), USER.pw_name).resolve(make_host("rig-1")).through
    (command,) = re.findall(r"Executing proxy command: exec \S+ (-l .*)", _said(path, "rig-1"))
    assert (
        re.sub(r"-F \S+ |-v ", "", command) == f"-l {hop.user} -p {hop.port} -W '[localhost]:2' {hop.address}"
    )


def _said(path: Path, address: str) -> str:
    """What ``ssh -v`` says of a connection that fails."""
    command = [SSH or "ssh", "-v", "-F", str(path), address]
    return subprocess.run(
        command, capture_output=True, env=ENVIRON, text=True, check=False, timeout=60
    ).stderr
