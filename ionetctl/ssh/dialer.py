"""Making one connection to one SSH server: host key, login, deadlines, and the error where it fails.

It is given an ``Endpoint`` with every option resolved, and a tunnel where the connection goes through a jump host. Agent
and X11 forwarding are never requested, and no environment variable is sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import asyncssh

from ionetctl.core.errors import (
    ConfigurationError,
    HostError,
    HostFailedError,
    HostTrustError,
    UnwritableError,
)
from ionetctl.core.model.host_key import HostKey, SeenKey, Standing
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.error_translation import AUTH, LOST, PROTOCOL, TIMED_OUT, fault_of, host_error, tunnel_error
from ionetctl.ssh.host_keys.host_key_check import HostKeyCheck, Pins, signature_algorithms
from ionetctl.ssh.host_keys.key_proof import KeyProved, KeyScanCheck, KeyScanLogin
from ionetctl.ssh.host_keys.known_hosts import KnownHosts, KnownHostsFile, known_as, public_line
from ionetctl.ssh.login import Login, LoginProgress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.config.endpoint import Endpoint
    from ionetctl.ssh.identities import Identities, Offer
    from ionetctl.ssh.limits.handshakes import Turn
    from ionetctl.ssh.settings import TransportSettings

    OnKeyAccepted = Callable[[HostName, str, str], Awaitable[None]]

_Check = TypeVar("_Check", bound=HostKeyCheck)
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
)
KEY_EXCHANGES: Final = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group14-sha256",
)
MACS: Final = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)


PROXY: Final = 'exec 9>&2 2>/dev/null; exec "$0" -c "$1"'
"""Keeps standard error open and silent: asyncssh takes what comes from it for SSH, and its end for that of the connection."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A connected jump host, and its name for messages."""

    connection: asyncssh.SSHClientConnection
    jump: str


@dataclass(slots=True)
class KeyTrial:
    """A login with one key and nothing else. ``is_refused``: public key authentication has refused it."""

    offer: Offer
    is_refused: bool = False


@dataclass(frozen=True, slots=True)
class DialRequest:
    """A connection to make: the server, the host's name for events, the inventory's pins, the tunnel to go through.

    With a ``trial`` only its key is tried, of all that could log in.
    """

    endpoint: Endpoint
    name: HostName
    pins: Pins = field(default_factory=Pins)
    tunnel: Tunnel | None = None
    trial: KeyTrial | None = None


