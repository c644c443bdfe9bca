"""Keys and settings that the transport's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh
import pytest

from ionetctl.ssh import TransportSettings
from tests.ssh.servers import write_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def host_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="session")
def other_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture(scope="session")
def ecdsa_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ecdsa-sha2-nistp256")


@pytest.fixture(scope="session")
def rsa_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-rsa", key_size=2048)


@pytest.fixture(scope="session")
def user_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519", comment="miner's key")


@pytest.fixture
def identity(user_key: asyncssh.SSHKey, tmp_path: Path) -> str:
    return write_key(user_key, tmp_path / "id_rig")


@pytest.fixture
def settings(tmp_path: Path) -> TransportSettings:
    """Deadlines that a busy machine keeps, no file but the test's own."""
    return TransportSettings(
        connect_timeout_s=40,
        login_timeout_s=40,
        known_hosts=(tmp_path / "known_hosts",),
        system_known_hosts=(),
        sudo_timeout_s=40,
    )
