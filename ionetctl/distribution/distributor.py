"""The port by which a host's step asks where to get its files, and its three kinds: push, mirror, fan-out.

Few calls with plain values, so that a worker process can be given a proxy. Nothing here talks to hosts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ionetctl.core.events import Warned
from ionetctl.distribution.scheduler import PUSH, Scheduler

if TYPE_CHECKING:
    from ionetctl.core.model.names import HostName
    from ionetctl.core.ports import Clock, Emit
    from ionetctl.distribution.exchange import Obtained, Request, Seed, Source

PATIENCE_S: Final = 180.0
"""How long a host waits for a seed that is on its way, or busy. Who it waits for never waits for it."""
HOSTS_IN_VAIN: Final = 5
"""So many hosts that had nothing from a mirror, and none that had anything, cost it the trust in it."""


class Distributor(Protocol):
    """Says where hosts get packed programs, for all hosts of a rollout."""

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to be asked: not where all is pushed."""
        ...

    async def acquire(self, request: Request) -> Source:
        """Where the host gets its files. Whoever asks calls ``settle`` afterwards, whatever came of it."""
        ...

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        """Take note of what came of it."""
        ...

    async def seeds(self) -> tuple[Seed, ...]:
        """The hosts that may still serve others, to be ended with the rollout."""
        ...


class Fixed:
    """The same source for every host."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def is_needed(self) -> bool:
        """Where all is pushed, the apply does it."""
        return self._source != PUSH

    async def acquire(self, request: Request) -> Source:
        """The source."""
        del request
        return self._source

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        """Nothing is learned of one host for another."""
        del host, obtained

    async def seeds(self) -> tuple[Seed, ...]:
        """Nobody serves."""
        return ()


EVERYTHING_PUSHED: Final = Fixed(PUSH)


class Mirror(Fixed):
    """A mirror for every host. Where it served nobody, it is done without, and is given up unless those still asking are served."""

    def __init__(self, source: Source, emit: Emit) -> None:
        super().__init__(source)
        self._emit = emit
        self._asking: set[HostName] = set()
        self._in_vain: set[HostName] = set()
        self._has_served = False

    async def acquire(self, request: Request) -> Source:
        """The mirror, or a push where it is of no use."""
        if self._is_useless:
            return PUSH
        self._asking.add(request.host)
        return await super().acquire(request)

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        """Learn whether it serves anybody; warns once when it is given up."""
        if host not in self._asking:
            return
        self._asking.discard(host)
        self._has_served |= obtained.has_some
        if obtained.is_sources_fault:
            self._in_vain.add(host)
        if self._is_useless and not self._asking:
            message = f"{len(self._in_vain)} hosts fetched nothing from {self._source.url}, nor did any other: the rest is sent the files over SSH"
            hint = "look at docs/how-to/distribute.md for what a mirror needs"
            await self._emit(Warned(code="mirror_given_up", message=message, hint=hint))

    @property
    def _is_useless(self) -> bool:
        return len(self._in_vain) >= HOSTS_IN_VAIN and not self._has_served


class Fanout:
    """The first host of each rack by push, the others from hosts of their rack."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scheduler = Scheduler()
        self._changed = asyncio.Event()

    @property
    def is_needed(self) -> bool:
        """Hosts have to be told apart."""
        return True

    async def acquire(self, request: Request) -> Source:
        """Waits for a free seed of the rack while there is, or will be, one: at most ``PATIENCE_S``."""
        deadline_s = self._clock.monotonic() + PATIENCE_S
        try:
            while True:
                now_s = self._clock.monotonic()
                source = self._scheduler.assign(request, now_s, may_wait=now_s < deadline_s)
                if source is not None:
                    return source
                await self._until_changed(deadline_s - now_s)
        finally:
            self._scheduler.withdraw(request)

    async def settle(self, host: HostName, obtained: Obtained) -> None:
        """Take note of it, and let those who wait ask again."""
        self._scheduler.settle(host, obtained, self._clock.monotonic())
        self._changed.set()
        self._changed = asyncio.Event()

    async def seeds(self) -> tuple[Seed, ...]:
        """The seeds whose own limit has not ended them."""
        return self._scheduler.seeds(self._clock.monotonic())

    async def _until_changed(self, timeout_s: float) -> None:
        """Returns once something was settled, or the time is over."""
        waits = [
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._clock.sleep(timeout_s)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