class Dialer:
    """Makes connections. They share keys, known hosts, and the key types that pinned hosts turned out not to use."""

    def __init__(
        self, settings: TransportSettings, identities: Identities, on_key_accepted: OnKeyAccepted | None
    ) -> None:
        self._settings = settings
        self._identities = identities
        self._on_key_accepted = on_key_accepted
        self._known_hosts: dict[tuple[Path, ...], KnownHosts] = {}
        self._known_hosts_files: dict[Path, KnownHostsFile] = {}
        self._excluded_algorithms: dict[tuple[str, int], tuple[str, ...]] = {}
        self._certified_by_others: set[Endpoint] = set()
        self._options = _options(settings)

    async def dial(self, request: DialRequest, turn: Turn) -> asyncssh.SSHClientConnection:
        """A connection, logged in, within the host's ``turn``. Raises ``HostError``.

        A pinned fingerprint names no key type. Where a host presents another key than the pinned one, it is dialled
        again without that key's type, until it has no other. A host whose certificate is by a CA that is not accepted
        is dialled again for its key alone where known_hosts has one: as with OpenSSH, that decides then.
        """
        refusal: HostError | None = None
        while True:
            check = self._check(request, HostKeyCheck)
            try:
                connection = await self._attempt(request, check, turn)
            except HostError as error:
                if self._decides_by_key(request, check, error):
                    self._certified_by_others.add(request.endpoint)
                else:
                    refusal = self._after_mismatch(check, refusal, error)
            else:
                try:
                    await self._accept(request, check)
                except BaseException:
                    # Nobody else knows of it yet.
                    connection.abort()
                    raise
                return connection

    async def scan(self, request: DialRequest, turn: Turn) -> SeenKey:
        """The key that a host proves to hold, and how it stands; nobody is logged in. Raises ``HostError`` where none was seen.

        As ``dial``, it is asked again for other types of keys where a fingerprint is pinned.
        """
        refusal: HostError | None = None
        seen: asyncssh.SSHKey | None = None
        while True:
            check = self._check(request, KeyScanCheck)
            try:
                key = await self._proved_key(request, check, turn)
                failure: HostError | None = check.verdict
                seen = seen or key
            except HostError as error:
                failure = error
            if failure is None:
                return _seen(request, check, key, _standing(check), None)
            if self._decides_by_key(request, check, failure):
                self._certified_by_others.add(request.endpoint)
                continue
            try:
                refusal = self._after_mismatch(check, refusal, failure)
            except HostTrustError as error:
                is_new = error.code == "host_key_unknown"
                return _seen(request, check, seen, Standing.NEW if is_new else Standing.REFUSED, error)

    async def _proved_key(self, request: DialRequest, check: KeyScanCheck, turn: Turn) -> asyncssh.SSHKey:
        try:
            connection = await self._attempt(request, check, turn)
        except KeyProved as proof:
            turn.succeeded()
            return proof.key
        connection.abort()
        raise PROTOCOL.error(str(request.endpoint), "it asked for no login")

    def known_hosts(self, endpoint: Endpoint) -> KnownHosts:
        """An endpoint's known_hosts files; each is read once.

        Raises ``ConfigurationError`` (``known_hosts_unreadable``).
        """
        paths = (*endpoint.known_hosts, *endpoint.system_known_hosts)
        if paths not in self._known_hosts:
            record_in = endpoint.known_hosts[0] if endpoint.known_hosts else None
            users = [self._known_hosts_file(path) for path in endpoint.known_hosts] or [KnownHostsFile()]
            systems = [self._known_hosts_file(path) for path in endpoint.system_known_hosts]
            self._known_hosts[paths] = KnownHosts(record_in, [*users, *systems])
        return self._known_hosts[paths]

    def _known_hosts_file(self, path: Path) -> KnownHostsFile:
        if path not in self._known_hosts_files:
            try:
                self._known_hosts_files[path] = KnownHostsFile.read(path)
            except OSError as error:
                message = f"{harmless(str(path))} cannot be read: {error.strerror}"
                raise ConfigurationError("known_hosts_unreadable", message, "make it readable") from error
        return self._known_hosts_files[path]

    def _check(self, request: DialRequest, kind: type[_Check]) -> _Check:
        name, port = request.endpoint.known_name, request.endpoint.known_port
        known = self.known_hosts(request.endpoint).find(name, port)
        excluded = self._excluded_algorithms.get((name, port), ()) if request.pins.fingerprints else ()
        return kind(
            name,
            port,
            request.pins,
            known,
            self._settings.accept_new and kind is HostKeyCheck,
            excluded,
            takes_certificates=request.endpoint not in self._certified_by_others,
        )

    def _decides_by_key(self, request: DialRequest, check: HostKeyCheck, error: HostError) -> bool:
        """Once at most: a host may send a certificate that was not asked for.

        A scan wants the key of every host but those for which the inventory names a CA.
        """
        is_first = request.endpoint not in self._certified_by_others
        is_scan = isinstance(check, KeyScanCheck) and not check.pins.authorities
        is_key_wanted = is_scan or bool(check.known.keys)
        return is_first and is_key_wanted and error.code == "host_certificate_unknown_ca"

    def _after_mismatch(self, check: HostKeyCheck, first: HostError | None, error: HostError) -> HostError:
        """The error to raise if none of the host's other keys matches a pinned fingerprint either.

        Excludes the type of the key that the host presented. Raises that error once no type is left, and any error that
        is not about the pinned fingerprint at once.
        """
        if first is not None and error.code == "no_common_algorithm":
            raise first from error
        if error.code != "host_key_changed" or not check.pins.fingerprints or check.presented is None:
            raise error
        check.excluded = (*check.excluded, *signature_algorithms(check.presented.get_algorithm()))
        if not check.algorithms():
            raise first or error
        self._excluded_algorithms[check.host, check.port] = check.excluded
        return first or error

    async def _accept(self, request: DialRequest, check: HostKeyCheck) -> None:
        """Report a key that was accepted on first use, then record it.

        In this order: who breaks off between both does it again with the next connection, whereas the key of a host on
        record is not new any more.
        """
        if not check.is_new or check.presented is None:
            return
        if self._on_key_accepted is not None:
            name = known_as(check.host, check.port)
            await self._on_key_accepted(request.name, check.presented.get_fingerprint(), name)
        known_hosts = self.known_hosts(request.endpoint)
        try:
            await asyncio.to_thread(known_hosts.record, check.host, check.port, check.presented)
        except OSError as error:
            path = harmless(str(known_hosts.record_in))
            message = f"the new key of {check.host} cannot be recorded in {path}: {error.strerror}"
            raise HostFailedError("known_hosts_unwritable", message, "make the file writable") from error
        check.is_new = False

    async def _attempt(
        self, request: DialRequest, check: HostKeyCheck, turn: Turn
    ) -> asyncssh.SSHClientConnection:
        endpoint, progress, loop = request.endpoint, LoginProgress(), asyncio.get_running_loop()
        deadline = asyncio.timeout(self._settings.connect_timeout_s)

        def on_connected() -> None:
            deadline.reschedule(loop.time() + self._settings.login_timeout_s)
            turn.connected()

        try:
            async with deadline:
                connection = await asyncssh.connect(
                    endpoint.address,
                    endpoint.port,
                    options=self._options,
                    config=None,
                    tunnel=request.tunnel.connection if request.tunnel else (),
                    proxy_command=self._proxy_command(endpoint),
                    username=endpoint.user,
                    client_factory=lambda: self._login(request, check, progress, on_connected),
                    host_key_alias=check.host,
                    known_hosts=([], [], list(check.known.revoked)),
                    server_host_key_algs=check.algorithms(),
                )
        except KeyProved:
            raise
        except Exception as error:
            if isinstance(progress.failure, HostFailedError | UnwritableError):
                # Of a new key that could not be recorded or reported.
                raise progress.failure from None
            if request.trial is not None and isinstance(error, asyncssh.PermissionDenied):
                request.trial.is_refused = bool(progress.offered) and progress.accepted is None
            failure = self._failure(request, check, progress, error)
            if progress.is_connected and failure.code in (LOST.code, TIMED_OUT.code):
                turn.refused()
            raise failure from error
        turn.succeeded()
        connection.set_extra_info(login=progress.login(endpoint.user))
        return connection

    def _proxy_command(self, endpoint: Endpoint) -> Sequence[str] | None:
        """In the user's shell, as with ``ssh``; what it says on standard error is lost."""
        if endpoint.proxy_command is None:
            return None
        return ("/bin/sh", "-c", PROXY, self._settings.shell, f"exec {endpoint.proxy_command}")

    def _login(
        self,
        request: DialRequest,
        check: HostKeyCheck,
        progress: LoginProgress,
        on_connected: Callable[[], None],
    ) -> Login:
        async def offers() -> list[Offer]:
            return [trial.offer] if trial else await self._identities.offers(request.endpoint)

        async def secret(reference: SecretRef) -> Callable[[], str]:
            # A new key is on record before the password is sent to whoever has it.
            await self._accept(request, check)
            return await self._identities.secret(reference)

        trial = request.trial
        reference = None if trial else request.endpoint.password
        password = None if reference is None else partial(secret, reference)
        login = KeyScanLogin if isinstance(check, KeyScanCheck) else Login
        return login(check, progress, offers, password, on_connected)

    def _failure(
        self, request: DialRequest, check: HostKeyCheck, progress: LoginProgress, error: Exception
    ) -> HostError:
        """The error for a connection that failed, by the exception and by how far the login came."""
        where = str(request.endpoint)
        if isinstance(progress.failure, ConfigurationError):
            return as_host_error(progress.failure)
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            return check.refusal(error.reason)
        if isinstance(error, TimeoutError):
            return TIMED_OUT.error(where, self._timeout_reason(progress))
        if isinstance(error, asyncssh.ChannelOpenError) and request.tunnel is not None:
            return tunnel_error(error, where, request.tunnel.jump)
        is_refusal = fault_of(error) in (PROTOCOL, AUTH) or isinstance(error, ValueError)
        if progress.is_authenticating and is_refusal:
            return AUTH.error(where, _refusal_reason(progress, error))
        return host_error(error, where)

    def _timeout_reason(self, progress: LoginProgress) -> str:
        if not progress.is_connected:
            return f"no connection within {self._settings.connect_timeout_s:g} s"
        stage = "login" if progress.is_authenticating else "SSH handshake"
        seconds = self._settings.login_timeout_s
        return f"it accepts connections, but the {stage} did not end within {seconds:g} s"


