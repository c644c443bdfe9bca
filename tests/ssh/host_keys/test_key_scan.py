"""A scan sees the key that a host proves to hold, and how it stands against pins, CAs and known_hosts; nobody is logged in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from ionetctl.core.model.host import Jump
from ionetctl.core.model.host_key import HostKey, SeenKey, Standing
from tests.ssh.servers import MISSING, Behaviour, connector, known_line, listening, make_host, public, serve

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.core.model.host import Host
    from ionetctl.ssh import TransportSettings


async def scan(settings: TransportSettings, host: Host) -> SeenKey:
    async with connector(settings) as ways:
        await ways.check([host], logs_in=False)
        return await ways.scan(host)


def told(seen: SeenKey) -> tuple[Standing, str | None, str | None]:
    key, error = seen.key, seen.error
    return seen.standing, None if key is None else key.fingerprint, None if error is None else error.code


async def test_first_contact(settings: TransportSettings, host_key: asyncssh.SSHKey) -> None:
    """An unknown host's key is seen as a pin has it; no secret of the login is asked for, no user named, nothing recorded."""
    behaviour = Behaviour(password="x")
    async with serve(behaviour, host_key) as server:
        seen = await scan(replace(settings, accept_new=True), server.host(host_keys=(), password=MISSING))
    assert seen.key == HostKey(public(host_key), host_key.get_fingerprint())
    assert (told(seen)[::2], seen.address) == (
        (Standing.NEW, "host_key_unknown"),
        f"[127.0.0.1]:{server.port}",
    )
    assert (behaviour.passwords_seen, settings.known_hosts[0].exists()) == ([], False)
    assert [connection.get_extra_info("username") for connection in behaviour.connections] == [None]


@pytest.mark.parametrize("kind", ["host_key", "ecdsa_key", "rsa_key"])
@pytest.mark.parametrize("written", ["key", "fingerprint", "known_hosts"])
async def test_what_is_known_is_asked_for(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    tmp_path: Path,
    kind: str,
    written: str,
) -> None:
    """Of a host with three keys, the one that is pinned or known is seen, however that is written."""
    keys = {"host_key": host_key, "ecdsa_key": ecdsa_key, "rsa_key": rsa_key}
    key = keys[kind]
    pins = {"key": (public(key),), "fingerprint": (key.get_fingerprint(),), "known_hosts": ()}[written]
    async with serve(Behaviour(), *keys.values()) as server:
        if written == "known_hosts":
            (tmp_path / "known_hosts").write_text(known_line(key, f"[127.0.0.1]:{server.port}"))
        seen = await scan(settings, server.host(host_keys=pins))
    standing = Standing.KNOWN if written == "known_hosts" else Standing.PINNED
    assert told(seen) == (standing, key.get_fingerprint(), None)


@pytest.mark.parametrize("written", ["key", "fingerprint", "known_hosts"])
async def test_changed_key(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    tmp_path: Path,
    written: str,
) -> None:
    """A host with other keys than the expected one is refused; the first that it has is named."""
    pins = {"key": (public(other_key),), "fingerprint": (other_key.get_fingerprint(),), "known_hosts": ()}
    async with serve(Behaviour(), host_key, rsa_key) as server:
        if written == "known_hosts":
            (tmp_path / "known_hosts").write_text(known_line(other_key, f"[127.0.0.1]:{server.port}"))
        seen = await scan(settings, server.host(host_keys=pins[written]))
    assert told(seen) == (Standing.REFUSED, host_key.get_fingerprint(), "host_key_changed")


@pytest.mark.parametrize(
    ("certified_by", "options", "expected"),
    [
        pytest.param("other_key", {}, (Standing.CERTIFIED, True, None), id="good"),
        pytest.param(
            "other_key",
            {"valid_before": "20200101"},
            (Standing.REFUSED, False, "host_certificate_expired"),
            id="expired",
        ),
        pytest.param(
            "rsa_key", {}, (Standing.REFUSED, False, "host_certificate_unknown_ca"), id="foreign CA"
        ),
        pytest.param(None, {}, (Standing.REFUSED, True, "host_certificate_missing"), id="none"),
    ],
)
async def test_certificate(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    certified_by: str | None,
    options: dict[str, Any],
    expected: tuple[Standing, bool, str | None],
) -> None:
    """Where the inventory names a CA, its certificate is told; a host without one is refused, whatever else it has."""
    signers = {"other_key": other_key, "rsa_key": rsa_key}
    keys: list[Any] = [host_key]
    if certified_by is not None:
        signed = signers[certified_by].generate_host_certificate(
            host_key, "rig", principals=["127.0.0.1"], **options
        )
        keys = [(host_key, signed)]
    async with serve(Behaviour(), host_key, server_host_keys=keys) as server:
        seen = await scan(settings, server.host(host_keys=(), host_authorities=(public(other_key),)))
    standing, has_key, code = expected
    assert told(seen) == (standing, host_key.get_fingerprint() if has_key else None, code)


@pytest.mark.parametrize("is_ca_known", [False, True])
async def test_certificate_where_the_inventory_names_no_ca(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    tmp_path: Path,
    is_ca_known: bool,
) -> None:
    """A stranger's certificate hides no key: that may be pinned. One by a CA of known_hosts needs no pin."""
    signed = other_key.generate_host_certificate(host_key, "rig", principals=["127.0.0.1"])
    if is_ca_known:
        (tmp_path / "known_hosts").write_text(known_line(other_key, "*", "@cert-authority"))
    async with serve(Behaviour(), host_key, server_host_keys=[(host_key, signed)]) as server:
        seen = await scan(settings, server.host(host_keys=()))
    expected = (Standing.CERTIFIED, None) if is_ca_known else (Standing.NEW, "host_key_unknown")
    assert told(seen)[::2] == expected


async def test_key_that_is_not_proved_is_not_seen(
    settings: TransportSettings, host_key: asyncssh.SSHKey, other_key: asyncssh.SSHKey
) -> None:
    """Who shows another's public key without the private one gets nobody pinned, and no clone is reported."""

    class Liar(type(host_key)):  # type: ignore[misc]
        """Shows ``other_key`` and signs with its own."""

        @property
        def public_data(self) -> bytes:
            return bytes(other_key.public_data)

    liar = asyncssh.import_private_key(host_key.export_private_key())
    liar.__class__ = Liar
    async with serve(Behaviour(), host_key, server_host_keys=[liar]) as server:
        seen = await scan(settings, server.host(host_keys=()))
    assert (seen.standing, seen.key) == (Standing.UNSEEN, None)


async def test_host_behind_a_jump_host(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """Hosts behind a jump host are seen through one connection to it; its own key must be known."""
    async with (
        serve(Behaviour(authorized=[user_key]), other_key) as jump,
        serve(Behaviour(), host_key) as server,
        connector(settings) as ways,
    ):
        way = (Jump("127.0.0.1", jump.port, "ops"),)
        host = server.host(host_keys=(), identities=(identity,), jump=way)
        (tmp_path / "known_hosts").write_text(jump.line())
        seen = await asyncio.gather(*(ways.scan(host) for _ in range(5)))
        assert [told(one)[:2] for one in seen] == [(Standing.NEW, host_key.get_fingerprint())] * 5
        assert len(jump.behaviour.connections) == 1


async def test_unreachable_host(settings: TransportSettings) -> None:
    """A host that does not answer has its error instead of a key."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(hang_up) as port:
        seen = await scan(settings, make_host(port=port))
    assert told(seen) == (Standing.UNSEEN, None, "connection_lost")
