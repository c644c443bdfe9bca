"""The rate at which items are done, over a sliding window. Pure: the time is passed in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

WINDOW_S: Final = 120
"""The length of the window: long enough to bridge the end of a wave, short enough to show a slow rack."""

STALLED_AFTER_S: Final = 5.0
"""The least time without an item after which nothing is said to move."""


class RecentRate:
    """Counts items in one-second bins over ``WINDOW_S``."""

    def __init__(self) -> None:
        self._bins: deque[tuple[int, int]] = deque()
        self._began: datetime | None = None
        self._last: datetime | None = None

    def begin(self, now: datetime) -> None:
        """Start anew, for another phase."""
        self._bins.clear()
        self._began = self._last = now

    def count(self, now: datetime) -> None:
        """Count one item."""
        self._last = now
        second = int(now.timestamp())
        if self._bins and self._bins[-1][0] == second:
            self._bins[-1] = (second, self._bins[-1][1] + 1)
        else:
            self._bins.append((second, 1))
        while self._bins[0][0] <= second - WINDOW_S:
            self._bins.popleft()

    def is_stalled(self, now: datetime) -> bool:
        """Whether no item was counted for much longer than it took to count those before."""
        if self._last is None:
            return False
        rate = self.per_second(self._last)
        return (now - self._last).total_seconds() > max(STALLED_AFTER_S, 3 / rate if rate else 0.0)

    def per_second(self, now: datetime) -> float | None:
        """Items a second, averaged over the window, or since ``begin`` where that is shorter; ``None`` before the first item."""
        horizon = now.timestamp() - WINDOW_S
        done = sum(count for second, count in self._bins if second > horizon)
        if self._began is None or not done:
            return None
        span_s = min(float(WINDOW_S), (now - self._began).total_seconds())
        return done / max(1.0, span_s)
