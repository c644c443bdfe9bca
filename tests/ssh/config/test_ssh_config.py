"""The inventory first, then ~/.ssh/config as OpenSSH reads it, then the defaults."""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Jump
from ionetctl.ssh import TransportSettings
from ionetctl.ssh.config.endpoint import Endpoint, EndpointResolver
from ionetctl.ssh.config.jump_list import parse_jumps
from ionetctl.ssh.config.local_addresses import local_addresses
from tests.ssh.servers import PASSPHRASE, PASSWORD, Behaviour, connector, make_host, serve

if TYPE_CHECKING:
    import asyncssh


def resolve(config: str, tmp_path: Path, address: str = "rig-1.example", **ssh: Any) -> Endpoint:
    """The endpoint of a host under an SSH configuration."""
    path = tmp_path / "config"
    path.write_text(config)
    settings = TransportSettings(
        ssh_config=(path,),
        known_hosts=(Path("/home/ops/known_hosts"),),
        system_known_hosts=(),
        agent_path="/run/agent",
        default_identities=(Path("/home/ops/id_ed25519"),),
    )
    return EndpointResolver(settings, "ops").resolve(make_host(address, **ssh))


def test_defaults(tmp_path: Path) -> None:
    """Where nobody says anything, it is as with OpenSSH."""
    assert resolve("", tmp_path, "Rig-1.Example") == Endpoint(
        address="rig-1.example",
        port=22,
        user="ops",
        known_name="rig-1.example",
        known_port=22,
        known_hosts=(Path("/home/ops/known_hosts"),),
        identities=(Path("/home/ops/id_ed25519"),),
        agent_path="/run/agent",
    )


FULL = """
Host rig-*.example !rig-9.example
  HostName %h.internal
  User miner
  Port 2222
  IdentityFile /keys/rig
  CertificateFile /keys/rig-cert.pub
  UserKnownHostsFile /keys/known /keys/more
  GlobalKnownHostsFile /etc/known
  IdentitiesOnly yes
  IdentityAgent /run/other
Host *
  User nobody
"""


def test_configuration_fills_what_the_inventory_leaves_open(tmp_path: Path) -> None:
    """Every option that reaches a host is honoured, the first match counting."""
    assert resolve(FULL, tmp_path) == Endpoint(
        address="rig-1.example.internal",
        port=2222,
        user="miner",
        known_name="rig-1.example.internal",
        known_port=2222,
        known_hosts=(Path("/keys/known"), Path("/keys/more")),
        system_known_hosts=(Path("/etc/known"),),
        identities=(Path("/keys/rig"),),
        certificates=(Path("/keys/rig-cert.pub"),),
        agent_path="/run/other",
        is_agent_limited=True,
    )


def test_inventory_goes_first(tmp_path: Path) -> None:
    """What the inventory says is not overruled."""
    endpoint = resolve(
        FULL, tmp_path, user="root", port=22, identities=("/mine",), certificate="/mine-cert", agent=False
    )
    facts = (endpoint.user, endpoint.port, endpoint.identities, endpoint.certificates, endpoint.agent_path)
    assert facts == ("root", 22, (Path("/mine"),), (Path("/mine-cert"),), None)
    assert endpoint.required == {Path("/mine"), Path("/mine-cert")}


@pytest.mark.parametrize(
    ("config", "user"),
    [
        pytest.param("Host rig-9.example\n User other", "ops", id="another host"),
        pytest.param("Host rig-?.example\n User miner", "miner", id="question mark"),
        pytest.param("Host *.example !rig-1.example\n User other", "ops", id="negated"),
        pytest.param("Match host rig-1.*\n User miner", "miner", id="match host"),
        pytest.param("Match localuser ops\n User miner", "miner", id="match localuser"),
        pytest.param("Match all\n User miner", "miner", id="match all"),
        pytest.param("Include {more}", "included", id="include"),
        pytest.param("User=miner", "miner", id="equals sign"),
    ],
)
def test_matching(tmp_path: Path, config: str, user: str) -> None:
    """Host, Match and Include choose as OpenSSH does."""
    more = tmp_path / "more"
    more.write_text("Host *\n  User included\n")
    assert resolve(config.format(more=more), tmp_path).user == user


@pytest.mark.parametrize(
    ("config", "expected"),
    [("IdentityAgent none", None), ("IdentityAgent SSH_AUTH_SOCK", "/run/agent"), ("", "/run/agent")],
)
def test_agent(tmp_path: Path, config: str, expected: str | None) -> None:
    """IdentityAgent names a socket, our variable, or none."""
    assert resolve(config, tmp_path).agent_path == expected


