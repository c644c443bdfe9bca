"""Host keys are judged strictly, whatever tells us of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.errors import ConfigurationError, HostError, HostTrustError, UnwritableError
from tests.ssh.servers import PASSWORD, SECRETS, Behaviour, Server, connector, known_line, public, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncssh

    from ionetctl.core.model.host import Host
    from ionetctl.ssh import TransportSettings


@pytest.fixture
async def server(host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> AsyncIterator[Server]:
    async with serve(Behaviour(authorized=[user_key]), host_key) as listening:
        yield listening


async def presented(settings: TransportSettings, host: Host, **options: Any) -> str:
    """The fingerprint of the key over which a session was had."""
    async with connector(settings, **options) as ways, ways.connect(host) as session:
        key = session.connection.get_server_host_key()
        assert key is not None
        return key.get_fingerprint()


async def refusal(settings: TransportSettings, host: Host) -> HostError:
    with pytest.raises(HostError) as caught:
        await presented(settings, host)
    return caught.value


def hashed(name: str) -> str:
    """A host name as ``HashKnownHosts yes`` writes it."""
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


# --- pins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["host_key", "ecdsa_key", "rsa_key"])
async def test_pinned_key_decides_what_is_negotiated(
    *,
    kind: str,
    host_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    identity: str,
) -> None:
    """Of a host with three keys, the one whose whole key is pinned is asked for."""
    keys = {"host_key": host_key, "ecdsa_key": ecdsa_key, "rsa_key": rsa_key}
    async with serve(Behaviour(authorized=[user_key]), *keys.values()) as server:
        host = server.host(identities=(identity,), host_keys=(public(keys[kind]),))
        assert await presented(settings, host) == keys[kind].get_fingerprint()


@pytest.mark.parametrize("kind", ["host_key", "ecdsa_key", "rsa_key"])
async def test_pinned_fingerprint_is_looked_for_among_all_types(
    *,
    kind: str,
    host_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    identity: str,
) -> None:
    """A fingerprint names no type, so the host is asked for all of its keys; the right type is remembered."""
    keys = {"host_key": host_key, "ecdsa_key": ecdsa_key, "rsa_key": rsa_key}
    behaviour = Behaviour(authorized=[user_key])
    async with serve(behaviour, *keys.values()) as server, connector(settings) as ways:
        host = server.host(identities=(identity,), host_keys=(keys[kind].get_fingerprint(),))
        async with ways.connect(host):
            first = len(behaviour.connections)
        async with ways.connect(host) as session:
            key = session.connection.get_server_host_key()
    assert key is not None
    assert key.get_fingerprint() == keys[kind].get_fingerprint()
    assert len(behaviour.connections) == first + 1


@pytest.mark.parametrize("is_fingerprint", [False, True], ids=["key", "fingerprint"])
async def test_other_key_than_the_pinned_one(
    *,
    server: Server,
    settings: TransportSettings,
    other_key: asyncssh.SSHKey,
    identity: str,
    is_fingerprint: bool,
) -> None:
    """A host with another key than the pinned one is refused, both fingerprints told, nothing sent."""
    pin = other_key.get_fingerprint() if is_fingerprint else public(other_key)
    error = await refusal(settings, server.host(identities=(identity,), host_keys=(pin,)))
    assert (type(error), error.code, error.exit_code) == (HostTrustError, "host_key_changed", 6)
    assert error.message == (
        f"[127.0.0.1]:{server.port} presents the ssh-ed25519 key {server.key.get_fingerprint()}, "
        f"but the inventory pins {other_key.get_fingerprint()}"
    )
    assert server.behaviour.environments == []


async def test_pin_counts_more_than_known_hosts(
    server: Server, settings: TransportSettings, other_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """Where the inventory pins a key, known_hosts cannot make up for it."""
    (tmp_path / "known_hosts").write_text(server.line())
    assert (await refusal(settings, server.host(host_keys=(public(other_key),)))).code == "host_key_changed"


@pytest.mark.parametrize("pin", ["ssh-ed25519 AAAA", "MD5:aa:bb", ""])
async def test_pin_that_is_none(server: Server, settings: TransportSettings, pin: str) -> None:
    """A pin that is neither key nor fingerprint is a mistake of the inventory."""
    async with connector(settings) as ways:
        with pytest.raises(ConfigurationError) as caught:
            await ways.check([server.host(host_keys=(pin,))])
    assert caught.value.code == "host_key_invalid"


# --- known_hosts -----------------------------------------------------------------------------------------------------


async def test_unknown_key(server: Server, settings: TransportSettings, identity: str) -> None:
    """An unknown key is refused with its fingerprint and the line that pins it; nothing is sent."""
    error = await refusal(settings, server.host(identities=(identity,), host_keys=()))
    assert (type(error), error.code, error.exit_code) == (HostTrustError, "host_key_unknown", 6)
    assert server.key.get_fingerprint() in error.message
    assert f'ssh: {{host_key: "{public(server.key)}"}}' in error.hint
    assert server.behaviour.environments == []


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("[127.0.0.1]:{port}", id="plain"),
        pytest.param("rig.example,[127.0.0.1]:{port},other", id="list"),
        pytest.param("[127.0.0.?]:*", id="wildcards"),
        pytest.param("HASHED", id="hashed"),
        pytest.param("127.0.0.1", id="name without port"),
    ],
)
async def test_known_key(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path, names: str
) -> None:
    """However known_hosts spells a host, its key is found, comments and nonsense around it notwithstanding."""
    place = f"[127.0.0.1]:{server.port}"
    written = hashed(place) if names == "HASHED" else names.format(port=server.port)
    text = f"# comment\n\nnonsense\n{hashed('x')[:-9]} ssh-rsa junk\n" + known_line(server.key, written)
    (tmp_path / "known_hosts").write_text(text)
    host = server.host(identities=(identity,), host_keys=())
    assert await presented(settings, host) == server.key.get_fingerprint()


@pytest.mark.parametrize(
    ("names", "code"),
    [
        pytest.param("[127.0.0.1]:{port}", "host_key_changed", id="plain"),
        pytest.param("*", "host_key_changed", id="wildcard"),
        pytest.param("*,!\\[127.0.0.1\\]:{port}", "host_key_changed", id="brackets are no classes"),
        pytest.param("*,![127.0.0.1]:{port}", "host_key_unknown", id="negated"),
        pytest.param("127.0.0.1", "host_key_unknown", id="another port's key"),
        pytest.param("127.0.0.2", "host_key_unknown", id="another host"),
    ],
)
async def test_other_key_than_the_known_one(
    *,
    server: Server,
    settings: TransportSettings,
    other_key: asyncssh.SSHKey,
    tmp_path: Path,
    names: str,
    code: str,
) -> None:
    """A key that differs from the known one is a changed one only where it is this host's and port's."""
    (tmp_path / "known_hosts").write_text(known_line(other_key, names.format(port=server.port)))
    assert (await refusal(settings, server.host(host_keys=()))).code == code


async def test_changed_key_of_another_type(
    server: Server, settings: TransportSettings, rsa_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """A host that lost its RSA key for an Ed25519 one has changed; it does not end in "no common algorithm"."""
    (tmp_path / "known_hosts").write_text(known_line(rsa_key, f"[127.0.0.1]:{server.port}"))
    error = await refusal(settings, server.host(host_keys=()))
    assert error.code == "host_key_changed"
    assert rsa_key.get_fingerprint() in error.message
    assert server.key.get_fingerprint() in error.message


async def test_known_type_is_negotiated(
    *,
    host_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """Where known_hosts has the RSA key of a host with two keys, that one is asked for."""
    async with serve(Behaviour(authorized=[user_key]), host_key, rsa_key) as server:
        (tmp_path / "known_hosts").write_text(known_line(rsa_key, f"[127.0.0.1]:{server.port}"))
        host = server.host(identities=(identity,), host_keys=())
        assert await presented(settings, host) == rsa_key.get_fingerprint()


async def test_system_file_counts_too(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """The system's known_hosts is read beside the user's."""
    (tmp_path / "system").write_text(server.line())
    both = replace(settings, system_known_hosts=(tmp_path / "system",))
    host = server.host(identities=(identity,), host_keys=())
    assert await presented(both, host) == server.key.get_fingerprint()


async def test_file_is_read_once(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """A second connection does not look at the file again."""
    path = tmp_path / "known_hosts"
    path.write_text(server.line())
    host = server.host(identities=(identity,), host_keys=())
    async with connector(settings) as ways:
        async with ways.connect(host):
            path.unlink()
        async with ways.connect(host) as session:
            assert not session.connection.is_closed()


async def test_revoked_key(server: Server, settings: TransportSettings, tmp_path: Path) -> None:
    """A key that known_hosts revokes is refused, even where another line knows it."""
    place = f"[127.0.0.1]:{server.port}"
    (tmp_path / "known_hosts").write_text(
        known_line(server.key, "*", "@revoked") + known_line(server.key, place)
    )
    error = await refusal(settings, server.host(host_keys=()))
    assert (error.code, "presents a key, or a certificate" in error.message) == ("host_key_revoked", True)


async def test_revoked_key_is_not_saved_by_a_pin(
    server: Server, settings: TransportSettings, tmp_path: Path
) -> None:
    """A pin does not outweigh a revocation."""
    (tmp_path / "known_hosts").write_text(known_line(server.key, "*", "@revoked"))
    assert (await refusal(settings, server.host())).code == "host_key_revoked"


# --- certificates ----------------------------------------------------------------------------------------------------


def _certified(key: asyncssh.SSHKey, authority: asyncssh.SSHKey, **options: Any) -> list[Any]:
    return [
        (key, authority.generate_host_certificate(key, "rig", **{"principals": ["127.0.0.1"], **options}))
    ]


async def test_host_certificate(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """A host whose certificate is signed by a @cert-authority of known_hosts is known."""
    (tmp_path / "known_hosts").write_text(known_line(other_key, "[127.0.0.1]:*", "@cert-authority"))
    certified = _certified(host_key, other_key)
    async with serve(Behaviour(authorized=[user_key]), host_key, server_host_keys=certified) as server:
        host = server.host(identities=(identity,), host_keys=())
        assert await presented(settings, host) == host_key.get_fingerprint()


@pytest.mark.parametrize(
    ("options", "marked", "code"),
    [
        pytest.param({"principals": ["other.example"]}, "", "host_certificate_wrong_name", id="another name"),
        pytest.param({"principals": []}, "", "host_certificate_wrong_name", id="no name"),
        pytest.param({"valid_before": "20200101"}, "", "host_certificate_expired", id="expired"),
        pytest.param({"valid_after": "20990101"}, "", "host_certificate_expired", id="not valid yet"),
        pytest.param({}, "key", "host_key_revoked", id="key revoked"),
        pytest.param({}, "authority", "host_key_revoked", id="CA revoked"),
    ],
)
@pytest.mark.parametrize("name", ["127.0.0.1", "expired", "not-yet-valid.principal.revoked"])
async def test_host_certificate_that_does_not_hold(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    tmp_path: Path,
    options: dict[str, Any],
    marked: str,
    code: str,
    name: str,
) -> None:
    """A certificate for another name, out of date or revoked does not vouch for a host, whatever its name reads like."""
    revoked = {
        "key": known_line(host_key, "*", "@revoked"),
        "authority": known_line(other_key, "*", "@revoked"),
    }
    (tmp_path / "known_hosts").write_text(
        known_line(other_key, "*", "@cert-authority") + revoked.get(marked, "")
    )
    (tmp_path / "config").write_text(f"HostKeyAlias {name}\n")
    aliased = replace(settings, ssh_config=(tmp_path / "config",))
    certified = _certified(host_key, other_key, **{"principals": [name], **options})
    async with serve(Behaviour(), host_key, server_host_keys=certified) as server:
        error = await refusal(aliased, server.host(host_keys=()))
    assert (error.code, error.exit_code) == (code, 6)


@pytest.mark.parametrize(
    ("kind", "algorithm", "is_accepted"),
    [
        ("rsa_key", "ssh-rsa", False),
        ("rsa_key", "rsa-sha2-256", True),
        ("rsa_key", "rsa-sha2-512", True),
        ("ecdsa_key", (), True),
    ],
)
async def test_certificate_that_can_be_forged(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    kind: str,
    algorithm: Any,
    is_accepted: bool,
) -> None:
    """A CA's signature by SHA-1 counts for nothing; the same key's by SHA-2 does."""
    authority = {"rsa_key": rsa_key, "ecdsa_key": ecdsa_key}[kind]
    certified = _certified(host_key, authority, sig_alg=algorithm)
    async with serve(Behaviour(authorized=[user_key]), host_key, server_host_keys=certified) as server:
        host = server.host(identities=(identity,), host_keys=(), host_authorities=(public(authority),))
        if is_accepted:
            assert await presented(settings, host) == host_key.get_fingerprint()
            return
        error = await refusal(settings, host)
    assert (error.code, error.exit_code, "SHA-1" in error.message) == ("host_certificate_invalid", 6, True)


async def test_certificate_of_a_foreign_authority(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    tmp_path: Path,
) -> None:
    """A certificate by a CA that known_hosts does not name is worth nothing."""
    (tmp_path / "known_hosts").write_text(known_line(ecdsa_key, "*", "@cert-authority"))
    async with serve(Behaviour(), host_key, server_host_keys=_certified(host_key, other_key)) as server:
        error = await refusal(settings, server.host(host_keys=()))
    assert (error.code, error.exit_code) == ("host_certificate_unknown_ca", 6)


async def test_known_key_under_a_certificate_of_a_foreign_authority(
    *,
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """Nobody's certificate does not stand in the way of a key that known_hosts has; another key is a changed one."""
    behaviour = Behaviour(authorized=[user_key])
    certified = _certified(host_key, other_key)
    async with serve(behaviour, host_key, server_host_keys=certified) as server:
        host = server.host(identities=(identity,), host_keys=())
        authority = known_line(ecdsa_key, "*", "@cert-authority")
        (tmp_path / "known_hosts").write_text(authority + server.line())
        assert await presented(settings, host) == host_key.get_fingerprint()
        (tmp_path / "known_hosts").write_text(authority + known_line(other_key, f"[127.0.0.1]:{server.port}"))
        assert (await refusal(settings, host)).code == "host_key_changed"


