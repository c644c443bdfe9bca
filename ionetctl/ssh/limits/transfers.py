"""Large payloads on their way: so many hosts at the same time, and so many bytes a second over all of them."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.ssh.limits.uplink import Uplink

PAUSE_S: Final = 0.05
"""A transfer that has had nothing to send for this long releases its slot to another host."""
SLOW_S: Final = 2.0
"""A host that takes no block of 64 KiB in this time is slow: its transfer goes on beside the limit."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """What the transfers of all hosts share. ``slow_s`` is how long a host may take for a block and still count."""

    slots: asyncio.Semaphore = field(repr=False)
    uplink: Uplink
    slow_s: float = SLOW_S


class TransferSlot:
    """One transfer's slot: held while there is something to send to a host that takes it, released while there is not."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._is_held = False
        self._is_slow = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_free(self) -> bool:
        """Whether as much may be sent at once as the host takes."""
        return (self._is_held or self._is_slow) and self._transfers.uplink.is_unlimited

    async def take(self, size_bytes: int) -> None:
        """Return when so many bytes may be sent: when a slot is held, and the uplink has room for them."""
        if not (self._is_held or self._is_slow):
            await self._transfers.slots.acquire()
            self._is_held = True
        await self._transfers.uplink.take(size_bytes)

    @contextmanager
    def in_doubt(self) -> Iterator[None]:
        """While the host takes what was sent: a slow host's transfer gives its slot to another one, for good."""
        if not self._is_held:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self._transfers.slow_s, self._go_on_beside)
        try:
            yield
        finally:
            timer.cancel()

    def release_soon(self) -> None:
        """Release the slot after ``PAUSE_S``, unless ``keep`` is called before."""
        if self._is_held:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._release)

    def keep(self) -> None:
        """Cancel a release that is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.keep()
        self._release()

    def _go_on_beside(self) -> None:
        self._is_slow = True
        self._release()

    def _release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._transfers.slots.release()