def test_host_key_alias(tmp_path: Path) -> None:
    """An alias is looked up as it is, without a port."""
    endpoint = resolve("HostKeyAlias rigs\nPort 2222", tmp_path)
    assert (endpoint.port, endpoint.known_name, endpoint.known_port) == (2222, "rigs", 22)


def test_proxy_command(tmp_path: Path) -> None:
    """ProxyCommand is honoured, with its tokens, where there is no jump host."""
    config = "ProxyCommand nc -X 5 %h %p"
    assert resolve(config, tmp_path).proxy_command == "nc -X 5 rig-1.example 22"
    assert resolve(config, tmp_path, jump=(Jump("bastion"),)).proxy_command is None


@pytest.mark.parametrize("config", ["Port many", "Host", "Match nonsense x\n", "User 'open"])
def test_broken_configuration(tmp_path: Path, config: str) -> None:
    """A configuration that cannot be read is a mistake with a place."""
    with pytest.raises(ConfigurationError) as caught:
        resolve(config, tmp_path)
    assert (caught.value.code, "line 1" in caught.value.message) == ("ssh_config_invalid", True)


def test_hosts_of_a_kind_are_answered_alike(tmp_path: Path) -> None:
    """Hosts that match other lines get other answers, those that match the same ones their own address."""
    path = tmp_path / "config"
    path.write_text("Host rack-a-* # first\n User a\nHOST=rack-b-? other\n User b\n")
    resolver = EndpointResolver(TransportSettings(ssh_config=(path,)), "ops")
    names = ("rack-a-1", "rack-a-2", "rack-b-1", "other", "rack-c-1")
    assert [str(resolver.resolve(make_host(name))) for name in names] == [
        "a@rack-a-1",
        "a@rack-a-2",
        "b@rack-b-1",
        "b@other",
        "ops@rack-c-1",
    ]


def test_files_are_read_once_for_hosts_of_a_kind(tmp_path: Path) -> None:
    """The second host of a kind does not touch the file; it could not."""
    path = tmp_path / "config"
    path.write_text("Host rig-*\n User miner\n")
    resolver = EndpointResolver(TransportSettings(ssh_config=(path,)), "ops")
    resolver.resolve(make_host("rig-1"))
    path.unlink()
    assert str(resolver.resolve(make_host("rig-2"))) == "miner@rig-2"


# --- jump hosts ------------------------------------------------------------------------------------------------------

JUMPS = """
Host rig-*
  ProxyJump far
Host far
  HostName far.example
  User jumper
  ProxyJump near:2200
Host near
  IdentityFile /keys/near
"""


def names(endpoint: Endpoint) -> list[str]:
    return [str(hop) for hop in endpoint.through]


def test_proxy_jump_is_resolved_to_its_end(tmp_path: Path) -> None:
    """A jump host's own ProxyJump and options count, as they do for ssh."""
    endpoint = resolve(JUMPS, tmp_path)
    assert names(endpoint) == ["ops@near:2200", "jumper@far.example"]
    assert [hop.identities for hop in endpoint.through] == [
        (Path("/keys/near"),),
        (Path("/home/ops/id_ed25519"),),
    ]


def test_inventorys_jump_is_the_same_as_proxy_jump(tmp_path: Path) -> None:
    """Both ways of naming a chain lead to equal endpoints, which share a connection."""
    by_inventory = resolve(JUMPS, tmp_path, jump=(Jump("near", 2200), Jump("far")))
    assert by_inventory.through == resolve(JUMPS, tmp_path).through


@pytest.mark.parametrize(("jump", "expected"), [((), []), (None, ["ops@near:2200", "jumper@far.example"])])
def test_empty_chain_means_directly(
    tmp_path: Path, jump: tuple[Jump, ...] | None, expected: list[str]
) -> None:
    """An inventory that says "no jump host" overrules ProxyJump; one that is silent does not."""
    assert names(resolve(JUMPS, tmp_path, jump=jump)) == expected


def test_jump_host_gets_keys_but_no_password(tmp_path: Path) -> None:
    """The inventory's key may open a jump host; the password is the host's alone."""
    (hop,) = resolve(
        "",
        tmp_path,
        jump=(Jump("bastion", None, "ops"),),
        identities=("/k",),
        passphrase=PASSPHRASE,
        password=PASSWORD,
    ).through
    assert (hop.identities, hop.passphrase, hop.password) == ((Path("/k"),), PASSPHRASE, None)