# --- a CA in the inventory -------------------------------------------------------------------------------------------


async def test_authority_of_the_inventory(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
) -> None:
    """A CA that the inventory names is accepted without any known_hosts; nothing is recorded."""
    certified = _certified(host_key, other_key)
    async with serve(Behaviour(authorized=[user_key]), host_key, server_host_keys=certified) as server:
        host = server.host(identities=(identity,), host_keys=(), host_authorities=(public(other_key),))
        assert await presented(settings, host) == host_key.get_fingerprint()
    assert not settings.known_hosts[0].exists()


async def test_pin_counts_more_than_an_authority(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
) -> None:
    """Where the inventory pins a key, no certificate makes up for another one."""
    certified = _certified(host_key, other_key)
    async with serve(Behaviour(), host_key, server_host_keys=certified) as server:
        host = server.host(host_keys=(public(rsa_key),), host_authorities=(public(other_key),))
        assert (await refusal(settings, host)).code == "host_key_changed"


@pytest.mark.parametrize("accept_new", [False, True])
async def test_bare_key_where_the_inventory_names_an_authority(
    *,
    server: Server,
    settings: TransportSettings,
    other_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
    accept_new: bool,
) -> None:
    """Who sits in between could leave the certificate out: only known_hosts vouches for a bare key then."""
    host = server.host(identities=(identity,), host_keys=(), host_authorities=(public(other_key),))
    either = replace(settings, accept_new=accept_new)
    assert (await refusal(either, host)).code == "host_certificate_missing"
    assert server.behaviour.environments == []
    (tmp_path / "known_hosts").write_text(server.line())
    assert await presented(either, host) == server.key.get_fingerprint()