def as_host_error(error: ConfigurationError) -> HostFailedError:
    """A configuration error as the failure of the host whose connection it prevents."""
    return HostFailedError(error.code, error.message, error.hint)


def _seen(
    request: DialRequest,
    check: HostKeyCheck,
    key: asyncssh.SSHKey | None,
    standing: Standing,
    error: HostError | None,
) -> SeenKey:
    shown = None if key is None else HostKey(public_line(key), key.get_fingerprint())
    return SeenKey(request.name, known_as(check.host, check.port), standing, shown, error)


def _standing(check: KeyScanCheck) -> Standing:
    """How an accepted key stands; asyncssh does not ask about the key under a certificate that holds."""
    if check.presented is None:
        return Standing.CERTIFIED
    return Standing.PINNED if check.pins else Standing.KNOWN


def _options(settings: TransportSettings) -> asyncssh.SSHClientConnectionOptions:
    """The options that all connections share. With them, asyncssh reads no file by itself."""
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        client_keys=None,
        agent_path=None,
        agent_forwarding=False,
        pkcs11_provider=None,
        gss_host=None,
        host_based_auth=False,
        preferred_auth=("publickey", "password", "keyboard-interactive"),
        x509_trusted_certs=None,
        x509_trusted_cert_paths=[],
        encryption_algs=CIPHERS,
        kex_algs=KEY_EXCHANGES,
        mac_algs=MACS,
        compression_algs=("none",),
        x11_forwarding=False,
        request_pty=False,
        env=None,
        send_env=None,
        tcp_keepalive=True,
        keepalive_interval=settings.keepalive_interval_s,
        keepalive_count_max=settings.keepalive_count,
        connect_timeout=None,
        login_timeout=0,
    )


def _refusal_reason(progress: LoginProgress, error: Exception) -> str:
    if progress.is_password_expired:
        return "the password has expired and must be changed by hand"
    tried = ", ".join(progress.offered) or "nothing: no key, agent or password is at hand"
    banner = f"; it says: {progress.banner}" if progress.banner else ""
    reason = error.reason if isinstance(error, asyncssh.Error) else str(error)
    return f"{harmless(reason, 200)}; tried {tried}{banner}"
