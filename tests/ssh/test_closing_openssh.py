"""Closing against OpenSSH's own server: its words are understood, and the login that is refused is its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostFailedError
from ionetctl.core.events import KeyClosed, KeyClosing, SshOpened
from ionetctl.core.model.names import RolloutId
from ionetctl.host.access.close_key import KeyRemoval, find_key
from ionetctl.remote import close_ssh_script
from tests.ssh.servers import connector, public
from tests.ssh.test_openssh import USER, sshd
from tests.support.fakes import Emitted, FakeIssuer, FakeRegion, dependencies
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncssh

    from ionetctl.core.model.host import Host
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.ssh import TransportSettings

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root's sshd lets another program ask it")
OTHERS = '# of the site\nfrom="10.0.0.1" ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 other\n'


@dataclass
class Closing:
    """A host with a real sshd, and what is needed to close it."""

    host: Host
    deps: Dependencies
    folder: Path
    emit: Emitted = field(default_factory=Emitted)

    @property
    def keys(self) -> Path:
        return self.folder / "authorized_keys"

    async def refusal(self) -> str:
        """Why the host cannot be closed; the file is what it was."""
        before = self.keys.read_bytes()
        with pytest.raises(HostFailedError) as caught:
            async with self.deps.connector.connect(self.host) as session:
                await find_key(self.deps, session)
        assert (caught.value.code, self.keys.read_bytes()) == ("close_refused", before)
        return caught.value.message


@dataclass
class Rig:
    """Makes such hosts."""

    settings: TransportSettings
    host_key: asyncssh.SSHKey
    user_key: asyncssh.SSHKey
    identity: str
    folder: Path

    @asynccontextmanager
    async def up(self, more: str = "") -> AsyncIterator[Closing]:
        async with (
            sshd(self.folder, self.host_key, self.user_key, more) as server,
            connector(self.settings) as ways,
        ):
            emit = Emitted()
            deps = dependencies(RolloutId("r-1"), ways, FakeRegion(), FakeIssuer(), emit)
            deps = replace(deps, scripts=replace(deps.scripts, close=close_ssh_script()))
            yield Closing(server.host(self.identity), deps, self.folder, emit)


@pytest.fixture
def rig(
    settings: TransportSettings,
    host_key: asyncssh.SSHKey,
    user_key: asyncssh.SSHKey,
    identity: str,
    tmp_path: Path,
) -> Rig:
    return Rig(settings, host_key, user_key, identity, tmp_path)


async def test_key_is_taken_away(rig: Rig) -> None:
    """Exactly that key, wherever it stands in the file; sshd refuses it then, and lets the others in as before."""
    async with rig.up() as closing:
        key = public(rig.user_key)
        closing.keys.write_text(
            f'{OTHERS}no-pty,command="exec sh -c \\"$SSH_ORIGINAL_COMMAND\\"" {key} a\n{key}'
        )
        await KeyRemoval(closing.deps, closing.host).attempt()
        assert closing.keys.read_text() == OTHERS
        assert [type(event) for event in closing.emit.events] == [KeyClosing, KeyClosed]
        with pytest.raises(HostFailedError) as caught:
            async with closing.deps.connector.connect(closing.host):
                pass
        assert caught.value.code == "auth_failed"


async def test_match_block_names_another_file(rig: Rig) -> None:
    """The file of the account counts, not the usual one."""
    other = rig.folder / "keys" / USER
    other.parent.mkdir(mode=0o755)
    other.write_text(f"{public(rig.user_key)}\n")
    async with rig.up(f"Match Address 127.0.0.0/8\n  AuthorizedKeysFile {other.parent}/%u") as closing:
        await KeyRemoval(closing.deps, closing.host).attempt()
        assert (other.read_text(), closing.keys.read_text()) == ("", public(rig.user_key))


async def test_keys_command_is_refused(rig: Rig) -> None:
    """It could let the key in again."""
    command = "AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser root"
    async with rig.up(command) as closing:
        assert "/bin/true" in await closing.refusal()


async def test_certificate_of_a_ca_is_refused(rig: Rig, other_key: asyncssh.SSHKey) -> None:
    """It stands in no authorized_keys, although its key may."""
    other_key.write_public_key(rig.folder / "user_ca.pub")
    other_key.write_private_key(rig.folder / "user_ca")
    (rig.folder / "user_ca").chmod(0o600)
    rig.user_key.write_public_key(f"{rig.identity}.pub")
    sign = [needs("ssh-keygen"), "-q", "-s", str(rig.folder / "user_ca"), "-I", "ops", "-n", USER]
    run = partial(subprocess.run, check=True, capture_output=True)
    await asyncio.to_thread(run, [*sign, f"{rig.identity}.pub"])
    async with rig.up(f"TrustedUserCAKeys {rig.folder}/user_ca.pub") as closing:
        assert "a certificate of a CA logged in" in await closing.refusal()


async def test_key_that_gets_in_another_way_is_not_closed(rig: Rig) -> None:
    """As where sshd goes on with settings that its file does not have any more: only the login shows it."""
    async with rig.up() as closing:
        other = rig.folder / "other"
        other.write_text(f"{public(rig.user_key)}\n")
        settings = rig.folder / "sshd_config"
        settings.write_text(settings.read_text().replace(f"{rig.folder}/authorized_keys", str(other)))
        with pytest.raises(HostFailedError) as caught:
            await KeyRemoval(closing.deps, closing.host).attempt()
        assert (caught.value.code, caught.value.step) == ("still_open", "close")
        assert "none of the files that sshd reads" in caught.value.message
        assert other.read_text() == ""
        assert [type(event) for event in closing.emit.events] == [KeyClosing, SshOpened]
