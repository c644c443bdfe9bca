"""Sessions on the hosts of a rollout: the ``Connector`` port over asyncssh.

Constructed once and used within one event loop. Keys, the agent, known hosts, jump connections and limits are shared by
all hosts.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.names import HostName
from ionetctl.ssh.commands.session import SshSession
from ionetctl.ssh.config.endpoint import Endpoint, EndpointResolver
from ionetctl.ssh.dialer import Dialer, DialRequest, Tunnel, as_host_error
from ionetctl.ssh.host_keys.host_key_check import parse_pins
from ionetctl.ssh.identities import Identities
from ionetctl.ssh.jumps import JumpHost, JumpHosts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    import asyncssh

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.secret import SecretRef
    from ionetctl.ssh.dialer import OnKeyAccepted
    from ionetctl.ssh.settings import TransportSettings

CLOSE_TIMEOUT_S: Final = 2.0


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
        self._jumps = JumpHosts(self._dial_jump, settings.handshakes_per_jump, settings.jump_linger_s)
        self._transfers = asyncio.Semaphore(settings.transfers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to jump hosts and to the agent."""
        await self._jumps.close()
        await self._identities.close()

    async def check(self, hosts: Iterable[Host]) -> None:
        """Check that pins, keys, passphrases and SSH configuration can be used, before any host is connected to.

        Raises ``ConfigurationError``; ``connect`` raises the same mistake as the ``HostFailedError`` of its host.
        """
        checked: set[Endpoint] = set()
        hosts = list(hosts)
        # In a thread: the SSH configuration may run commands.
        await asyncio.to_thread(lambda: [self._endpoints.resolve(host) for host in hosts])
        for host in hosts:
            parse_pins(host.ssh.host_keys, host.name)
            endpoint = self._endpoints.resolve(host)
            for hop in (*endpoint.through, endpoint):
                if hop not in checked:
                    checked.add(hop)
                    self._dialer.known_hosts(hop)
                    await self._identities.offers(hop)

    @asynccontextmanager
    async def connect(self, host: Host) -> AsyncIterator[SshSession]:
        """A session, closed at the end of the block; see ``ports.Connector.connect``."""
        try:
            endpoint = self._endpoints.resolve(host)
            pins = parse_pins(host.ssh.host_keys, host.name)
            become_password = await self._become_password(host)
        except ConfigurationError as error:
            raise as_host_error(error) from error
        async with self._jumps.through(endpoint.through) as jump:
            connection = await self._dial(DialRequest(endpoint, host.name, pins), jump)
            try:
                yield self._session(host, endpoint, connection, become_password)
            finally:
                await _close(connection)

    def _session(
        self,
        host: Host,
        endpoint: Endpoint,
        connection: asyncssh.SSHClientConnection,
        become_password: Callable[[], str] | None,
    ) -> SshSession:
        return SshSession(
            connection,
            str(endpoint),
            self._settings,
            self._transfers,
            is_root=endpoint.user == "root" and host.ssh.become != "sudo",
            become_password=become_password,
        )

    async def _become_password(self, host: Host) -> Callable[[], str] | None:
        reference = host.ssh.become_password
        return None if reference is None else await self._identities.secret(reference)

    async def _dial(self, request: DialRequest, jump: JumpHost | None) -> asyncssh.SSHClientConnection:
        if jump is None:
            return await self._dialer.dial(request)
        async with jump.handshakes:
            tunnel = Tunnel(jump.connected, str(jump.endpoint))
            return await self._dialer.dial(DialRequest(request.endpoint, request.name, request.pins, tunnel))

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
