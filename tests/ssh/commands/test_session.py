"""Commands over a real connection: what goes in, what comes out, and how they end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import HostError, HostFailedError, HostUnreachableError
from ionetctl.core.ports import Command, Completed
from ionetctl.ssh.commands.session import SMALL_BYTES
from tests.ssh.servers import Behaviour, Server, connector, serve, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncssh

    from ionetctl.ssh import SshSession, TransportSettings
    from tests.ssh.servers import Handler


def shell(script: str, **bounds: Any) -> Command:
    """A command that is not root's, with generous bounds unless told otherwise."""
    limits: dict[str, Any] = {"timeout_s": 20, "idle_s": 20, "as_root": False}
    return Command(("sh", "-c", script), **{**limits, **bounds})


class Rig:
    """A server and the way to a session on it."""

    def __init__(
        self, settings: TransportSettings, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, identity: str
    ) -> None:
        self._settings, self._host_key, self._user_key, self._identity = (
            settings,
            host_key,
            user_key,
            identity,
        )

    @asynccontextmanager
    async def session(
        self, handler: Handler | None = None, *, settings: dict[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[tuple[SshSession, Server]]:
        behaviour = Behaviour(authorized=[self._user_key], handler=handler)
        async with (
            serve(behaviour, self._host_key, **options) as server,
            connector(replace(self._settings, **(settings or {}))) as ways,
            ways.connect(server.host(identities=(self._identity,))) as session,
        ):
            yield session, server


@pytest.fixture
def rig(
    settings: TransportSettings, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, identity: str
) -> Rig:
    return Rig(settings, host_key, user_key, identity)


async def failure(session: SshSession, command: Command, **inputs: Any) -> HostError:
    """The error that a command ends with."""
    with pytest.raises(HostError) as caught:
        await session.run(command, **inputs)
    return caught.value


async def test_output_and_status_come_back(rig: Rig) -> None:
    """Both outputs and the exit status arrive as the command left them."""
    async with rig.session() as (session, _):
        completed = await session.run(shell("printf out; printf err >&2; exit 7"))
    assert completed == Completed(7, b"out", b"err")


async def test_bytes_go_in_and_out_unchanged(rig: Rig) -> None:
    """Standard input is bytes, whatever they are."""
    content = bytes(range(256)) * 1000
    async with rig.session() as (session, _):
        completed = await session.run(shell("cat"), stdin=content)
    assert completed.stdout == content


async def test_many_blocks_arrive_in_order(rig: Rig) -> None:
    """An iterable's blocks, memoryviews larger than a packet among them, arrive whole and in order."""
    blocks = [bytes([n]) * 200_000 for n in range(10)]

    async def payload() -> AsyncIterator[bytes | memoryview]:
        for block in blocks:
            yield memoryview(block)

    async with rig.session() as (session, _):
        completed = await session.run(shell("cat", limit_bytes=4 << 20), stdin=payload())
    assert completed.stdout == b"".join(blocks)


async def test_argument_vector_arrives_as_it_is(rig: Rig) -> None:
    """No word is split, expanded or cut, however odd."""
    words = ["two words", "it's", "$HOME `id`", "back\\slash", "line\nbreak\n", "!bang", "", "日本"]
    command = replace(shell(""), argv=("printf", "%s\\0", *words))
    async with rig.session() as (session, _):
        completed = await session.run(command)
    assert completed.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("argument", ["a\0b", "\u00e4" * 20_000])
async def test_command_that_cannot_be_sent_is_the_hosts_error(rig: Rig, argument: str) -> None:
    """What the host has named may stand in it: only that host fails, and its connection can be used on."""
    async with rig.session() as (session, _):
        with pytest.raises(HostFailedError) as caught:
            await session.run(Command(("echo", argument), timeout_s=20, idle_s=20, as_root=False))
        completed = await session.run(shell("echo on"))
    assert (caught.value.code, completed.stdout) == ("session_refused", b"on\n")


async def test_host_may_close_its_input_early(rig: Rig) -> None:
    """A command that stops reading is no error by itself."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"y" * 65536

    async with rig.session() as (session, _):
        completed = await session.run(shell("head -c 10"), stdin=endless())
    assert completed == Completed(0, b"yyyyyyyyyy", b"")


async def test_commands_follow_each_other_on_one_connection(rig: Rig) -> None:
    """A session runs any number of commands."""
    async with rig.session() as (session, server):
        for number in range(3):
            completed = await session.run(shell(f"echo {number}"))
            assert completed.stdout == f"{number}\n".encode()
    assert len(server.behaviour.connections) == 1


async def test_no_variable_is_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of our environment travels to a host."""
    monkeypatch.setenv("LC_SECRET", "mine")
    async with rig.session() as (session, server):
        await session.run(shell("true"))
    assert server.behaviour.environments == [{}]


# --- lines and conversations -----------------------------------------------------------------------------------------


async def test_lines_are_delivered_whole(rig: Rig) -> None:
    """Lines come without their break, whatever packets they came in; what is no whole line does not come."""
    pieces = [b"one\ntw", b"o\n", b"\n" + b"x" * 5000, b"\nno break"]

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        for piece in (started(process), *pieces):
            process.stdout.write(piece)
            await asyncio.sleep(0)
        process.exit(0)

    lines: list[bytes] = []
    async with rig.session(handler) as (session, _):
        completed = await session.run(shell("true"), on_line=lines.append)
    assert lines == [b"one", b"two", b"", b"x" * 4096]
    assert completed.stdout == b"".join(pieces)


async def test_conversation_on_one_channel(rig: Rig) -> None:
    """What is sent may wait for what was heard."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def answers() -> AsyncIterator[bytes]:
        yield b"payload\n"
        while (line := await heard.get()) != b"done":
            yield b"answer to " + line + b"\n"

    script = "read p; for q in token verdict; do echo $q; read a; echo got $a >&2; done; echo done"
    async with rig.session() as (session, _):
        completed = await session.run(shell(script), stdin=answers(), on_line=heard.put_nowait)
    assert completed == Completed(
        0, b"token\nverdict\ndone\n", b"got answer to token\ngot answer to verdict\n"
    )


async def test_end_of_command_ends_a_waiting_payload(rig: Rig) -> None:
    """A payload that waits for a line which never comes is closed when the command ends."""
    closed = asyncio.Event()

    async def waits() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with rig.session() as (session, _):
        completed = await session.run(shell("exit 3"), stdin=waits())
    assert (completed.exit_status, closed.is_set()) == (3, True)


async def test_error_of_the_payload_is_the_callers(rig: Rig) -> None:
    """What the iterable raises comes out of run as it is."""

    async def breaks() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("payload")

    async with rig.session() as (session, _):
        with pytest.raises(LookupError, match="payload"):
            await session.run(shell("cat"), stdin=breaks())


async def test_error_of_the_line_callback_is_the_callers(rig: Rig) -> None:
    """What on_line raises comes out of run, and the connection goes on."""

    def refuse(line: bytes) -> None:
        raise LookupError(line.decode())

    async with rig.session() as (session, _):
        with pytest.raises(LookupError, match="hello"):
            await session.run(shell("echo hello; cat"), on_line=refuse)
        assert (await session.run(shell("echo on"))).stdout == b"on\n"


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "name"),
    [pytest.param("yes", "output", id="stdout"), pytest.param("yes >&2", "error output", id="stderr")],
)
async def test_output_is_bounded(rig: Rig, script: str, name: str) -> None:
    """A host that prints without end is stopped at the command's limit."""
    async with rig.session() as (session, server):
        error = await failure(session, shell(script, limit_bytes=1000))
        where = f"miner@127.0.0.1:{server.port}"
    assert (error.code, error.transient) == ("output_limit", False)
    assert error.message == f"{where}: the command's {name} passed its limit of 1000 bytes"


async def test_output_at_the_limit_passes(rig: Rig) -> None:
    """The limit itself is not too much."""
    async with rig.session() as (session, _):
        completed = await session.run(shell("printf 12345", limit_bytes=5))
    assert completed.stdout == b"12345"


async def test_silence_is_bounded(rig: Rig) -> None:
    """A command without a byte in either direction ends after its idle time."""
    async with rig.session() as (session, _):
        error = await failure(session, shell("echo one; exec sleep 30", idle_s=0.3))
    assert (error.code, error.exit_code, error.transient) == ("step_timeout", 4, True)
    assert "neither wrote nor read a byte for 0.3 s" in error.message


async def test_trickle_is_bounded(rig: Rig) -> None:
    """A host that sends a byte now and then ends after the command's time as failed: it is there, and no retry helps."""
    async with rig.session() as (session, _):
        error = await failure(
            session, shell("while :; do printf .; sleep 0.05; done", timeout_s=2, idle_s=30)
        )
    assert (error.code, error.exit_code, error.transient) == ("step_timeout", 5, False)
    assert "was still sending when its 2 s were over" in error.message


async def test_silence_to_the_end_is_not_a_trickle(rig: Rig) -> None:
    """A host that was heard last long before the command's time was over may be gone, and is tried again."""
    async with rig.session() as (session, _):
        error = await failure(session, shell("echo one; exec sleep 30", timeout_s=1, idle_s=30))
    assert (error.code, error.exit_code, error.transient) == ("step_timeout", 4, True)
    assert "did not end within 1 s" in error.message


async def test_host_that_never_reads_is_bounded(rig: Rig) -> None:
    """A payload that the host does not take ends after the idle time."""
    async with rig.session() as (session, _):
        error = await failure(session, shell("exec sleep 30", idle_s=0.3), stdin=b"x" * (8 << 20))
    assert error.code == "step_timeout"


async def test_background_process_does_not_hold_the_command(rig: Rig) -> None:
    """Where something keeps the channel open, the exit status ends the command a little later."""

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(started(process) + b"output")
        process.channel._send_request(b"exit-status", (0).to_bytes(4, "big"))
        await asyncio.Event().wait()

    async with rig.session(handler, settings={"exit_grace_s": 0.1}) as (session, _):
        assert await session.run(shell("true")) == Completed(0, b"output", b"")


async def test_signal_is_a_failure(rig: Rig) -> None:
    """A command that a signal ended did not succeed."""
    async with rig.session() as (session, _):
        error = await failure(session, shell("kill -9 $$"))
    assert (error.code, error.exit_code) == ("killed_by_signal", 5)
    assert "SIGKILL" in error.message


async def test_name_of_a_signal_is_harmless(rig: Rig) -> None:
    """It is the host's word, like anything that it prints."""

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(started(process))
        process.exit_with_signal("\x1b[31m::error::x")

    async with rig.session(handler) as (session, _):
        error = await failure(session, shell("true"))
    assert error.message.endswith("the command was ended by SIG: :error: :x")


# --- drops -----------------------------------------------------------------------------------------------------------


async def test_drop_in_the_middle_is_a_lost_connection(rig: Rig) -> None:
    """A connection that ends before the exit status is no success; it may be tried again."""

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"half")
        await process.stdout.drain()
        process.channel.get_connection().abort()

    async with rig.session(handler) as (session, _):
        error = await failure(session, shell("true"))
    assert isinstance(error, HostUnreachableError)
    assert (error.code, error.transient) == ("connection_lost", True)


async def test_channel_without_exit_status_is_a_lost_connection(rig: Rig) -> None:
    """A channel that closes without a word on how the command ended is no success."""

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.close()

    async with rig.session(handler) as (session, _):
        error = await failure(session, shell("true"))
    assert (error.code, error.transient) == ("connection_lost", True)


async def test_dead_connection_is_noticed_by_the_next_command(rig: Rig) -> None:
    """A command on a connection that is gone says so."""
    async with rig.session() as (session, server):
        await session.run(shell("true"))
        server.behaviour.connections[0].abort()
        await session.connection.wait_closed()
        error = await failure(session, shell("true"))
    assert (error.code, error.transient) == ("connection_lost", True)


async def test_keepalive_finds_a_silent_peer(rig: Rig) -> None:
    """A peer that vanished without a word is noticed by keepalives, long before the command's own deadline."""
    keepalive = {"keepalive_interval_s": 0.1, "keepalive_count": 2}

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        connection: Any = process.channel.get_connection()
        connection.data_received = lambda *_: None
        connection.send_packet = lambda *_args, **_kwargs: None
        await asyncio.Event().wait()

    async with rig.session(handler, settings=keepalive) as (session, _):
        error = await failure(session, shell("true"))
    assert error.code == "connection_lost"


# --- bytes in flight -------------------------------------------------------------------------------------------------


async def taken_by_a_host_that_does_not_read(rig: Rig, version: str, size: int) -> int:
    """How many bytes arrive at a host whose command reads nothing."""

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        channel: Any = process.channel
        channel.pause_reading()
        await asyncio.Event().wait()

    async with rig.session(handler, server_version=version, settings={"in_flight_bytes": 256 * 1024}) as (
        session,
        server,
    ):
        running = asyncio.create_task(session.run(shell("true", idle_s=0.5), stdin=b"x" * size))
        await asyncio.wait({running})
        assert isinstance(running.exception(), HostError)
        (channel,) = server.behaviour.channels
        window: int = channel._recv_window
        return 2 * 1024 * 1024 - window


async def test_bytes_in_flight_are_bounded(rig: Rig) -> None:
    """OpenSSH is never sent more than the cap beyond what it took, though it grants 2 MiB."""
    assert await taken_by_a_host_that_does_not_read(rig, "OpenSSH_9.9", 4 << 20) == 256 * 1024


async def test_coarse_acknowledgements_do_not_stall(rig: Rig) -> None:
    """A server that acknowledges only half windows is left as much as it takes to get one."""
    async with rig.session(settings={"in_flight_bytes": 256 * 1024}) as (session, _):
        completed = await session.run(shell("wc -c"), stdin=b"x" * (5 << 20))
    assert completed.stdout.strip() == str(5 << 20).encode()


async def test_large_transfers_queue(rig: Rig) -> None:
    """With one place, the second large payload starts when the first has nothing to send."""
    first_may_go_on, order = asyncio.Event(), []

    async def first() -> AsyncIterator[bytes]:
        yield b"1" * (1 << 20)
        order.append("first sent")
        await first_may_go_on.wait()
        yield b"1"

    async def second() -> AsyncIterator[bytes]:
        yield b"2" * (1 << 20)
        order.append("second sent")
        first_may_go_on.set()

    async with rig.session(settings={"transfers": 1}) as (session, _), asyncio.TaskGroup() as group:
        group.create_task(session.run(shell("cat >/dev/null"), stdin=first()))
        group.create_task(session.run(shell("cat >/dev/null"), stdin=second()))
    assert order == ["first sent", "second sent"]


async def test_slow_host_gives_its_slot_to_others(rig: Rig) -> None:
    """With one slot, a large payload that a host does not take holds up nobody else's."""

    async def take_nothing(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(started(process))
        process.channel.pause_reading()
        await process.wait_closed()

    async def handler(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if "slow" in (process.command or ""):
            await take_nothing(process)
        else:
            await take_all(process)

    command, content = shell("true", idle_s=60, timeout_s=60), b"x" * (4 << 20)
    async with rig.session(handler, settings={"transfers": 1}) as (session, _):
        began = asyncio.Event()
        large = announced(began, content)
        slow = asyncio.create_task(session.run(shell("slow", idle_s=60, timeout_s=60), stdin=large))
        await began.wait()
        assert (await session.run(command, stdin=content)).exit_status == 0
        assert not slow.done()
        slow.cancel()


async def announced(began: asyncio.Event, content: bytes) -> AsyncIterator[bytes]:
    """A large payload that says when what does not wait of it is sent."""
    yield b"x" * SMALL_BYTES
    began.set()
    yield content


async def take_all(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """What a command that reads its input to the end does, without a process."""
    process.stdout.write(started(process))
    while await process.stdin.read(1 << 20):
        pass
    process.exit(0)


async def test_rate_of_the_uplink(rig: Rig) -> None:
    """A large payload takes as long as the rate says; waiting for it is neither silence nor the command's time."""
    began = asyncio.get_running_loop().time()
    command = shell("true", idle_s=2, timeout_s=3)
    async with rig.session(take_all, settings={"bytes_per_s": 100_000}) as (session, _):
        completed = await session.run(command, stdin=b"x" * 500_000)
    # The last block may go out when those before it have had their time.
    assert (completed.exit_status, asyncio.get_running_loop().time() - began > 4) == (0, True)


async def test_small_input_does_not_wait_for_large_payloads(rig: Rig) -> None:
    """A survey's script goes out at once, however much others have to send."""
    async with rig.session(take_all, settings={"bytes_per_s": 1}) as (session, _):
        began = asyncio.Event()
        large = asyncio.create_task(session.run(shell("true"), stdin=announced(began, b"x" * (1 << 20))))
        await began.wait()
        assert (await session.run(shell("true"), stdin=b"x" * 60_000)).exit_status == 0
        assert not large.done()
        large.cancel()