async def test_authority_that_is_none(server: Server, settings: TransportSettings) -> None:
    """A CA that is no public key is a mistake of the inventory."""
    async with connector(settings) as ways:
        with pytest.raises(ConfigurationError) as caught:
            await ways.check([server.host(host_authorities=("SHA256:x",))])
    assert caught.value.code == "host_ca_invalid"


# --- accept-new ------------------------------------------------------------------------------------------------------


async def test_accept_new_records_and_reports(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """A new key is taken on first sight, appended as a line of its own, told once, and strict from then on."""
    told: list[tuple[str, str, str]] = []

    async def on_key_accepted(*facts: str) -> None:
        told.append((facts[0], facts[1], facts[2]))

    path = tmp_path / "known_hosts"
    path.write_text("old ssh-ed25519 AAAA")
    accepting = replace(settings, accept_new=True)
    host = server.host(identities=(identity,), host_keys=())
    async with connector(accepting, on_key_accepted=on_key_accepted) as ways:
        for _ in range(2):
            async with ways.connect(host):
                pass
    assert path.read_text() == f"old ssh-ed25519 AAAA\n{server.line()}"
    assert told == [("rig-1", server.key.get_fingerprint(), f"[127.0.0.1]:{server.port}")]
    assert await presented(settings, host) == server.key.get_fingerprint()


async def test_accept_new_makes_the_file(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """Where there is no known_hosts yet, it is made for the user alone."""
    path = tmp_path / "new" / ".ssh" / "known_hosts"
    accepting = replace(settings, accept_new=True, known_hosts=(path,))
    await presented(accepting, server.host(identities=(identity,), host_keys=()))
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_accept_new_takes_no_changed_key(
    server: Server, settings: TransportSettings, other_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """A changed key is no new one."""
    (tmp_path / "known_hosts").write_text(known_line(other_key, f"[127.0.0.1]:{server.port}"))
    error = await refusal(replace(settings, accept_new=True), server.host(host_keys=()))
    assert error.code == "host_key_changed"


@pytest.mark.parametrize("method", ["password", "keyboard"])
async def test_accept_new_is_reported_before_a_password_is_sent(
    host_key: asyncssh.SSHKey, settings: TransportSettings, tmp_path: Path, method: str
) -> None:
    """Whoever got it is on record, and told once."""
    behaviour = Behaviour()
    setattr(behaviour, method, SECRETS["PASSWORD"])
    told: list[list[str]] = []

    async def on_key_accepted(*_: str) -> None:
        told.append([*behaviour.passwords_seen])

    async with serve(behaviour, host_key) as server:
        host = server.host(password=PASSWORD, host_keys=())
        accepting = replace(settings, accept_new=True)
        assert await presented(accepting, host, on_key_accepted=on_key_accepted) == host_key.get_fingerprint()
        assert (tmp_path / "known_hosts").read_text() == server.line()
    assert (told, behaviour.passwords_seen) == ([[]], [SECRETS["PASSWORD"]])


async def test_accept_new_that_cannot_be_reported_sends_no_password(
    host_key: asyncssh.SSHKey, settings: TransportSettings, tmp_path: Path
) -> None:
    """The error is that of the records, and the key is as new as before."""
    behaviour = Behaviour(password=SECRETS["PASSWORD"])

    async def on_key_accepted(*_: str) -> None:
        raise UnwritableError("journal_unwritable", "the disk is full")

    async with serve(behaviour, host_key) as server:
        host = server.host(password=PASSWORD, host_keys=())
        accepting = replace(settings, accept_new=True)
        with pytest.raises(UnwritableError) as caught:
            await presented(accepting, host, on_key_accepted=on_key_accepted)
    assert caught.value.code == "journal_unwritable"
    assert (behaviour.passwords_seen, (tmp_path / "known_hosts").exists()) == ([], False)


async def test_accept_new_that_cannot_be_recorded_sends_no_password(
    host_key: asyncssh.SSHKey, settings: TransportSettings, tmp_path: Path
) -> None:
    """The error says so, and not that the login was refused."""
    behaviour = Behaviour(password=SECRETS["PASSWORD"])
    (tmp_path / "file").write_text("")
    accepting = replace(settings, accept_new=True, known_hosts=(tmp_path / "file" / "known_hosts",))
    async with serve(behaviour, host_key) as server:
        error = await refusal(accepting, server.host(password=PASSWORD, host_keys=()))
    assert (error.code, behaviour.passwords_seen) == ("known_hosts_unwritable", [])


async def test_accept_new_that_cannot_be_recorded(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """A key that cannot be recorded is not used, and the connection that was logged in with it is closed."""
    (tmp_path / "file").write_text("")
    accepting = replace(settings, accept_new=True, known_hosts=(tmp_path / "file" / "known_hosts",))
    async with connector(accepting) as ways:
        with pytest.raises(HostError) as caught:
            async with ways.connect(server.host(identities=(identity,), host_keys=())):
                pass
        [connection] = server.behaviour.connections
        async with asyncio.timeout(60):
            await connection.wait_closed()
    assert caught.value.code == "known_hosts_unwritable"