def test_circle(tmp_path: Path) -> None:
    """Jump hosts that lead to each other have no end, and the message shows the circle."""
    with pytest.raises(ConfigurationError) as caught:
        resolve("Host a\n ProxyJump b\nHost b\n ProxyJump a\n", tmp_path, "a")
    assert caught.value.message == "the jump hosts of a:22 lead in a circle: a:22 → b:22 → a:22"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", ()),
        ("bastion", (Jump("bastion"),)),
        ("ops@bastion:2222", (Jump("bastion", 2222, "ops"),)),
        ("ssh://ops@bastion:2222", (Jump("bastion", 2222, "ops"),)),
        ("a,b@c", (Jump("a"), Jump("c", None, "b"))),
        ("[2001:db8::1]:22", (Jump("2001:db8::1", 22),)),
        ("fe80::1", (Jump("fe80::1"),)),
        ("u@corp@bastion", (Jump("bastion", None, "u@corp"),)),
        ("", None),
        ("bastion:port", None),
    ],
)
def test_parse_jumps(text: str, expected: tuple[Jump, ...] | None) -> None:
    """The ways to write a chain of jump hosts."""
    if expected is None:
        with pytest.raises(ValueError, match="not a jump host"):
            parse_jumps(text)
    else:
        assert parse_jumps(text) == expected


def test_endpoints_name_ipv6_addresses_so_that_a_port_can_follow(tmp_path: Path) -> None:
    """Messages write an IPv6 address in brackets."""
    assert str(resolve("", tmp_path, "2001:db8::1", user="miner", port=2222)) == "miner@[2001:db8::1]:2222"


def test_settings_for_a_home_name_openssh_s_files(tmp_path: Path) -> None:
    """The files of a user are those that ssh would read; a configuration only where there is one."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    without = TransportSettings.for_home(tmp_path, {}, "/run/agent")
    (folder / "config").write_text("")
    with_config = TransportSettings.for_home(tmp_path, {}, accept_new=True)
    assert without.known_hosts == (folder / "known_hosts", folder / "known_hosts2")
    assert folder / "config" not in (without.ssh_config or ())
    assert folder / "config" in (with_config.ssh_config or ())
    assert (without.agent_path, without.accept_new, with_config.accept_new) == ("/run/agent", False, True)


async def test_configured_host_is_reached(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """A host that only ~/.ssh/config knows how to reach is reached."""
    async with serve(Behaviour(authorized=[user_key]), host_key) as server:
        config, known = tmp_path / "config", tmp_path / "mine"
        config.write_text(
            f"Host rig\n HostName 127.0.0.1\n Port {server.port}\n User miner\n IdentityFile {identity}\n"
            f" UserKnownHostsFile {known}\n"
        )
        known.write_text(server.line())
        async with (
            connector(replace(settings, ssh_config=(config,))) as ways,
            ways.connect(make_host("rig")) as session,
        ):
            assert session.where == f"miner@127.0.0.1:{server.port}"


async def test_new_key_is_recorded_in_the_file_that_tokens_name(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """`--accept-new` writes to the host's own file where UserKnownHostsFile has %k in it."""
    async with serve(Behaviour(authorized=[user_key]), host_key) as server:
        config = tmp_path / "config"
        config.write_text(
            f"Host rig\n HostName 127.0.0.1\n Port {server.port}\n IdentityFile {identity}\n"
            f" UserKnownHostsFile {tmp_path}/known.d/%k\n"
        )
        accepting = replace(settings, ssh_config=(config,), accept_new=True)
        async with connector(accepting) as ways, ways.connect(make_host("rig")):
            pass
    assert [path.name for path in (tmp_path / "known.d").iterdir()] == ["rig"]
    assert (tmp_path / "known.d" / "rig").read_text() == server.line()


