"""What asyncssh does not promise is still there, and does what the product needs."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from ionetctl.ssh.asyncssh_internals import (
    MSG_IGNORE,
    ca_algorithm,
    certified_key_data,
    copy_of_pair,
    has_certificate,
    key_data,
    pair_data,
    pair_key_data,
    send_window,
    shrink_send_window,
    tighten,
    write_view,
)
from tests.ssh.servers import Behaviour, known_line, serve

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
KIB = 1024
GRANTED_BYTES = 2048 * KIB


def test_next_minor_version_is_not_admitted() -> None:
    """A minor version may move internals: it is admitted when the constraints have it and these tests pass with it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = (line for line in project["dependencies"] if line.startswith("asyncssh"))
    pinned = re.search(r"^asyncssh==(\d+)\.(\d+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert required.endswith(f",<{pinned[1]}.{int(pinned[2]) + 1}")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (asyncssh.SSHClientChannel.write, "self data datatype"),
        (asyncssh.SSHClientConnection.send_packet, "self pkttype *args handler"),
        (
            asyncssh.SSHClientConnection._validate_openssh_host_certificate,
            "self host addr port cert",
        ),
    ],
    ids=lambda value: value.__qualname__ if callable(value) else "",
)
def test_signatures(function: Callable[..., Any], parameters: str) -> None:
    """Parameters are passed by position."""
    named = inspect.signature(function).parameters.values()
    stars = ["*" if each.kind is each.VAR_POSITIONAL else "" for each in named]
    assert " ".join(star + each.name for star, each in zip(stars, named, strict=True)) == parameters


def test_keys_pairs_and_certificates_are_compared_by_their_data(
    user_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey
) -> None:
    """A key, its pair and a certificate for it have the same data, another key has other data."""
    certificate = other_key.generate_user_certificate(user_key, "miner")
    (plain,) = asyncssh.load_keypairs([user_key])
    certified, _ = asyncssh.load_keypairs([(user_key, certificate)])
    same = [key_data(user_key), *map(pair_key_data, (plain, certified)), certified_key_data(certificate)]
    assert same == [key_data(user_key.convert_to_public())] * 4
    assert key_data(other_key) != key_data(user_key)
    assert (has_certificate(plain), has_certificate(certified)) == (False, True)
    assert (pair_data(plain) == key_data(user_key), pair_data(certified) == key_data(user_key)) == (
        True,
        False,
    )


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"])
def test_how_a_certificate_was_signed(
    host_key: asyncssh.SSHKey, rsa_key: asyncssh.SSHKey, algorithm: str
) -> None:
    """It is read from the certificate itself, as asyncssh has decoded it."""
    made = rsa_key.generate_host_certificate(host_key, "rig", principals=["rig"], sig_alg=algorithm)
    read = asyncssh.import_certificate(made.export_certificate())
    assert (ca_algorithm(made), ca_algorithm(read)) == (algorithm.encode(), algorithm.encode())


def test_copy_of_a_pair_is_changed_alone(user_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey) -> None:
    """A certificate given to the copy, as to an agent's key, leaves the pair itself without one."""
    (pair,) = asyncssh.load_keypairs([user_key])
    copied = copy_of_pair(pair)
    copied.set_certificate(other_key.generate_user_certificate(user_key, "miner"))
    copied.set_sig_algorithm(b"changed")
    assert (has_certificate(pair), has_certificate(copied)) == (False, True)
    assert (pair.sig_algorithm, copied.sig_algorithm) == (b"ssh-ed25519", b"changed")


async def test_send_window(host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> None:
    """What is written beyond a window that was shrunk waits; asyncssh grants 2 MiB at first."""

    async def read_nothing(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.channel.pause_reading()
        await process.wait_closed()

    behaviour = Behaviour(authorized=[user_key], handler=read_nothing)
    async with (
        serve(behaviour, host_key) as server,
        asyncssh.connect(
            "127.0.0.1",
            server.port,
            username="ops",
            client_keys=[user_key],
            agent_path=None,
            config=None,
            known_hosts=asyncssh.import_known_hosts(known_line(host_key, f"[127.0.0.1]:{server.port}")),
        ) as connection,
    ):
        channel, _ = await connection.create_session(asyncssh.SSHClientSession[bytes], "true", encoding=None)
        granted = send_window(channel)
        shrink_send_window(channel, 4 * GRANTED_BYTES)
        unchanged = send_window(channel)
        shrink_send_window(channel, 64 * KIB)
        write_view(channel, memoryview(b"x" * (100 * KIB)))
        assert (granted, unchanged) == (GRANTED_BYTES, GRANTED_BYTES)
        assert (send_window(channel), channel.get_write_buffer_size()) == (0, 36 * KIB)
        channel.abort()


@pytest.mark.parametrize("is_omitted", [False, True])
async def test_packets_to_be_ignored(
    host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, *, is_omitted: bool
) -> None:
    """They are sent from the first encrypted packet on, unless they are left out; all others go out."""
    sent: set[int] = set()

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            spied: Any = conn
            spied.log_sent_packet = lambda kind, *_: sent.add(kind)
            if is_omitted:
                tighten(conn)

    async with (
        serve(Behaviour(authorized=[user_key]), host_key) as server,
        asyncssh.connect(
            "127.0.0.1",
            server.port,
            username="ops",
            client_keys=[user_key],
            client_factory=Client,
            agent_path=None,
            config=None,
            known_hosts=asyncssh.import_known_hosts(known_line(host_key, f"[127.0.0.1]:{server.port}")),
        ) as connection,
    ):
        completed = await connection.run("echo hello")
    assert (completed.stdout, MSG_IGNORE in sent) == ("hello\n", not is_omitted)
