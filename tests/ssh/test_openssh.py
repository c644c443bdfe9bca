"""The same against OpenSSH's own server, run on loopback without any privilege; skipped where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

from ionetctl.core.errors import HostTrustError, HostUnreachableError
from ionetctl.core.model.host import Host, Jump
from ionetctl.core.ports import Command
from tests.ssh.servers import agent, connector, known_line, listening, make_host, public, write_key
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.ssh import TransportSettings

USER = pwd.getpwuid(os.getuid()).pw_name
CONFIG = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
{more}
"""


@dataclass(frozen=True)
class Sshd:
    """A running OpenSSH server."""

    port: int
    key: asyncssh.SSHKey

    def host(self, identity: str, jump: tuple[Jump, ...] = ()) -> Host:
        """The inventory's host for it."""
        return make_host(
            port=self.port,
            user=USER,
            identities=(identity,),
            agent=False,
            jump=jump,
            host_keys=(public(self.key),),
        )


@contextlib.asynccontextmanager
async def sshd(
    folder: Path, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, more: str = ""
) -> AsyncIterator[Sshd]:
    """An OpenSSH server that listens, for as long as the block lasts."""
    program = needs("sshd")
    async with listening(_ignore) as port:
        pass
    write_key(host_key, folder / "host_key")
    _write(folder, user_key, CONFIG.format(port=port, folder=folder, more=more))
    process = await asyncio.create_subprocess_exec(
        program, "-D", "-e", "-f", str(folder / "sshd_config"), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(10):
            line = await process.stderr.readline()
            while line and b"listening" not in line:
                line = await process.stderr.readline()
        if not line:
            pytest.skip("sshd does not start here")
        yield Sshd(port, host_key)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


def _write(folder: Path, user_key: asyncssh.SSHKey, config: str) -> None:
    (folder / "authorized_keys").write_text(public(user_key))
    (folder / "sshd_config").write_text(config)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)


def _hash(known_hosts: Path) -> None:
    subprocess.run([needs("ssh-keygen"), "-q", "-H", "-f", str(known_hosts)], check=True, capture_output=True)


