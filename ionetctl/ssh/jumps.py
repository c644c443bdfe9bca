"""Connections to jump hosts: one each, shared by all hosts behind it, opened at first use and again after a loss.

asyncssh would open one for each target. A failure is remembered for some seconds, so that thousands of hosts do not
repeat it, nor lock an account on the jump host. Connections are made by the ``dial`` that it is given.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from ionetctl.core.errors import HostError, HostTrustError, HostUnreachableError
from ionetctl.ssh.error_translation import LOST, jump_lost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncssh

    from ionetctl.ssh.config.endpoint import Endpoint
    from ionetctl.ssh.limits.handshakes import Handshakes

    Dial = Callable[[Endpoint, "JumpHost | None"], Awaitable[asyncssh.SSHClientConnection]]

_Dialled = TypeVar("_Dialled")
ATTEMPTS: Final = 8
FIRST_DELAY_S: Final = 0.25
LONGEST_DELAY_S: Final = 8.0
REMEMBERED_S: Final = 5.0
REFUSED_S: Final = 300.0
"""How long a refused login or host key is remembered: further attempts could lock the account."""
_OWN_CODES: Final = frozenset({"auth_failed", "no_common_algorithm"})


@dataclass(slots=True, eq=False)
class JumpHost:
    """One jump host. ``users`` is the number of connections through it, those to further jump hosts included."""

    endpoint: Endpoint
    parent: JumpHost | None
    handshakes: Handshakes
    connection: asyncssh.SSHClientConnection | None = None
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    linger: asyncio.TimerHandle | None = None
    failure: HostError | None = None
    failed_until: float = 0.0

    @property
    def live(self) -> asyncssh.SSHClientConnection | None:
        """The connection, or ``None`` where there is none or it was closed."""
        if self.connection is None or self.connection.is_closed():
            return None
        return self.connection

    @property
    def connected(self) -> asyncssh.SSHClientConnection:
        """The connection. Raises ``HostUnreachableError`` (``jump_failed``) where it was lost."""
        if self.live is None:
            raise jump_lost(str(self.endpoint))
        return self.live

    def explain_loss(self, error: HostError) -> HostError:
        """``error`` of a host behind this jump host; ``jump_failed`` where its connection ended because this one's did."""
        return jump_lost(str(self.endpoint)) if error.code == LOST.code and self.live is None else error


class JumpHosts:
    """All jump hosts of a rollout. ``dial`` opens a connection to one, through another one where that is given.

    ``handshakes`` makes the limit of those through one jump host.
    """

    def __init__(
        self,
        dial: Dial,
        handshakes: Callable[[], Handshakes],
        linger_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dial = dial
        self._handshakes = handshakes
        self._linger_s = linger_s
        self._sleep = sleep
        self._by_chain: dict[tuple[Endpoint, ...], JumpHost] = {}

    @asynccontextmanager
    async def through(self, chain: tuple[Endpoint, ...]) -> AsyncIterator[JumpHost | None]:
        """The last jump host of a chain, connected, for as long as the block lasts; ``None`` for an empty chain.

        Raises ``HostUnreachableError`` (``jump_failed``), or the host key or login error of a jump host, which names it.
        """
        if not chain:
            yield None
            return
        jump = self._jump(chain)
        self._hold(jump)
        try:
            await self._connect(jump)
            yield jump
        finally:
            self._release(jump)

    async def close(self) -> None:
        """Close all connections, those through other jump hosts first."""
        for chain in sorted(self._by_chain, key=len, reverse=True):
            jump = self._by_chain[chain]
            if jump.linger is not None:
                jump.linger.cancel()
            if jump.connection is not None:
                jump.connection.close()
                await jump.connection.wait_closed()
        self._by_chain.clear()

    def _jump(self, chain: tuple[Endpoint, ...]) -> JumpHost:
        if chain not in self._by_chain:
            parent = self._jump(chain[:-1]) if len(chain) > 1 else None
            self._by_chain[chain] = JumpHost(chain[-1], parent, self._handshakes())
        return self._by_chain[chain]

    def _hold(self, jump: JumpHost) -> None:
        """Count a user of this jump host and of those on the way to it."""
        hop: JumpHost | None = jump
        while hop is not None:
            hop.users += 1
            if hop.linger is not None:
                hop.linger.cancel()
                hop.linger = None
            hop = hop.parent

    def _release(self, jump: JumpHost) -> None:
        hop: JumpHost | None = jump
        while hop is not None:
            hop.users -= 1
            if hop.users == 0:
                hop.linger = asyncio.get_running_loop().call_later(self._linger_s, _close_unused, hop)
            hop = hop.parent

    async def _connect(self, jump: JumpHost) -> None:
        async with jump.lock:
            if jump.live is not None:
                return
            loop = asyncio.get_running_loop()
            if jump.failure is not None and loop.time() < jump.failed_until:
                raise _copied(jump.failure)
            if jump.parent is not None:
                await self._connect(jump.parent)
            try:
                jump.connection = await self._dial_jump(jump)
            except HostError as error:
                jump.failure = _of_jump_host(error, jump.endpoint)
                jump.failed_until = loop.time() + (REMEMBERED_S if error.transient else REFUSED_S)
                raise jump.failure from error
            jump.failure = None

    async def _dial_jump(self, jump: JumpHost) -> asyncssh.SSHClientConnection:
        """Dial, and again a little later where sshd closed the connection (MaxStartups makes it do so at random)."""

        async def dial() -> asyncssh.SSHClientConnection:
            return await self._dial(jump.endpoint, jump.parent)

        return await retried_when_dropped(dial, self._sleep)


async def retried_when_dropped(
    dial: Callable[[], Awaitable[_Dialled]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    attempts: int = ATTEMPTS,
) -> _Dialled:
    """What ``dial`` returns; it is called again, at most ``attempts`` times in all, where the connection was closed."""
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_dropped),
        stop=stop_after_attempt(attempts),
        wait=_wait_s,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(dial)


def _is_dropped(error: BaseException) -> bool:
    return isinstance(error, HostUnreachableError) and error.code == LOST.code


def _wait_s(state: RetryCallState) -> float:
    """A wait that doubles up to ``LONGEST_DELAY_S``, give or take a half."""
    usual_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (state.attempt_number - 1))
    return usual_s * random.uniform(0.5, 1.5)  # noqa: S311  (jitter, no secret)


def _close_unused(jump: JumpHost) -> None:
    jump.linger = None
    if jump.users == 0 and jump.connection is not None:
        jump.connection.close()
        jump.connection = None


def _of_jump_host(error: HostError, jump: Endpoint) -> HostError:
    """``error`` with the jump host named: refusals of key or login keep their code, all others are ``jump_failed``."""
    message = f"jump host {jump}: {error.message}"
    if isinstance(error, HostTrustError) or error.code in _OWN_CODES:
        return type(error)(error.code, message, error.hint, transient=False)
    return type(error)("jump_failed", message, error.hint, transient=error.transient)


def _copied(error: HostError) -> HostError:
    """A copy: an exception that is raised many times collects every traceback."""
    return type(error)(error.code, error.message, error.hint, transient=error.transient)
