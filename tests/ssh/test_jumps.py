"""Hosts behind jump hosts: one shared connection each, strict, and never bypassed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostError, HostFailedError, HostTrustError, HostUnreachableError
from ionetctl.core.model.host import Jump
from ionetctl.core.ports import Command
from ionetctl.ssh.config.endpoint import Endpoint
from ionetctl.ssh.jumps import ATTEMPTS, FIRST_DELAY_S, LONGEST_DELAY_S, JumpHost, JumpHosts
from ionetctl.ssh.limits.adaptive_limit import AdaptiveLimit
from ionetctl.ssh.limits.handshakes import Handshakes
from tests.ssh.servers import PASSWORD, SECRETS, Behaviour, Server, connector, listening, serve
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncssh

    from ionetctl.core.model.host import Host
    from ionetctl.ssh import SshConnector, TransportSettings

HELLO = Command(("echo", "hello"), timeout_s=40, idle_s=40, as_root=False)


@pytest.fixture
async def site(
    host_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, tmp_path: Path
) -> AsyncIterator[tuple[Server, Server, Server]]:
    """Two jump hosts, known to known_hosts, and a host."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serve(Behaviour(authorized=[user_key]), key))
            for key in (other_key, other_key, host_key)
        ]
        (tmp_path / "known_hosts").write_text("".join(server.line() for server in servers))
        yield servers[0], servers[1], servers[2]


def via(*servers: Server) -> tuple[Jump, ...]:
    return tuple(Jump("127.0.0.1", server.port, "ops") for server in servers)


async def hello(ways: SshConnector, host: Host) -> bytes:
    async with ways.connect(host) as session:
        return (await session.run(HELLO)).stdout