async def _ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Only the port matters."""


@pytest.fixture
async def server(host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, tmp_path: Path) -> AsyncIterator[Sshd]:
    async with sshd(tmp_path, host_key, user_key) as running:
        yield running


def shell(script: str) -> Command:
    return Command(("sh", "-c", script), timeout_s=30, idle_s=30, limit_bytes=16 << 20, as_root=False)


async def test_command(server: Sshd, settings: TransportSettings, identity: str) -> None:
    """A command runs, by the cipher that costs least, and its status comes back."""
    async with connector(settings) as ways, ways.connect(server.host(identity)) as session:
        completed = await session.run(shell("printf out; exit 3"))
        cipher = session.connection.get_extra_info("send_cipher")
        seen = session.host_key
    assert (completed.exit_status, completed.stdout, cipher) == (3, b"out", "aes128-gcm@openssh.com")
    assert seen == server.key.get_fingerprint()


async def test_large_payload(server: Sshd, settings: TransportSettings, identity: str) -> None:
    """Many times the bytes that may be in flight arrive unchanged."""
    content = os.urandom(1 << 20) * 8
    async with connector(settings) as ways, ways.connect(server.host(identity)) as session:
        completed = await session.run(shell("cat"), stdin=content)
    assert completed.stdout == content


async def test_hashed_known_hosts(
    server: Sshd, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """A file that ssh-keygen hashed is understood."""
    path = tmp_path / "known_hosts"
    path.write_text(known_line(server.key, f"[127.0.0.1]:{server.port}"))
    _hash(path)
    host = server.host(identity)
    unpinned = replace(host, ssh=replace(host.ssh, host_keys=()))
    async with connector(settings) as ways, ways.connect(unpinned) as session:
        assert (await session.run(shell("echo hello"))).stdout == b"hello\n"
    assert "127.0.0.1" not in path.read_text()


async def test_jump_host(server: Sshd, settings: TransportSettings, identity: str, tmp_path: Path) -> None:
    """Hosts behind an OpenSSH jump host are reached, several at once."""
    (tmp_path / "known_hosts").write_text(known_line(server.key, f"[localhost]:{server.port}"))
    host = server.host(identity, jump=(Jump("localhost", server.port, USER),))
    async with connector(settings) as ways:

        async def hello() -> bytes:
            async with ways.connect(host) as session:
                return (await session.run(shell("echo hello"))).stdout

        assert await asyncio.gather(*(hello() for _ in range(5))) == [b"hello\n"] * 5


def _certify(folder: Path, authority: asyncssh.SSHKey, *options: str) -> None:
    """Have ssh-keygen certify the server's key, as a site's admin would."""
    write_key(authority, folder / "host_ca")
    (folder / "host_key.pub").write_text(
        asyncssh.read_private_key(folder / "host_key").export_public_key().decode()
    )
    sign = [needs("ssh-keygen"), "-q", "-s", str(folder / "host_ca"), "-I", "rig-1", "-h", *options]
    subprocess.run([*sign, str(folder / "host_key.pub")], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        pytest.param(("-n", "127.0.0.1"), None, id="good"),
        pytest.param(
            ("-n", "127.0.0.1", "-V", "20200101:20200102"), "host_certificate_expired", id="expired"
        ),
        pytest.param(("-n", "rig-2.example"), "host_certificate_wrong_name", id="another name"),
        pytest.param((), "host_certificate_wrong_name", id="no name"),
    ],
)
@pytest.mark.parametrize("is_in_inventory", [True, False], ids=["inventory", "known_hosts"])
async def test_host_certificate_of_ssh_keygen(
    *,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    settings: TransportSettings,
    identity: str,
    tmp_path: Path,
    options: tuple[str, ...],
    code: str | None,
    is_in_inventory: bool,
) -> None:
    """The HostCertificate of a real sshd holds where its CA is named, in either place, and says why where it does not."""
    write_key(host_key, tmp_path / "host_key")
    _certify(tmp_path, other_key, *options)
    certified = f"HostCertificate {tmp_path}/host_key-cert.pub"
    if not is_in_inventory:
        (tmp_path / "known_hosts").write_text(known_line(other_key, "[127.0.0.1]:*", "@cert-authority"))
    async with sshd(tmp_path, host_key, user_key, certified) as server, connector(settings) as ways:
        host = server.host(identity)
        authorities = (public(other_key),) if is_in_inventory else ()
        ssh = replace(host.ssh, host_keys=(), host_authorities=authorities)
        if code is None:
            async with ways.connect(replace(host, ssh=ssh)) as session:
                assert (await session.run(shell("echo hello"))).stdout == b"hello\n"
            return
        with pytest.raises(HostTrustError) as caught:
            async with ways.connect(replace(host, ssh=ssh)):
                pass
    assert caught.value.code == code


@pytest.mark.parametrize("is_authority", [True, False], ids=["CA", "key"])
async def test_revoked_host_certificate(
    *,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    settings: TransportSettings,
    identity: str,
    tmp_path: Path,
    is_authority: bool,
) -> None:
    """A @revoked CA, or a @revoked key under a good certificate, is refused though the inventory names the CA."""
    write_key(host_key, tmp_path / "host_key")
    _certify(tmp_path, other_key, "-n", "127.0.0.1")
    revoked = other_key if is_authority else host_key
    (tmp_path / "known_hosts").write_text(known_line(revoked, "*", "@revoked"))
    certified = f"HostCertificate {tmp_path}/host_key-cert.pub"
    async with sshd(tmp_path, host_key, user_key, certified) as server, connector(settings) as ways:
        host = server.host(identity)
        ssh = replace(host.ssh, host_keys=(), host_authorities=(public(other_key),))
        with pytest.raises(HostTrustError) as caught:
            async with ways.connect(replace(host, ssh=ssh)):
                pass
    assert caught.value.code == "host_key_revoked"


THROTTLED = "MaxStartups 5:50:10"


@pytest.fixture
async def throttled(
    host_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, tmp_path: Path
) -> AsyncIterator[tuple[Sshd, Sshd]]:
    """A jump host and a host, both of which drop connections beyond five that are not logged in."""
    folders = [tmp_path / name for name in ("jump", "host")]
    for folder in folders:
        folder.mkdir()
    async with (
        sshd(folders[0], other_key, user_key, THROTTLED) as jump,
        sshd(folders[1], host_key, user_key, THROTTLED) as host,
    ):
        yield jump, host


async def test_thirty_hosts_behind_a_throttled_jump_host(
    throttled: tuple[Sshd, Sshd], settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """All are reached: what sshd drops, there or at the hosts, waits and tries again."""
    jump, server = throttled
    (tmp_path / "known_hosts").write_text(known_line(jump.key, f"[localhost]:{jump.port}"))
    host = server.host(identity, jump=(Jump("localhost", jump.port, USER),))
    async with connector(settings) as ways:

        async def hello() -> bytes:
            async with ways.connect(host) as session:
                return (await session.run(shell("echo hello"))).stdout

        assert await asyncio.gather(*(hello() for _ in range(30))) == [b"hello\n"] * 30


async def test_jump_host_that_dies_and_comes_back(
    throttled: tuple[Sshd, Sshd], settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """Its hosts end as jump_failed, a direct one goes on; once it is back it is used again."""
    jump, server = throttled
    way: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", jump.port)
        way.extend((writer, there[1]))
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    def die(_: bytes) -> None:
        for end in way:
            end.transport.abort()

    async with listening(relay) as port, connector(settings) as ways:
        (tmp_path / "known_hosts").write_text(known_line(jump.key, f"[localhost]:{port}"))
        behind = server.host(identity, jump=(Jump("localhost", port, USER),))
        async with ways.connect(server.host(identity)) as direct:
            async with ways.connect(behind) as session:
                with pytest.raises(HostUnreachableError) as caught:
                    await session.run(shell("echo begun; exec sleep 20"), on_line=die)
            assert (await direct.run(shell("echo hello"))).stdout == b"hello\n"
        async with ways.connect(behind) as session:
            assert (await session.run(shell("echo hello"))).stdout == b"hello\n"
    assert (caught.value.code, "is it switched on" in caught.value.hint) == ("jump_failed", True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()


async def test_jump_host_without_forwarding(
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    settings: TransportSettings,
    identity: str,
    tmp_path: Path,
) -> None:
    """OpenSSH's own words for a forbidden forwarding are understood."""
    async with sshd(tmp_path, host_key, user_key, "AllowTcpForwarding no") as server:
        (tmp_path / "known_hosts").write_text(known_line(server.key, f"[localhost]:{server.port}"))
        host = server.host(identity, jump=(Jump("localhost", server.port, USER),))
        async with connector(settings) as ways:
            with pytest.raises(HostUnreachableError) as caught:
                async with ways.connect(host):
                    pass
    assert caught.value.code == "jump_failed"


