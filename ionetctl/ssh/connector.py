"""Sessions on the hosts of a rollout: the ``Connector`` port over asyncssh.

Constructed once and used within one event loop. Keys, the agent, known hosts, jump connections and limits are shared by
all hosts.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from ionetctl.core.errors import ConfigurationError, HostError, HostFailedError
from ionetctl.core.model.host_key import SeenKey, Standing
from ionetctl.core.model.names import HostName
from ionetctl.ssh.commands.session import SshSession
from ionetctl.ssh.config.endpoint import Endpoint, EndpointResolver
from ionetctl.ssh.dialer import Dialer, DialRequest, KeyTrial, Tunnel, as_host_error
from ionetctl.ssh.host_keys.host_key_check import parse_pins
from ionetctl.ssh.identities import Identities
from ionetctl.ssh.jumps import JumpHost, JumpHosts, retried_when_dropped
from ionetctl.ssh.limits.adaptive_limit import AdaptiveLimit
from ionetctl.ssh.limits.handshakes import Handshakes
from ionetctl.ssh.limits.transfers import Transfers
from ionetctl.ssh.limits.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    import asyncssh

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.login_key import LoginKey
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.dialer import OnKeyAccepted
    from ionetctl.ssh.limits.handshakes import Turn
    from ionetctl.ssh.settings import TransportSettings

_Dialled = TypeVar("_Dialled")
CLOSE_TIMEOUT_S: Final = 2.0
FIRST: Final = 32
"""Handshakes at the same time to begin with, over all hosts."""
FIRST_THROUGH_JUMP: Final = 8
LEAST_SHARE: Final = 4
"""However slow handshakes are, a quarter of what they began with goes on at the same time."""
PROXY_ATTEMPTS: Final = 4
"""Why a ProxyCommand ended is not known: a jump host that turned it away, or a host that is not there."""


class SshConnector:
    """Opens sessions. ``reveal`` resolves a secret reference; it may block and raises ``ConfigurationError``.

    ``on_key_accepted`` is awaited with the host's name, the fingerprint and the name in known_hosts for each new key that
    ``--accept-new`` accepts, before the session can be used.
    """

    def __init__(
        self,
        settings: TransportSettings,
        reveal: Callable[[SecretRef], str],
        on_key_accepted: OnKeyAccepted | None = None,
    ) -> None:
        self._settings = settings
        self._endpoints = EndpointResolver(settings, pwd.getpwuid(os.getuid()).pw_name)
        self._identities = Identities(reveal)
        self._dialer = Dialer(settings, self._identities, on_key_accepted)
        self._handshakes = Handshakes(self._limit(FIRST, settings.handshakes))
        self._handshakes_by_proxy = self._handshakes_of_jump()
        self._jumps = JumpHosts(self._dial_jump, self._handshakes_of_jump, settings.jump_linger_s)
        self._transfers = Transfers(asyncio.Semaphore(settings.transfers), Uplink(settings.bytes_per_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to jump hosts and to the agent."""
        await self._jumps.close()
        await self._identities.close()

    async def check(self, hosts: Iterable[Host], *, logs_in: bool = True) -> None:
        """Check that pins, keys, passphrases and SSH configuration can be used, before any host is connected to.

        Without ``logs_in`` the keys are needed for jump hosts alone, and none is taken away.

        Raises ``ConfigurationError``; ``connect`` raises the same mistake as the ``HostFailedError`` of its host.
        """
        checked: set[Endpoint] = set()
        hosts = list(hosts)
        # In a thread: the SSH configuration may run commands.
        await asyncio.to_thread(lambda: [self._endpoints.resolve(host) for host in hosts])
        if logs_in:
            self._refuse_closed_jumps(hosts)
        for host in hosts:
            parse_pins(host.ssh, host.name)
            endpoint = self._endpoints.resolve(host)
            for hop in (*endpoint.through, endpoint):
                if hop not in checked:
                    checked.add(hop)
                    self._dialer.known_hosts(hop)
                    if logs_in or hop is not endpoint:
                        await self._identities.offers(hop)

    def _refuse_closed_jumps(self, hosts: Sequence[Host]) -> None:
        """The key that is taken away from a host may be the one that leads through it."""
        hops = {
            (hop.address, hop.port, hop.user): host.name
            for host in hosts
            for hop in self._endpoints.resolve(host).through
        }
        for host in hosts:
            endpoint = self._endpoints.resolve(host)
            behind = hops.get((endpoint.address, endpoint.port, endpoint.user))
            if host.ssh.close == "key" and behind is not None:
                message = (
                    f"{host.name} is to be closed (ssh: {{close: key}}), and is the jump host of {behind}"
                )
                hint = "set close: off for it, and close it once the hosts behind it are done"
                raise ConfigurationError("close_jump_host", message, hint)

    @asynccontextmanager
    async def connect(self, host: Host) -> AsyncIterator[SshSession]:
        """A session, closed at the end of the block; see ``ports.Connector.connect``."""
        async with self._connected(host, None) as session:
            yield session

    @asynccontextmanager
    async def try_key(self, host: Host, key: LoginKey) -> AsyncIterator[SshSession | None]:
        """A session with that key alone, or ``None`` where it is refused; see ``ports.Connector.try_key``."""
        try:
            offers = await self._identities.offers(self._endpoints.resolve(host))
        except ConfigurationError as error:
            raise as_host_error(error) from error
        trial = next((KeyTrial(offer) for offer in offers if offer.key == key), None)
        if trial is None:
            message = (
                f"the key {key.fingerprint}, which logged in to {host.name} before, is not at hand any more"
            )
            raise HostFailedError(
                "key_unavailable", message, "add it to the agent, or name it as ssh: {identity: …}"
            )
        async with AsyncExitStack() as stack:
            try:
                session = await stack.enter_async_context(self._connected(host, trial))
            except HostError:
                if not trial.is_refused:
                    raise
                session = None
            yield session

    @asynccontextmanager
    async def _connected(self, host: Host, trial: KeyTrial | None) -> AsyncIterator[SshSession]:
        try:
            endpoint = self._endpoints.resolve(host)
            pins = parse_pins(host.ssh, host.name)
            become_password = await self._become_password(host)
        except ConfigurationError as error:
            raise as_host_error(error) from error
        async with self._jumps.through(endpoint.through) as jump:
            connection = await self._dial_host(DialRequest(endpoint, host.name, pins, trial=trial), jump)
            try:
                yield self._session(host, endpoint, connection, become_password, jump)
            finally:
                await _close(connection)

    async def scan(self, host: Host) -> SeenKey:
        """The key that a host proves to hold, and how it stands; nobody is logged in there, only to jump hosts.

        A host whose key was not seen has its error.
        """
        try:
            endpoint = self._endpoints.resolve(host)
            request = DialRequest(endpoint, host.name, parse_pins(host.ssh, host.name))
            async with self._jumps.through(endpoint.through) as jump:
                return await self._with_retries(endpoint, jump, partial(self._scan, request, jump))
        except ConfigurationError as error:
            return SeenKey(host.name, host.address, Standing.UNSEEN, error=as_host_error(error))
        except HostError as error:
            return SeenKey(host.name, host.address, Standing.UNSEEN, error=error)

    def _session(
        self,
        host: Host,
        endpoint: Endpoint,
        connection: asyncssh.SSHClientConnection,
        become_password: Callable[[], str] | None,
        jump: JumpHost | None,
    ) -> SshSession:
        return SshSession(
            connection,
            str(endpoint),
            self._settings,
            self._transfers,
            is_root=endpoint.user == "root" and host.ssh.become != "sudo",
            become_password=become_password,
            explain_loss=None if jump is None else jump.explain_loss,
        )

    async def _become_password(self, host: Host) -> Callable[[], str] | None:
        reference = host.ssh.become_password
        return None if reference is None else await self._identities.secret(reference)

    async def _dial_host(self, request: DialRequest, jump: JumpHost | None) -> asyncssh.SSHClientConnection:
        """Dial, and again where the connection was closed on a way that many hosts share."""
        return await self._with_retries(request.endpoint, jump, partial(self._dial, request, jump))

    @staticmethod
    async def _with_retries(
        endpoint: Endpoint, jump: JumpHost | None, dial: Callable[[], Awaitable[_Dialled]]
    ) -> _Dialled:
        if jump is not None:
            return await retried_when_dropped(dial)
        if endpoint.proxy_command is not None:
            return await retried_when_dropped(dial, attempts=PROXY_ATTEMPTS)
        return await dial()

    async def _dial(self, request: DialRequest, jump: JumpHost | None) -> asyncssh.SSHClientConnection:
        return await self._in_turn(self._dialer.dial, request, jump)

    async def _scan(self, request: DialRequest, jump: JumpHost | None) -> SeenKey:
        return await self._in_turn(self._dialer.scan, request, jump)

    async def _in_turn(
        self,
        dial: Callable[[DialRequest, Turn], Awaitable[_Dialled]],
        request: DialRequest,
        jump: JumpHost | None,
    ) -> _Dialled:
        async with self._handshakes_to(request.endpoint, jump).turn() as turn:
            if jump is None:
                return await dial(request, turn)
            tunnel = Tunnel(jump.connected, str(jump.endpoint))
            try:
                return await dial(replace(request, tunnel=tunnel), turn)
            except HostError as error:
                raise jump.explain_loss(error) from error

    def _handshakes_to(self, endpoint: Endpoint, jump: JumpHost | None) -> Handshakes:
        if jump is not None:
            return jump.handshakes
        return self._handshakes if endpoint.proxy_command is None else self._handshakes_by_proxy

    def _handshakes_of_jump(self) -> Handshakes:
        limit = self._limit(FIRST_THROUGH_JUMP, self._settings.handshakes_per_jump)
        return Handshakes(limit, self._handshakes)

    def _limit(self, first: int, most: int) -> AdaptiveLimit:
        """A handshake that takes a quarter of its time may be slow; which are is told by the quickest."""
        first = min(first, most)
        return AdaptiveLimit(
            first, max(1, first // LEAST_SHARE), most, slow_s=self._settings.login_timeout_s / 4
        )

    async def _dial_jump(self, endpoint: Endpoint, parent: JumpHost | None) -> asyncssh.SSHClientConnection:
        request = DialRequest(endpoint, HostName(endpoint.address))
        return await self._dial(request, parent)


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    """Close, within ``CLOSE_TIMEOUT_S``: a host that is gone does not answer."""
    connection.close()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()
