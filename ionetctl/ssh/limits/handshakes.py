"""Turns of hosts at their handshakes: first come, first served, and never more at a time than the limit allows.

A host whose TCP connection is not up soon gives its place to the next one and goes on outside the limit, so that hosts
that are switched off do not hold up those that are not.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ionetctl.ssh.limits.adaptive_limit import AdaptiveLimit

DIAL_S: Final = 1.0
"""How long a connection that is not up yet counts against the limit."""


class Handshakes:
    """The handshakes under way: over all hosts, or through one jump host, where ``outer`` are those over all hosts."""

    def __init__(self, limit: AdaptiveLimit, outer: Handshakes | None = None, dial_s: float = DIAL_S) -> None:
        self.limit = limit
        self.under_way = 0
        self._outer = outer
        self._dial_s = dial_s
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for this host's turn; it lasts as long as the block."""
        every = (self,) if self._outer is None else (self, self._outer)
        turn = Turn(every, self._dial_s)
        try:
            for handshakes in every:
                await handshakes.enter()
                turn.held.append(handshakes)
            turn.begin()
            yield turn
        finally:
            turn.end()

    async def enter(self) -> None:
        """Return when there is room for one more, and count it."""
        if self.under_way < self.limit.value and not self._waiting:
            self.under_way += 1
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave()
            raise

    def enter_again(self) -> None:
        """Count one that gave up its place: it goes on whether there is room or not."""
        self.under_way += 1

    def leave(self) -> None:
        """Give a place to the next."""
        self.under_way -= 1
        while self._waiting and self.under_way < self.limit.value:
            waiting = self._waiting.popleft()
            if not waiting.done():
                self.under_way += 1
                waiting.set_result(None)


class Turn:
    """One host's turn. ``held`` are the limits that it counts against now."""

    def __init__(self, every: tuple[Handshakes, ...], dial_s: float) -> None:
        self.held: list[Handshakes] = []
        self._every = every
        self._dial_s = dial_s
        self._timer: asyncio.TimerHandle | None = None
        self._connected_at: float | None = None

    def begin(self) -> None:
        """The host dials from now on."""
        self._timer = asyncio.get_running_loop().call_later(self._dial_s, self._release)

    def connected(self) -> None:
        """TCP is up: what follows counts, and its time is measured."""
        self._stop_timer()
        self._connected_at = asyncio.get_running_loop().time()
        if not self.held:
            for handshakes in self._every:
                handshakes.enter_again()
                self.held.append(handshakes)

    def succeeded(self) -> None:
        """The limits learn how long the handshake took."""
        if self._connected_at is not None:
            latency_s = asyncio.get_running_loop().time() - self._connected_at
            for handshakes in self._every:
                handshakes.limit.completed(latency_s)

    def refused(self) -> None:
        """The limits learn of a server that closed the connection at once, or did not answer in time."""
        for handshakes in self._every:
            handshakes.limit.refused()

    def end(self) -> None:
        """The next host has its turn."""
        self._stop_timer()
        self._release()

    def _release(self) -> None:
        while self.held:
            self.held.pop().leave()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