async def test_new_key_without_any_file_to_record_it_in(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """With UserKnownHostsFile none it holds for this rollout."""
    async with serve(Behaviour(authorized=[user_key]), host_key) as server:
        config = tmp_path / "config"
        config.write_text(
            "UserKnownHostsFile none\nGlobalKnownHostsFile none\nHostKeyAlias \xe9\n", "latin-1"
        )
        accepting = replace(settings, ssh_config=(config,), accept_new=True)
        async with connector(accepting) as ways:
            for _ in range(2):
                async with ways.connect(server.host(identities=(identity,), host_keys=())):
                    pass
    assert not (tmp_path / "known_hosts").exists()


RELAY = """
import os, socket, sys, threading
print("hello", file=sys.stderr)
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def forth():
    while data := os.read(0, 65536):
        there.sendall(data)
threading.Thread(target=forth, daemon=True).start()
while data := there.recv(65536):
    os.write(1, data)
"""


@pytest.mark.parametrize("silence", ["", "2>/dev/null"])
async def test_proxy_command_is_run_by_the_shell(
    *,
    silence: str,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """What the shell knows counts, as with ssh: quotes, redirections, variables, comments."""
    (tmp_path / "a relay.py").write_text(RELAY)
    async with serve(Behaviour(authorized=[user_key]), host_key) as server:
        config = tmp_path / "config"
        config.write_text(f"ProxyCommand {sys.executable} '{tmp_path}/a relay.py' %h %p {silence} # relay\n")
        proxied = replace(settings, ssh_config=(config,))
        async with connector(proxied) as ways:
            host = server.host(identities=(identity,))
            await ways.check([host])
            async with ways.connect(host) as session:
                assert session.where == f"miner@127.0.0.1:{server.port}"


def test_command_of_a_match_is_bounded_and_run_once(tmp_path: Path) -> None:
    """A command that does not end is a mistake with a name; one that does is asked once for the same words."""
    path, log = tmp_path / "config", tmp_path / "log"
    path.write_text(f'Match exec "echo x >> {log}"\n User miner\n')
    resolver = EndpointResolver(TransportSettings(ssh_config=(path,)), "ops")
    assert {str(resolver.resolve(make_host(name))) for name in ("a", "b")} == {"miner@a", "miner@b"}
    assert log.read_text() == "x\n"
    path.write_text('Match exec "exec sleep 600"\n User miner\n')
    hurried = TransportSettings(ssh_config=(path,), connect_timeout_s=0.05)
    with pytest.raises(ConfigurationError, match=r"Match exec 'exec sleep 600' did not end within 0\.05 s"):
        EndpointResolver(hurried, "ops").resolve(make_host("a"))


def test_configuration_that_others_may_write_to(tmp_path: Path) -> None:
    """It may run commands, so it is refused, as by ssh."""
    path = tmp_path / "config"
    path.write_text("User miner\n")
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match=r"others than you may write to it \(chmod go-w\)"):
        EndpointResolver(TransportSettings(ssh_config=(path,)), "ops").resolve(make_host("a"))


def test_relative_include_and_home(tmp_path: Path) -> None:
    """Names in an Include line are those of ~/.ssh, in the order of their letters."""
    folder = tmp_path / ".ssh" / "conf.d"
    folder.mkdir(parents=True)
    (folder / "folder").mkdir()
    for name in ("b", "C", "a"):
        (folder / name).write_text(f"User {name}\nIdentityFile ~/{name}\n")
    path = tmp_path / "config"
    path.write_text("Include conf.d/*\nIdentityFile ~\nUserKnownHostsFile none\n")
    settings = TransportSettings(ssh_config=(path,), home=tmp_path, known_hosts=(Path("/known"),))
    endpoint = EndpointResolver(settings, "ops").resolve(make_host("rig"))
    assert (endpoint.user, endpoint.known_hosts) == ("C", ())
    assert endpoint.identities == tuple(tmp_path / name for name in ("C", "a", "b", ""))


@pytest.mark.parametrize("value", ["none", "NONE"])
def test_no_identity_at_all(tmp_path: Path, value: str) -> None:
    """`IdentityFile none` leaves out the default ones, too."""
    assert resolve(f"IdentityFile {value}", tmp_path).identities == ()


def test_shell_of_the_environment() -> None:
    """Commands are run by the user's shell."""
    assert TransportSettings(environ={"SHELL": "/bin/zsh"}).shell == "/bin/zsh"
    assert TransportSettings().shell == "/bin/sh"


def test_directly_means_without_a_proxy_command(tmp_path: Path) -> None:
    """`jump: none` connects directly, whatever the SSH configuration says."""
    endpoint = resolve("ProxyCommand nc %h %p\nProxyJump bastion\n", tmp_path, jump=())
    assert (endpoint.proxy_command, endpoint.through) == (None, ())


def test_addresses_of_this_machine() -> None:
    """Loopback is among them; an interface that is down, or has no address, is not."""
    assert ip_address("127.0.0.1") in local_addresses()
