"""The site's uplink: bytes a second over all payload streams, by a token bucket."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BURST_S: Final = 0.1
"""What was not used within this time is lost: a pause does not allow a burst."""


class Uplink:
    """``bytes_per_s`` over all streams, ``None`` for no limit. Whoever asks first is served first."""

    def __init__(
        self,
        bytes_per_s: float | None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._now = now
        self._sleep = sleep
        self._free_at = 0.0

    @property
    def is_unlimited(self) -> bool:
        """Whether nobody ever waits."""
        return self._bytes_per_s is None

    def spend(self, size_bytes: int) -> float:
        """Count bytes that are sent; returns the seconds that the bytes before them still take."""
        if self._bytes_per_s is None:
            return 0.0
        now = self._now()
        self._free_at = max(self._free_at, now - BURST_S)
        wait_s = max(0.0, self._free_at - now)
        self._free_at += size_bytes / self._bytes_per_s
        return wait_s

    async def take(self, size_bytes: int) -> None:
        """Return when so many bytes may be sent."""
        if wait_s := self.spend(size_bytes):
            await self._sleep(wait_s)
