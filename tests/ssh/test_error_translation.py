"""Every failure below has a stable code, a kind and a message; no exception of a library comes through."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from ionetctl.core.errors import HostError, HostUnreachableError
from ionetctl.ssh.error_translation import BY_TYPE, fault_of, host_error, tunnel_error
from tests.ssh.servers import Behaviour, connector, listening, make_host, serve

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.ssh import TransportSettings

EXPORTED = [
    getattr(asyncssh, name)
    for name in asyncssh.__all__
    if isinstance(getattr(asyncssh, name), type) and issubclass(getattr(asyncssh, name), Exception)
]


def test_asyncssh_exports_exceptions() -> None:
    """The test below looks at something."""
    assert len(EXPORTED) > 50


@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.__name__)
def test_every_exception_of_asyncssh_has_a_row(kind: type[Exception]) -> None:
    """An exception that asyncssh gains one day must be given a place; its two bases are nobody's."""
    rows = [each for each in kind.__mro__ if each in BY_TYPE]
    if kind is not asyncssh.Error:
        assert rows != []


@pytest.mark.parametrize(
    ("error", "code", "is_transient"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connect_refused", True),
        (
            OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 101]"),
            "connect_refused",
            True,
        ),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "network_unreachable", True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "network_unreachable", True),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "connect_timeout", True),
        (OSError(errno.EMFILE, "Too many open files"), "too_many_open_files", True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_lost", True),
        (BrokenPipeError(), "connection_lost", True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "dns_failure", True),
        (UnicodeError("label too long"), "dns_failure", True),
        (TimeoutError(), "connect_timeout", True),
        (asyncssh.ConnectionLost("gone"), "connection_lost", True),
        (asyncssh.DisconnectError(11, "bye"), "connection_lost", True),
        (asyncssh.PermissionDenied("no"), "auth_failed", False),
        (asyncssh.KeyExchangeFailed("none"), "no_common_algorithm", False),
        (asyncssh.ProtocolError("what"), "ssh_protocol", False),
        (asyncssh.MACError("bad"), "ssh_protocol", False),
        (asyncssh.ChannelOpenError(1, "no"), "session_refused", False),
        (asyncssh.HostKeyNotVerifiable("no"), "host_key_unknown", False),
        (asyncssh.ConfigParseError("line 1"), "ssh_configuration", False),
        (AssertionError("inside asyncssh"), "ssh_protocol", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_codes(error: Exception, code: str, is_transient: bool) -> None:  # noqa: FBT001  (a case)
    """Each kind of misfortune has its code, and only what may pass is worth a retry."""
    told = host_error(error, "miner@rig")
    assert (told.code, told.transient, "miner@rig" in told.message) == (code, is_transient, True)


def test_host_text_is_made_harmless() -> None:
    """What a server says in a disconnect cannot steer a terminal."""
    told = host_error(asyncssh.DisconnectError(11, "\x1b[2Jbye\u202e"), "rig")
    assert told.message == "the connection to rig was lost: bye"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Connection refused", "connect_refused"),
        ("[Errno 111] Connect call failed ('10.0.0.1', 22)", "connect_refused"),
        ("Connection timed out", "connect_timeout"),
        ("Name or service not known", "dns_failure"),
        ("Temporary failure in name resolution: cannot resolve", "dns_failure"),
        ("No route to host", "network_unreachable"),
        ("SSH connection closed", "connection_lost"),
        ("something else", "network_unreachable"),
    ],
)
def test_words_of_a_jump_host(reason: str, code: str) -> None:
    """SSH has one code for all that keeps a tunnel from opening; the words tell which."""
    error = tunnel_error(
        asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, reason), "rig", "ops@bastion"
    )
    assert (error.code, "(through ops@bastion)" in error.message) == (code, True)


def test_fault_of_an_unknown_os_error() -> None:
    """An operating system's error without a row of its own is about the network."""
    assert fault_of(OSError(errno.EINVAL, "odd")).code == "network_unreachable"


# --- peers that do not play by the rules -----------------------------------------------------------------------------


async def failure(settings: TransportSettings, host: Host) -> HostError:
    async with connector(settings) as ways:
        with pytest.raises(HostError) as caught:
            async with ways.connect(host):
                pass
    return caught.value


async def test_closed_port(settings: TransportSettings) -> None:
    """Nothing listens there."""
    async with listening(_hold) as port:
        pass
    error = await failure(settings, make_host(port=port, user="miner"))
    assert (type(error), error.code) == (HostUnreachableError, "connect_refused")
    assert error.message.startswith(f"miner@127.0.0.1:{port} refuses the connection: ")


@pytest.mark.parametrize("address", ["no-such-host.invalid", "a" * 70 + ".example"])
async def test_name_that_does_not_resolve(settings: TransportSettings, address: str) -> None:
    """A name that nobody knows, or that cannot be one."""
    assert (await failure(settings, make_host(address))).code == "dns_failure"


async def test_silence_after_accept(settings: TransportSettings) -> None:
    """A port that accepts and says nothing ends at the deadline, and the message says how far it came."""
    hasty = replace(settings, connect_timeout_s=5, login_timeout_s=0.3)
    async with listening(_hold) as port:
        error = await failure(hasty, make_host(port=port))
    assert (error.code, error.transient) == ("connect_timeout", True)
    assert "it accepts connections, but the SSH handshake did not end within 0.3 s" in error.message


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"welcome\r\n" * 100_000, id="endless banner"),
        pytest.param(b"x" * 1_000_000, id="endless line"),
        pytest.param(b"SSH-1.5-old\r\n", id="SSH 1"),
        pytest.param(b"SSH-2.0-junk\r\n\xff\xff\xff\xff\xff\xff\xff\xff", id="junk packets"),
    ],
)
async def test_nonsense(settings: TransportSettings, said: bytes) -> None:
    """A peer that talks nonsense, however much of it, is told as such."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await _hold(reader, writer)

    async with listening(babble) as port:
        assert (await failure(settings, make_host(port=port))).code == "ssh_protocol"


async def test_drop_before_the_banner(settings: TransportSettings) -> None:
    """A server that hangs up at once may be overloaded: worth another try."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say nothing."""

    async with listening(hang_up) as port:
        error = await failure(settings, make_host(port=port))
    assert (error.code, error.transient) == ("connection_lost", True)


async def test_no_common_algorithm(settings: TransportSettings, host_key: asyncssh.SSHKey) -> None:
    """A server with nothing but broken algorithms is told as such."""
    async with serve(Behaviour(), host_key, kex_algs=["diffie-hellman-group1-sha1"]) as server:
        error = await failure(settings, server.host())
    assert (error.code, error.exit_code) == ("no_common_algorithm", 5)


async def test_login_that_never_ends(settings: TransportSettings, host_key: asyncssh.SSHKey) -> None:
    """A server that leaves a login hanging ends at the deadline."""
    release = asyncio.Event()

    async def hang(*_: Any) -> bool:
        await release.wait()
        return False

    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _hanging(hang), server_host_keys=[host_key]
    )
    async with listener:
        host = make_host(port=listener.get_port(), host_keys=(host_key.get_fingerprint(),), agent=False)
        error = await failure(replace(settings, login_timeout_s=0.5), host)
        release.set()
    assert (error.code, "the login did not end within 0.5 s" in error.message) == ("connect_timeout", True)


def _hanging(hang: Any) -> asyncssh.SSHServer:
    server = asyncssh.SSHServer()
    server.begin_auth = hang  # type: ignore[method-assign]
    return server


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001  (a protocol)
    await reader.read()
