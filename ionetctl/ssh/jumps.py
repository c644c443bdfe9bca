"""Jump hosts: one shared connection each, opened when the first host needs it, reopened when it broke.

asyncssh would open one per target. A failure is remembered for a moment, so that thousands of waiting hosts neither
hammer a dead jump host nor lock an account there. How a connection is made is the connector's business.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from ionetctl.core.errors import HostError, HostTrustError, HostUnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import asyncssh

    from ionetctl.ssh.config.endpoint import Endpoint

    Dial = Callable[[Endpoint, "JumpHost | None"], Awaitable[asyncssh.SSHClientConnection]]

ATTEMPTS: Final = 5
FIRST_DELAY_S: Final = 0.25
REMEMBERED_S: Final = 5.0
REFUSED_S: Final = 300.0
"""How long a refused login or host key is remembered: trying again would only lock the account."""
_OWN_CODES: Final = frozenset({"auth_failed", "no_common_algorithm"})


@dataclass(slots=True, eq=False)
class JumpHost:
    """One jump host. ``users`` are the connections and further jump hosts that go through it now."""

    endpoint: Endpoint
    parent: JumpHost | None
    handshakes: asyncio.Semaphore
    connection: asyncssh.SSHClientConnection | None = None
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    linger: asyncio.TimerHandle | None = None
    failure: HostError | None = None
    failed_until: float = 0.0

    @property
    def live(self) -> asyncssh.SSHClientConnection | None:
        """The connection, where there is one that works."""
        if self.connection is None or self.connection.is_closed():
            return None
        return self.connection

    @property
    def connected(self) -> asyncssh.SSHClientConnection:
        """The connection, for something that must go through it.

        Raises ``HostUnreachableError`` (``jump_failed``) where it broke: there is no going around a jump host.
        """
        if self.live is None:
            raise HostUnreachableError(
                "jump_failed",
                f"the connection to jump host {self.endpoint} was lost",
                "run again",
                transient=True,
            )
        return self.live


class JumpHosts:
    """All jump hosts of a rollout. ``dial`` opens a connection to one, through another one where that is given."""

    def __init__(
        self,
        dial: Dial,
        handshakes: int,
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

        Raises ``HostUnreachableError`` (``jump_failed``), or the trust or login error of a jump host under its name.
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
        """Close all connections, the farthest first."""
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
            self._by_chain[chain] = JumpHost(chain[-1], parent, asyncio.Semaphore(self._handshakes))
        return self._by_chain[chain]

    def _hold(self, jump: JumpHost) -> None:
        """One user more, of this jump host and of those before it."""
        each: JumpHost | None = jump
        while each is not None:
            each.users += 1
            if each.linger is not None:
                each.linger.cancel()
                each.linger = None
            each = each.parent

    def _release(self, jump: JumpHost) -> None:
        each: JumpHost | None = jump
        while each is not None:
            each.users -= 1
            if each.users == 0:
                each.linger = asyncio.get_running_loop().call_later(self._linger_s, _close_unused, each)
            each = each.parent

    async def _connect(self, jump: JumpHost) -> None:
        async with jump.lock:
            if jump.live is not None:
                return
            loop = asyncio.get_running_loop()
            if jump.failure is not None and loop.time() < jump.failed_until:
                raise _again(jump.failure)
            if jump.parent is not None:
                await self._connect(jump.parent)
            try:
                jump.connection = await self._dial_jump(jump)
            except HostError as error:
                jump.failure = _named(error, jump.endpoint)
                jump.failed_until = loop.time() + (REMEMBERED_S if error.transient else REFUSED_S)
                raise jump.failure from error
            jump.failure = None

    async def _dial_jump(self, jump: JumpHost) -> asyncssh.SSHClientConnection:
        """Dial, and again a little later where sshd closed the connection (MaxStartups makes it do so at random)."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_dropped),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait_s,
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(self._dial_once, jump)

    async def _dial_once(self, jump: JumpHost) -> asyncssh.SSHClientConnection:
        return await self._dial(jump.endpoint, jump.parent)


def _is_dropped(error: BaseException) -> bool:
    return isinstance(error, HostUnreachableError) and error.code == "connection_lost"


def _wait_s(state: RetryCallState) -> float:
    """A wait that doubles, give or take a half."""
    return FIRST_DELAY_S * 2.0 ** (state.attempt_number - 1) * random.uniform(0.5, 1.5)  # noqa: S311  (jitter, no secret)


def _close_unused(jump: JumpHost) -> None:
    jump.linger = None
    if jump.users == 0 and jump.connection is not None:
        jump.connection.close()
        jump.connection = None


def _named(error: HostError, jump: Endpoint) -> HostError:
    """``error`` as one of a jump host: a refusal keeps its code and remedy, the rest is one kind."""
    message = f"jump host {jump}: {error.message}"
    if isinstance(error, HostTrustError) or error.code in _OWN_CODES:
        return type(error)(error.code, message, error.hint, transient=False)
    return type(error)("jump_failed", message, error.hint, transient=error.transient)


def _again(error: HostError) -> HostError:
    """A fresh copy: an exception that is raised many times would gather every traceback."""
    return type(error)(error.code, error.message, error.hint, transient=error.transient)
