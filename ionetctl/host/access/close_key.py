"""Taking the key that logged in out of the account's ``authorized_keys``, and proving that it is refused. Sees ports only.

What is done on the host stands in ``remote/close_ssh.sh``. Only a refused login counts: whatever else lets the key in is
reported, not guessed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import HostFailedError
from ionetctl.core.events import KeyClosed, KeyClosing, SshOpened
from ionetctl.core.model.login_key import LoginKey, LoginMethod
from ionetctl.core.ports import Command
from ionetctl.core.sanitize import harmless
from ionetctl.facts.close_output import BUSY, CLOSE_LIMIT_BYTES, parse_close
from ionetctl.host.dependencies import NONCE_BYTES

if TYPE_CHECKING:
    from ionetctl.core.events import HostConfirmed
    from ionetctl.core.model.host import Host
    from ionetctl.core.ports import Session
    from ionetctl.facts.close_output import CloseOutput, KeyFile
    from ionetctl.host.dependencies import Dependencies

STEP: Final = "close"
STILL_OPEN: Final = "still_open"
_HINT: Final = "close it by hand, or set ssh: {close: off}; what is taken out is the line of a plain key in a file of the account"
_OPEN_HINT: Final = (
    "log in and look at sshd -T, at what listens on the port, and at what writes authorized_keys"
)
_OTHERS: Final = {
    LoginMethod.CERTIFICATE: "a certificate of a CA logged in, which stands in no authorized_keys",
    LoginMethod.PASSWORD: "a password logged in, not a key",
    LoginMethod.OTHER: "the server asked for no key",
}


async def find_key(deps: Dependencies, session: Session) -> tuple[LoginKey, tuple[KeyFile, ...]]:
    """The key that logged in, and the files that have it; nothing is changed.

    Raises ``HostFailedError`` (``close_refused``) where it cannot be taken away, and what the session raises.
    """
    login = session.login
    if login.key is None:
        raise _refused(_OTHERS[login.method])
    key = login.key
    addresses = (await _ask(deps, session, "account", as_root=False)).addresses
    found = await _ask(deps, session, "look", key.type, key.blob, login.account, addresses)
    if not found.files:
        raise _refused("the host does not say where it stands")
    return key, found.files


async def _ask(deps: Dependencies, session: Session, *arguments: str, as_root: bool = True) -> CloseOutput:
    nonce, limits = secrets.token_hex(NONCE_BYTES), deps.deadlines
    argv = ("sh", "-s", "--", nonce, *arguments)
    command = Command(argv, limits.step_s, limits.idle_s, CLOSE_LIMIT_BYTES, as_root)
    said = parse_close((await session.run(command, deps.scripts.close)).stdout, nonce)
    if said.refused:
        raise _refused(said.reason, is_transient=said.refused == BUSY)
    return said


def _refused(reason: str, *, is_transient: bool = False) -> HostFailedError:
    message = f"the key that logs in cannot be taken away: {reason}"
    return _failure("close_refused", message, _HINT, is_transient=is_transient)


def _failure(code: str, message: str, hint: str, *, is_transient: bool = False) -> HostFailedError:
    error = HostFailedError(code, message, hint, transient=is_transient)
    error.step = STEP
    return error


@dataclass(frozen=True, slots=True)
class _Begun:
    """A removal that was begun: whether it was done only a login can tell."""

    account: str
    key: LoginKey
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BegunClosing:
    """How far a process that is gone had come with a host, by what it recorded."""

    confirmed: HostConfirmed
    closing: KeyClosing


@dataclass(slots=True)
class KeyRemoval:
    """The removal of one host's key, over as many attempts as it takes."""

    deps: Dependencies
    host: Host
    _begun: _Begun | None = None
    _taken_out_of: list[str] = field(default_factory=list)
    """Files without the key by now: root's can be refused after the account's were changed."""

    @classmethod
    def after(cls, deps: Dependencies, host: Host, closing: KeyClosing) -> Self:
        """That of another process, which may have come to its end."""
        key = LoginKey(*closing.key.split(" ", 1))
        return cls(deps, host, _Begun(closing.account, key, closing.files))

    async def attempt(self) -> None:
        """Take the key out and prove it; what an attempt that broke off may have done is looked at first.

        Raises ``HostFailedError``: ``close_refused``; ``still_open`` where the key logs in all the same. ``LockedError``, before
        anything is changed, where the lease was lost. Also what sessions raise.
        """
        begun = self._begun
        if begun is None or await self._way_in(begun):
            begun = await self._remove()
            if way_in := await self._way_in(begun):
                raise await self._still_open(begun, way_in)
        fingerprint = begun.key.fingerprint
        await self.deps.emit(KeyClosed(host=self.host.name, account=begun.account, fingerprint=fingerprint))

    async def _remove(self) -> _Begun:
        async with self.deps.connector.connect(self.host) as session:
            key, files = await find_key(self.deps, session)
            # The apply may have been long ago: this machine may have slept since.
            await self.deps.require_lease()
            begun = _Begun(session.login.account, key, tuple(harmless(file.path) for file in files))
            event = KeyClosing(
                host=self.host.name, account=begun.account, key=f"{key.type} {key.blob}", files=begun.files
            )
            await self.deps.emit(event)
            self._begun = begun
            for is_accounts in (True, False):
                paths = [file.path for file in files if file.is_accounts is is_accounts]
                if paths:
                    await self._take_out(session, key, paths, as_root=not is_accounts)
        return begun

    async def _take_out(self, session: Session, key: LoginKey, paths: list[str], *, as_root: bool) -> None:
        try:
            await _ask(self.deps, session, "remove", key.type, key.blob, *paths, as_root=as_root)
        except HostFailedError as error:
            if not self._taken_out_of:
                raise
            message = f"{error.message}; it is out of {', '.join(self._taken_out_of)} by now"
            raise _failure(error.code, message, error.hint, is_transient=error.transient) from error
        self._taken_out_of += map(harmless, paths)

    async def _way_in(self, begun: _Begun) -> str:
        """What lets the key in, as far as that shows; empty where it is refused."""
        async with self.deps.connector.try_key(self.host, begun.key) as session:
            if session is None:
                return ""
            try:
                _, files = await find_key(self.deps, session)
            except HostFailedError as error:
                return error.message
            return f"it stands in {', '.join(harmless(file.path) for file in files)}"

    async def _still_open(self, begun: _Begun, way_in: str) -> HostFailedError:
        message = (
            f"the key {begun.key.fingerprint} still logs in as {begun.account}, although it was taken out of "
            f"{', '.join(begun.files)}: {way_in}"
        )
        await self.deps.emit(SshOpened(host=self.host.name, cause=STILL_OPEN, message=message))
        return _failure(STILL_OPEN, message, _OPEN_HINT)
