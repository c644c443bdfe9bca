"""A login that ends as soon as the host has proved which key it holds: nothing of ours is sent, no user is logged in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import asyncssh

from ionetctl.ssh.host_keys.host_key_check import HostKeyCheck
from ionetctl.ssh.login import Login

if TYPE_CHECKING:
    from ionetctl.core.errors import HostTrustError

_ENOUGH: Final = "the host key is what was asked for"


class KeyProved(asyncssh.DisconnectError):
    """The key exchange is complete: the host has signed it with the private half of ``key``."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        super().__init__(asyncssh.DISC_BY_APPLICATION, _ENOUGH)
        self.key = key


@dataclass(slots=True)
class KeyScanCheck(HostKeyCheck):
    """Remembers what a ``HostKeyCheck`` would say to a key, and lets the key exchange go on either way."""

    is_refused: bool = False

    def accepts(self, key: asyncssh.SSHKey) -> bool:
        """Always true; ``is_refused`` says whether a connection would be refused."""
        self.is_refused = not HostKeyCheck.accepts(self, key)
        return True

    @property
    def verdict(self) -> HostTrustError | None:
        """The error with which a connection would be refused."""
        return self.refusal("") if self.is_refused else None


class KeyScanLogin(Login):
    """The callbacks of a connection that ends before anybody is logged in."""

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """TCP is up."""
        super().connection_made(conn)
        self._connection = conn

    def begin_auth(self, username: str) -> None:
        """The host has proved its key: end here."""
        super().begin_auth(username)
        raise KeyProved(cast("asyncssh.SSHKey", self._connection.get_server_host_key()))
