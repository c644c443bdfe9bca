"""asyncssh's callbacks during one login: check the host key, offer keys, send the password once.

They record how far the login came and what was offered, for the error message. The password is resolved when the server
requests it and not before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import asyncssh

from ionetctl.core.model.login_key import AccountLogin, LoginMethod
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.asyncssh_internals import noting_signatures, tighten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.ssh.host_keys.host_key_check import HostKeyCheck
    from ionetctl.ssh.identities import Offer

BANNER_CHARS: Final = 200


@dataclass(slots=True)
class LoginProgress:
    """How far a login came; updated as it proceeds."""

    is_connected: bool = False
    is_authenticating: bool = False
    offered: list[str] = field(default_factory=list)
    banner: str = ""
    is_password_expired: bool = False
    failure: Exception | None = None
    accepted: Offer | None = None
    """The latest key that the server asked a signature of."""
    is_password_sent: bool = False

    def login(self, account: str) -> AccountLogin:
        """What opened the account, for a login that succeeded. A password that was sent may have."""
        if self.is_password_sent:
            return AccountLogin(account, LoginMethod.PASSWORD)
        if self.accepted is None:
            return AccountLogin(account, LoginMethod.OTHER)
        key = self.accepted.key
        return AccountLogin(account, LoginMethod.KEY if key else LoginMethod.CERTIFICATE, key)


class Login(asyncssh.SSHClient):
    """The callbacks of one connection."""

    def __init__(
        self,
        check: HostKeyCheck,
        progress: LoginProgress,
        offers: Callable[[], Awaitable[Sequence[Offer]]],
        password: Callable[[], Awaitable[Callable[[], str]]] | None,
        on_connected: Callable[[], None],
    ) -> None:
        self._check = check
        self._progress = progress
        self._offers = offers
        self._password = password
        self._on_connected = on_connected
        self._are_keys_offered = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """TCP is up."""
        tighten(conn)
        self._progress.is_connected = True
        self._on_connected()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  (asyncssh's signature)
        """Whether the host key is accepted."""
        return self._check.accepts(key)

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  (asyncssh's signature)
        """Whether the CA that signed the host's certificate is accepted for this host."""
        return key in self._check.authorities

    def begin_auth(self, username: str) -> None:  # noqa: ARG002  (asyncssh's signature)
        """The host key was accepted and proved."""
        self._progress.is_authenticating = True

    def auth_banner_received(self, msg: str, lang: str) -> None:  # noqa: ARG002  (asyncssh's signature)
        """Keep the banner: it may explain why a login is refused."""
        self._progress.banner = harmless(msg, BANNER_CHARS)

    async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        """All keys at the first request, then ``None``: there are no more."""
        if self._are_keys_offered:
            return None
        self._are_keys_offered = True
        try:
            offers = await self._offers()
        except Exception as error:
            self._progress.failure = error
            raise
        self._progress.offered += [offer.label for offer in offers]
        return [noting_signatures(offer.fresh(), partial(self._accepted, offer)) for offer in offers]

    def _accepted(self, offer: Offer) -> None:
        self._progress.accepted = offer

    async def password_auth_requested(self) -> str | None:
        """The password, once: repeating a wrong one could lock the account."""
        if self._password is None:
            return None
        password, self._password = self._password, None
        self._progress.offered.append("password")
        self._progress.is_password_sent = True
        try:
            return (await password())()
        except Exception as error:
            self._progress.failure = error
            raise

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:  # noqa: ARG002  (asyncssh's signature)
        """Refuse: an expired password is changed by an admin."""
        self._progress.is_password_expired = True
        return cast("tuple[str, str]", NotImplemented)

    def kbdint_auth_requested(self) -> str | None:
        """Accept keyboard-interactive, by which PAM asks for the password, if that has not been sent yet."""
        return None if self._password is None else ""

    async def kbdint_challenge_received(
        self,
        name: str,  # noqa: ARG002  (asyncssh's signature)
        instructions: str,  # noqa: ARG002  (likewise)
        lang: str,  # noqa: ARG002  (likewise)
        prompts: Sequence[tuple[str, bool]],
    ) -> Sequence[str] | None:
        """The password for a single hidden prompt; ``None`` for others (a second factor): nobody is there to answer."""
        if not prompts:
            return []
        is_hidden = len(prompts) == 1 and not prompts[0][1]
        password = await self.password_auth_requested() if is_hidden else None
        return None if password is None else [password]