async def test_many_hosts_share_one_connection(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """Twenty hosts at once through a chain of two open one connection to each jump host."""
    near, far, server = site
    host = server.host(identities=(identity,), jump=via(near, far))
    async with connector(settings) as ways:
        said = await asyncio.gather(*(hello(ways, host) for _ in range(20)))
    counts = [len(each.behaviour.connections) for each in site]
    assert (said, counts) == ([b"hello\n"] * 20, [1, 1, 20])
    assert near.behaviour.forwarded_to == [("127.0.0.1", far.port)]
    assert far.behaviour.forwarded_to == [("127.0.0.1", server.port)] * 20


async def test_handshakes_through_a_jump_host_are_limited(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """No more hosts shake hands through a jump host at a time than the settings say."""
    near, _, server = site
    host = server.host(identities=(identity,), jump=via(near))
    async with connector(replace(settings, handshakes_per_jump=1)) as ways:
        said = await asyncio.gather(*(hello(ways, host) for _ in range(5)))
    assert said == [b"hello\n"] * 5


async def test_broken_jump_connection_is_opened_again(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """A jump connection that broke is replaced for the next host."""
    near, _, server = site
    host = server.host(identities=(identity,), jump=via(near))
    async with connector(settings) as ways:
        async with ways.connect(host) as session:
            near.behaviour.connections[0].abort()
            await session.connection.wait_closed()
        assert await hello(ways, host) == b"hello\n"
    assert len(near.behaviour.connections) == 2


async def test_jump_host_that_dies_is_what_its_hosts_end_with(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """Commands under way behind it end as jump_failed, with its name; one on another way goes on."""
    near, _, server = site
    behind = server.host(identities=(identity,), jump=via(near))
    slow = Command(("sh", "-c", "echo begun; exec sleep 60"), timeout_s=40, idle_s=40, as_root=False)
    async with (
        connector(settings) as ways,
        ways.connect(server.host(identities=(identity,))) as direct,
        ways.connect(behind) as session,
    ):
        with pytest.raises(HostUnreachableError) as caught:
            await session.run(slow, on_line=lambda _: near.behaviour.connections[0].abort())
        assert (await direct.run(HELLO)).stdout == b"hello\n"
        with pytest.raises(HostUnreachableError) as next_caught:
            await session.run(HELLO)
    assert {(error.value.code, error.value.transient) for error in (caught, next_caught)} == {
        ("jump_failed", True)
    }
    assert f"jump host ops@127.0.0.1:{near.port} was lost" in caught.value.message
    assert caught.value.hint


async def test_unused_jump_connection_is_closed(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """After its last host a jump connection is given up, and opened again when needed."""
    near, _, server = site
    host = server.host(identities=(identity,), jump=via(near))
    async with connector(replace(settings, jump_linger_s=0)) as ways:
        await hello(ways, host)
        await near.behaviour.connections[0].wait_closed()
        assert await hello(ways, host) == b"hello\n"
    assert len(near.behaviour.connections) == 2


async def test_password_is_not_offered_to_a_jump_host(
    host_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey, settings: TransportSettings, tmp_path: Path
) -> None:
    """The host's password is nobody else's; the host itself does get it."""
    asks, rig = Behaviour(password=SECRETS["PASSWORD"]), Behaviour(password=SECRETS["PASSWORD"])
    async with serve(asks, other_key) as jump, serve(rig, host_key) as server:
        (tmp_path / "known_hosts").write_text(jump.line())
        async with connector(settings) as ways:
            with pytest.raises(HostFailedError) as caught:
                await hello(ways, server.host(password=PASSWORD, jump=via(jump)))
            assert await hello(ways, server.host(password=PASSWORD)) == b"hello\n"
    assert caught.value.code == "auth_failed"
    assert caught.value.message.startswith(f"jump host ops@127.0.0.1:{jump.port}: ")
    assert (asks.passwords_seen, rig.passwords_seen) == ([], [SECRETS["PASSWORD"]])


async def test_jump_host_key_is_strict(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """A jump host that known_hosts does not know is refused, once for all its hosts, and told as such."""
    near, _, server = site
    (tmp_path / "known_hosts").write_text(server.line())
    host = server.host(identities=(identity,), jump=via(near))
    async with connector(settings) as ways:
        for _ in range(3):
            with pytest.raises(HostTrustError) as caught:
                await hello(ways, host)
    assert caught.value.code == "host_key_unknown"
    assert caught.value.message.startswith(f"jump host ops@127.0.0.1:{near.port}: ")
    assert (len(near.behaviour.connections), server.behaviour.connections) == (1, [])


async def test_host_behind_a_jump_host_is_strict(
    site: tuple[Server, Server, Server],
    settings: TransportSettings,
    identity: str,
    other_key: asyncssh.SSHKey,
) -> None:
    """The host's own key is checked through the tunnel as it is without."""
    near, _, server = site
    pin = other_key.get_fingerprint()
    host = server.host(identities=(identity,), jump=via(near), host_keys=(pin,))
    async with connector(settings) as ways:
        with pytest.raises(HostTrustError) as caught:
            await hello(ways, host)
    assert caught.value.code == "host_key_changed"


async def test_jump_host_that_forbids_forwarding(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """A jump host that does not forward is named, with the option that it lacks."""
    near, _, server = site
    near.behaviour.forwards = False
    async with connector(settings) as ways:
        with pytest.raises(HostUnreachableError) as caught:
            await hello(ways, server.host(identities=(identity,), jump=via(near)))
    assert caught.value.code == "jump_failed"
    assert "AllowTcpForwarding" in caught.value.hint


async def test_host_that_refuses_behind_a_jump_host(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """A closed port behind a jump host is the host's failure, with the way there named."""
    near, _, server = site
    async with listening(_hang_up) as port:
        pass
    async with connector(settings) as ways:
        with pytest.raises(HostUnreachableError) as caught:
            await hello(ways, server.host(identities=(identity,), jump=via(near), port=port))
    assert caught.value.code == "connect_refused"
    assert f"(through ops@127.0.0.1:{near.port})" in caught.value.message


async def test_unreachable_jump_host(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str
) -> None:
    """A jump host that is not there makes its hosts unreachable, with a retry worth its while."""
    near, _, server = site
    async with listening(_hang_up) as port:
        pass
    jump = (Jump("127.0.0.1", port, "ops"),)
    async with connector(settings) as ways:
        with pytest.raises(HostUnreachableError) as caught:
            await hello(ways, server.host(identities=(identity,), jump=jump))
    assert (caught.value.code, caught.value.transient) == ("jump_failed", True)
    assert near.behaviour.connections == []


async def test_jump_host_that_drops_us_before_it_speaks_is_tried_again(
    site: tuple[Server, Server, Server], settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """MaxStartups drops connections at random; patience gets through."""
    near, _, server = site
    dropped = 0

    async def drop_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dropped
        if dropped < 2:
            dropped += 1
            return
        there = await asyncio.open_connection("127.0.0.1", near.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, there[1]))
            group.create_task(_copy(there[0], writer))

    async with listening(drop_twice) as port:
        (tmp_path / "known_hosts").write_text(server.line() + near.line().replace(str(near.port), str(port)))
        async with connector(settings) as ways:
            host = server.host(identities=(identity,), jump=(Jump("127.0.0.1", port, "ops"),))
            assert (await hello(ways, host), dropped) == (b"hello\n", 2)


def endpoint() -> Endpoint:
    return Endpoint("10.0.0.1", 22, "ops", "10.0.0.1", 22, ())


@pytest.mark.parametrize(
    ("error", "dialled"),
    [
        (HostUnreachableError("connection_lost", "gone", transient=True), ATTEMPTS),
        (HostUnreachableError("connect_timeout", "no answer", transient=True), 1),
        (HostFailedError("auth_failed", "no key fits"), 1),
        (HostTrustError("host_key_changed", "another key"), 1),
    ],
    ids=lambda value: value.code if isinstance(value, HostError) else None,
)
async def test_only_a_dropped_jump_connection_is_dialled_again(error: HostError, dialled: int) -> None:
    """Eight times in all, with waits that double give or take a half; then the failure is remembered."""
    clock, seen = ManualClock(), []

    async def dial(target: Endpoint, parent: JumpHost | None) -> asyncssh.SSHClientConnection:
        seen.append((target, parent))
        raise error

    def handshakes() -> Handshakes:
        return Handshakes(AdaptiveLimit(1, 1, 1, slow_s=5.0))

    jumps = JumpHosts(dial, handshakes, linger_s=60, sleep=clock.sleep)
    for _ in range(2):
        with pytest.raises(type(error)):
            async with jumps.through((endpoint(),)):
                pass
    await jumps.close()
    assert seen == [(endpoint(), None)] * dialled
    usual_s = [min(LONGEST_DELAY_S, FIRST_DELAY_S * 2**number) for number in range(dialled - 1)]
    assert [0.5 <= slept / usual <= 1.5 for slept, usual in zip(clock.slept, usual_s, strict=True)] == [
        True
    ] * (dialled - 1)


async def test_chain_that_leads_in_a_circle(
    site: tuple[Server, Server, Server], settings: TransportSettings
) -> None:
    """A jump host that is reached through the host itself has no way to it."""
    _, _, server = site
    async with connector(settings) as ways:
        with pytest.raises(HostError) as caught:
            await hello(ways, server.host(jump=(Jump("127.0.0.1", server.port),)))
    assert caught.value.code == "jump_loop"


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()
