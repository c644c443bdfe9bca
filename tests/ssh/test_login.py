"""Every login method, and the error when none works."""

from __future__ import annotations

import logging
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from ionetctl.core.errors import ConfigurationError, HostError, HostFailedError, HostUnreachableError
from ionetctl.core.model.host import Jump
from ionetctl.core.model.login_key import AccountLogin, LoginKey, LoginMethod
from ionetctl.core.model.names import HostName
from ionetctl.core.ports import Command
from ionetctl.ssh import SshConnector, TransportSettings
from ionetctl.ssh.config.endpoint import EndpointResolver
from ionetctl.ssh.identities import Identities
from tests.ssh.servers import (
    MISSING,
    PASSPHRASE,
    PASSWORD,
    SECRETS,
    WRONG,
    Behaviour,
    Server,
    agent,
    connector,
    make_host,
    public,
    reveal,
    serve,
    write_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.core.model.host import Host

HELLO = Command(("echo", "hello"), timeout_s=10, idle_s=10, as_root=False)


async def say_hello(settings: TransportSettings, host: Host, **options: Any) -> bytes:
    """What the host answers over a connection of its own."""
    async with connector(settings, **options) as ways, ways.connect(host) as session:
        return (await session.run(HELLO)).stdout


async def refusal(settings: TransportSettings, host: Host) -> HostError:
    """The error that connecting ends with."""
    with pytest.raises(HostError) as caught:
        await say_hello(settings, host)
    return caught.value


@pytest.fixture
async def server(host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> AsyncIterator[Server]:
    async with serve(Behaviour(authorized=[user_key]), host_key) as listening:
        yield listening


async def test_identity_file(server: Server, settings: TransportSettings, identity: str) -> None:
    """A private key file of the inventory logs in."""
    assert await say_hello(settings, server.host(identities=(identity,))) == b"hello\n"


async def test_default_identity(server: Server, settings: TransportSettings, identity: str) -> None:
    """Where nobody names one, the usual files are tried, those that are not there passed over."""
    usual = replace(settings, default_identities=(Path("/nonexistent/id"), Path(identity)))
    assert await say_hello(usual, server.host()) == b"hello\n"


@pytest.mark.parametrize("kind", ["ecdsa_key", "rsa_key"])
async def test_other_key_types(
    kind: str,
    host_key: asyncssh.SSHKey,
    settings: TransportSettings,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """ECDSA and RSA keys log in too."""
    key: asyncssh.SSHKey = request.getfixturevalue(kind)
    async with serve(Behaviour(authorized=[key]), host_key) as listening:
        host = listening.host(identities=(write_key(key, tmp_path / "id"),))
        assert await say_hello(settings, host) == b"hello\n"


async def test_encrypted_identity_is_decrypted_once(
    server: Server, settings: TransportSettings, user_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """A passphrase opens a key, and the secret is asked for once for the whole fleet."""
    asked: list[str] = []

    def count(reference: Any) -> str:
        asked.append(reference.locator)
        return reveal(reference)

    path = write_key(user_key, tmp_path / "locked", SECRETS["PASSPHRASE"])
    host = server.host(identities=(path,), passphrase=PASSPHRASE)
    async with connector(settings, reveal=count) as ways:
        for _ in range(3):
            async with ways.connect(host) as session:
                await session.run(HELLO)
    assert asked == ["PASSPHRASE"]


async def test_wrong_passphrase(
    server: Server, settings: TransportSettings, user_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """A passphrase that does not fit is named, with the file and without the secret."""
    path = write_key(user_key, tmp_path / "locked", SECRETS["PASSPHRASE"])
    error = await refusal(settings, server.host(identities=(path,), passphrase=WRONG))
    assert (type(error), error.code) == (HostFailedError, "passphrase_wrong")
    assert error.message == f"the passphrase does not open the identity {path}"


async def test_encrypted_identity_without_passphrase(
    server: Server, settings: TransportSettings, user_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """An encrypted key that nothing opens is an error and not passed over."""
    path = write_key(user_key, tmp_path / "locked", SECRETS["PASSPHRASE"])
    assert (await refusal(settings, server.host(identities=(path,)))).code == "identity_encrypted"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b"no key at all", "Invalid private key")],
    ids=["missing", "junk"],
)
async def test_unusable_identity(
    server: Server, settings: TransportSettings, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """An identity of the inventory that is no key is an error that names the file."""
    path = tmp_path / "id"
    if content is not None:
        path.write_bytes(content)
    error = await refusal(settings, server.host(identities=(str(path),)))
    assert (error.code, error.transient, words in error.message) == ("identity_unreadable", False, True)


async def test_check_finds_an_unusable_identity_before_any_host_is_touched(
    server: Server, settings: TransportSettings
) -> None:
    """What would fail every host is a configuration error beforehand."""
    async with connector(settings) as ways:
        with pytest.raises(ConfigurationError) as caught:
            await ways.check([server.host(identities=("/nonexistent/id",))])
    assert (caught.value.code, server.behaviour.connections) == ("identity_unreadable", [])


async def test_check_passes_what_can_be_used(
    server: Server, settings: TransportSettings, identity: str
) -> None:
    """A usable host passes the check without being connected to."""
    async with connector(settings) as ways:
        await ways.check([server.host(identities=(identity,))] * 2)
    assert server.behaviour.connections == []


@pytest.mark.parametrize("is_beside", [True, False], ids=["beside the key", "named"])
async def test_certificate(
    *,
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    settings: TransportSettings,
    tmp_path: Path,
    is_beside: bool,
) -> None:
    """A user certificate logs in where the host knows the CA alone."""
    certificate = other_key.generate_user_certificate(user_key, "miner", principals=["miner"])
    path = Path(f"{identity}-cert.pub") if is_beside else tmp_path / "elsewhere"
    certificate.write_certificate(path)
    named = {} if is_beside else {"certificate": str(path)}
    async with serve(Behaviour(authorized=[other_key]), host_key) as listening:
        host = listening.host(identities=(identity,), **named)
        assert await say_hello(settings, host) == b"hello\n"


async def test_unusable_certificate(server: Server, settings: TransportSettings, identity: str) -> None:
    """A certificate of the inventory that is none is an error that names the file."""
    error = await refusal(settings, server.host(identities=(identity,), certificate="/nonexistent-cert.pub"))
    assert error.code == "certificate_unreadable"


async def test_agent(
    server: Server,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    tmp_path: Path,
) -> None:
    """The agent's keys are offered, for all hosts over one connection to it."""
    async with agent(tmp_path, rsa_key, user_key) as path:
        host = server.host(agent=True)
        async with connector(replace(settings, agent_path=path)) as ways:
            for _ in range(2):
                async with ways.connect(host) as session:
                    assert (await session.run(HELLO)).stdout == b"hello\n"


async def test_agent_holds_the_key_of_an_encrypted_identity(
    server: Server, settings: TransportSettings, user_key: asyncssh.SSHKey, tmp_path: Path
) -> None:
    """An encrypted identity needs no passphrase where the agent has it open."""
    path = write_key(user_key, tmp_path / "locked", SECRETS["PASSPHRASE"])
    user_key.write_public_key(f"{path}.pub")
    async with agent(tmp_path, user_key) as socket:
        host = server.host(agent=True, identities=(path,))
        assert await say_hello(replace(settings, agent_path=socket), host) == b"hello\n"


async def test_agent_key_with_a_certificate(
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    settings: TransportSettings,
    tmp_path: Path,
) -> None:
    """A certificate of the inventory is used with the agent's key that it belongs to."""
    path = tmp_path / "miner-cert.pub"
    other_key.generate_user_certificate(user_key, "miner", principals=["miner"]).write_certificate(path)
    async with (
        agent(tmp_path, user_key) as socket,
        serve(Behaviour(authorized=[other_key]), host_key) as listening,
    ):
        host = listening.host(agent=True, certificate=str(path))
        assert await say_hello(replace(settings, agent_path=socket), host) == b"hello\n"


async def test_agent_that_is_gone_is_passed_over(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """An agent that does not answer has no keys; the others still count."""
    host = server.host(agent=True, identities=(identity,))
    assert await say_hello(replace(settings, agent_path=str(tmp_path / "none")), host) == b"hello\n"


# --- what opened the account, and whether a key still does ---


async def login(settings: TransportSettings, host: Host) -> AccountLogin:
    """What opened the account."""
    async with connector(settings) as ways, ways.connect(host) as session:
        return session.login


def of(key: asyncssh.SSHKey) -> AccountLogin:
    """The login by that key."""
    return AccountLogin("miner", LoginMethod.KEY, LoginKey(*public(key).split()))


async def test_key_that_logged_in_is_known(
    *,
    server: Server,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> None:
    """Of several that were offered, the one that the server took; its fingerprint is OpenSSH's."""
    other = write_key(other_key, tmp_path / "other")
    host = server.host(identities=(other, identity))
    found = await login(settings, host)
    assert found == of(user_key)
    assert found.key is not None
    assert found.key.fingerprint == user_key.get_fingerprint()


@pytest.mark.parametrize("kind", ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256"])
async def test_agents_key_that_logged_in_is_known(
    host_key: asyncssh.SSHKey, settings: TransportSettings, tmp_path: Path, kind: str
) -> None:
    """An agent's key is named as one of a file is."""
    key = asyncssh.generate_private_key(kind)
    async with (
        agent(tmp_path, key) as socket,
        serve(Behaviour(authorized=[key]), host_key) as listening,
    ):
        assert await login(replace(settings, agent_path=socket), listening.host(agent=True)) == of(key)


async def test_certificate_that_logged_in_is_no_key(
    host_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    settings: TransportSettings,
) -> None:
    """It stands in no file of the account's."""
    certificate = other_key.generate_user_certificate(user_key, "miner", principals=["miner"])
    certificate.write_certificate(f"{identity}-cert.pub")
    async with serve(Behaviour(authorized=[other_key]), host_key) as listening:
        found = await login(settings, listening.host(identities=(identity,)))
    assert found == AccountLogin("miner", LoginMethod.CERTIFICATE)


async def test_password_that_logged_in_is_no_key(
    host_key: asyncssh.SSHKey, settings: TransportSettings
) -> None:
    """Nor is a key that was offered before it."""
    behaviour = Behaviour(password=SECRETS["PASSWORD"])
    async with serve(behaviour, host_key) as listening:
        found = await login(settings, listening.host(password=PASSWORD))
    assert found == AccountLogin("miner", LoginMethod.PASSWORD)


async def tried(settings: TransportSettings, host: Host, key: asyncssh.SSHKey) -> bool:
    """Whether a login with that key alone is refused."""
    found = of(key).key
    assert found is not None
    async with connector(settings) as ways, ways.try_key(host, found) as session:
        return session is None


async def test_key_alone_is_tried(
    *,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    settings: TransportSettings,
    identity: str,
    tmp_path: Path,
) -> None:
    """Neither another key nor the password, which both log in, makes up for the one that is refused."""
    behaviour = Behaviour(authorized=[other_key], password=SECRETS["PASSWORD"])
    other = write_key(other_key, tmp_path / "other")
    async with serve(behaviour, host_key) as listening:
        host = listening.host(identities=(identity, other), password=PASSWORD)
        assert await tried(settings, host, user_key)
        assert not await tried(settings, host, other_key)
        behaviour.authorized.append(user_key)
        assert not await tried(settings, host, user_key)
    assert behaviour.passwords_seen == []


async def test_key_that_is_not_at_hand_proves_nothing(
    server: Server, settings: TransportSettings, other_key: asyncssh.SSHKey, identity: str
) -> None:
    """A login that was not tried was not refused."""
    with pytest.raises(HostFailedError) as caught:
        await tried(settings, server.host(identities=(identity,)), other_key)
    assert caught.value.code == "key_unavailable"


async def test_host_that_does_not_answer_proves_nothing(
    settings: TransportSettings, user_key: asyncssh.SSHKey, identity: str
) -> None:
    """It is unreachable, not closed."""
    with pytest.raises(HostUnreachableError):
        await tried(settings, make_host(port=1, identities=(identity,), agent=False), user_key)


async def test_server_that_asks_for_no_key_proves_nothing(
    host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey, settings: TransportSettings, identity: str
) -> None:
    """Only public key authentication can refuse a key."""
    behaviour = Behaviour(password=SECRETS["PASSWORD"], is_key_asked_for=False)
    async with serve(behaviour, host_key) as listening:
        with pytest.raises(HostFailedError) as caught:
            await tried(settings, listening.host(identities=(identity,)), user_key)
    assert caught.value.code == "auth_failed"


async def test_jump_host_is_not_closed_before_those_behind_it(
    server: Server, settings: TransportSettings, identity: str
) -> None:
    """It is a contradiction of the inventory, found before any connection."""
    jump = replace(server.host(identities=(identity,), close="key"), name=HostName("jump"))
    behind = make_host(
        "10.0.0.9", identities=(identity,), agent=False, jump=(Jump("127.0.0.1", server.port, "miner"),)
    )
    async with connector(settings) as ways:
        with pytest.raises(ConfigurationError) as caught:
            await ways.check([jump, behind])
        await ways.check([jump, behind], logs_in=False)
        await ways.check([replace(jump, ssh=replace(jump.ssh, close="off")), behind])
        await ways.check([replace(jump, ssh=replace(jump.ssh, user="other")), behind])
    assert (caught.value.code, server.behaviour.connections) == ("close_jump_host", [])


# --- order, and who else can read a key ------------------------------------------------------------------------------


async def offered(settings: TransportSettings, tmp_path: Path, config: str = "", **ssh: Any) -> list[str]:
    """The names of the keys that a login would offer, in order."""
    path = tmp_path / "config"
    path.write_text(config)
    resolver = EndpointResolver(replace(settings, ssh_config=(path,)), "ops")
    identities = Identities(reveal)
    try:
        return [offer.label for offer in await identities.offers(resolver.resolve(make_host(**ssh)))]
    finally:
        await identities.close()


def set_mode(path: str, mode: int) -> None:
    Path(path).chmod(mode)


async def test_agent_s_keys_go_before_files_that_it_does_not_know(
    *,
    settings: TransportSettings,
    user_key: asyncssh.SSHKey,
    rsa_key: asyncssh.SSHKey,
    ecdsa_key: asyncssh.SSHKey,
    other_key: asyncssh.SSHKey,
    tmp_path: Path,
) -> None:
    """As with OpenSSH: keys that both have, other keys of the agent, other files; each once."""
    unknown, known = write_key(ecdsa_key, tmp_path / "unknown"), write_key(user_key, tmp_path / "known")
    own = write_key(other_key, tmp_path / "own")
    named = f"IdentityFile {unknown}\nIdentityFile {known}\n"
    async with agent(tmp_path, rsa_key, user_key) as socket:
        agents = replace(settings, agent_path=socket)
        usual = replace(agents, default_identities=(Path(unknown), Path(known)))
        assert await offered(usual, tmp_path) == [
            "agent key miner's key",
            "agent key ssh-rsa",
            f"key {unknown}",
        ]
        assert await offered(agents, tmp_path, named) == await offered(usual, tmp_path)
        limited = await offered(agents, tmp_path, f"IdentitiesOnly yes\n{named}")
        assert limited == ["agent key miner's key", f"key {unknown}"]
        assert (await offered(agents, tmp_path, named, identities=(own,)))[0] == f"key {own}"


async def test_key_that_others_can_read_is_not_used(
    server: Server, settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """The inventory's is an error, one of the SSH configuration is passed over, as with OpenSSH."""
    set_mode(identity, 0o640)
    error = await refusal(settings, server.host(identities=(identity,)))
    assert (error.code, error.hint) == ("identity_unreadable", f"chmod 600 {identity}")
    assert error.message == f"the identity {identity} has mode 0640: others than its owner may use it"
    assert await offered(settings, tmp_path, f"IdentityFile {identity}") == []
    set_mode(identity, 0o400)
    assert await offered(settings, tmp_path, f"IdentityFile {identity}") == [f"key {identity}"]


async def test_certificate_of_the_configuration_that_is_missing_is_passed_over(
    settings: TransportSettings, identity: str, tmp_path: Path
) -> None:
    """Only the inventory's must be usable."""
    config = f"IdentityFile {identity}\nCertificateFile /nonexistent-cert.pub"
    assert await offered(settings, tmp_path, config) == [f"key {identity}"]


@pytest.mark.parametrize("method", ["password", "keyboard"])
async def test_password(host_key: asyncssh.SSHKey, settings: TransportSettings, method: str) -> None:
    """A password logs in, as such or by keyboard-interactive, whatever the prompt's language."""
    behaviour = Behaviour()
    setattr(behaviour, method, SECRETS["PASSWORD"])
    async with serve(behaviour, host_key) as listening:
        assert await say_hello(settings, listening.host(password=PASSWORD)) == b"hello\n"


async def test_wrong_password_is_sent_once(host_key: asyncssh.SSHKey, settings: TransportSettings) -> None:
    """A wrong password is tried once, by one method, and the refusal is never worth a retry."""
    behaviour = Behaviour(password="other", keyboard="other")
    async with serve(behaviour, host_key) as listening:
        error = await refusal(settings, listening.host(password=WRONG))
    assert behaviour.passwords_seen == [SECRETS["WRONG"]]
    assert (error.code, error.exit_code, error.transient) == ("auth_failed", 5, False)
    assert "tried password" in error.message


async def test_expired_password(host_key: asyncssh.SSHKey, settings: TransportSettings) -> None:
    """A password that must be changed first says so."""
    behaviour = Behaviour(password=SECRETS["PASSWORD"], is_password_expired=True)
    async with serve(behaviour, host_key) as listening:
        error = await refusal(settings, listening.host(password=PASSWORD))
    assert (error.code, "expired" in error.message) == ("auth_failed", True)


async def test_secret_that_cannot_be_had(host_key: asyncssh.SSHKey, settings: TransportSettings) -> None:
    """A password that nobody set is told as such and not as a refused login."""
    async with serve(Behaviour(password="x"), host_key) as listening:
        error = await refusal(settings, listening.host(password=MISSING))
    assert (error.code, error.message) == ("secret_missing", "env:MISSING is not set")


async def test_refused_login_says_what_was_tried(
    host_key: asyncssh.SSHKey, settings: TransportSettings, identity: str
) -> None:
    """The message names user, host, what was offered and the host's own words, made harmless."""
    async with serve(Behaviour(banner="\x1b[31mAccess\x07 by appointment"), host_key) as listening:
        error = await refusal(settings, listening.host(identities=(identity,)))
    assert error.message == (
        f"miner@127.0.0.1:{listening.port} refuses the login: Permission denied for user miner on host 127.0.0.1; "
        f"tried key {identity}; it says: Access by appointment"
    )


async def test_nothing_to_log_in_with(server: Server, settings: TransportSettings) -> None:
    """Without any key or password the message says that there was none."""
    assert "no key, agent or password is at hand" in (await refusal(settings, server.host())).message


async def test_no_secret_is_ever_shown(
    host_key: asyncssh.SSHKey, settings: TransportSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs at their loudest, nor tracebacks, nor reprs hold a password; the login itself does use it."""
    caplog.set_level(logging.DEBUG)
    asyncssh.set_debug_level(2)
    behaviour = Behaviour(password="other")
    async with serve(behaviour, host_key) as listening, SshConnector(settings, reveal) as ways:
        host = listening.host(password=WRONG, become_password=PASSWORD)
        try:
            async with ways.connect(host):
                pass
        except HostError as error:
            shown = _with_locals(error)
        asyncssh.set_debug_level(1)
        shown += caplog.text + repr(ways) + repr(vars(ways)) + repr(host)
    assert behaviour.passwords_seen == [SECRETS["WRONG"]]
    assert "miner" in shown
    assert _secrets_in(shown) == []
    assert _secrets_in(shown + SECRETS["WRONG"]) == [SECRETS["WRONG"]]


def _with_locals(error: Exception) -> str:
    """The traceback with every frame's variables, but for those of the test itself."""
    assert error.__traceback__ is not None
    own = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.TracebackException.from_exception(own, capture_locals=True).format())


def _secrets_in(text: str) -> list[str]:
    return [secret for secret in SECRETS.values() if secret in text]