async def test_agent_key_counts_before_the_default_files(
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    settings: TransportSettings,
    tmp_path: Path,
) -> None:
    """It closes after six keys (MaxAuthTries, as shipped): the agent's fifth is right, the usual files are not."""
    wrong = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(7)]
    files = [Path(write_key(key, tmp_path / f"id_{number}")) for number, key in enumerate(wrong[:3])]
    async with (
        sshd(tmp_path, host_key, user_key) as server,
        agent(tmp_path, *wrong[3:], user_key) as socket,
    ):
        usual = replace(settings, default_identities=tuple(files), agent_path=socket)
        host = server.host("")
        offering = replace(host, ssh=replace(host.ssh, identities=(), agent=True))
        async with connector(usual) as ways, ways.connect(offering) as session:
            assert (await session.run(shell("echo hello"))).stdout == b"hello\n"


async def test_drop_in_the_middle(server: Sshd, settings: TransportSettings, identity: str) -> None:
    """A server process that dies takes the command with it, and that is no success."""
    async with connector(settings) as ways, ways.connect(server.host(identity)) as session:
        with pytest.raises(HostUnreachableError) as caught:
            await session.run(shell('kill -9 $(ps -o ppid= -p "$PPID") $PPID; sleep 20'))
    assert (caught.value.code, caught.value.transient) == ("connection_lost", True)
