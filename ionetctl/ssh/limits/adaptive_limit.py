"""How many handshakes may be under way, learnt from how they end. Without I/O or a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Final

CROWDED: Final = 4
"""A handshake is slow where it takes so many times as long as the quickest: hosts that are all far away are not."""
TOLERATED: Final = 4
"""One bad handshake in so many is a host's own trouble, more are a sign of too many at a time."""


@dataclass(slots=True)
class AdaptiveLimit:
    """A limit between ``least`` and ``most``; ``slow_s`` is what a handshake may take in any case.

    It is looked at after each round of as many handshakes as it allows. It doubles from round to round, until one shows
    too many slow or refused ones; then it is halved, and grows by one a round from there on.
    """

    value: int
    least: int
    most: int
    slow_s: float
    _quickest_s: float = field(default=inf, init=False)
    _ended: int = field(default=0, init=False)
    _bad: int = field(default=0, init=False)
    _is_doubling: bool = field(default=True, init=False)

    def completed(self, latency_s: float) -> None:
        """Count a handshake that ended well after ``latency_s``."""
        self._quickest_s = min(self._quickest_s, latency_s)
        self._count(is_bad=latency_s > max(self.slow_s, CROWDED * self._quickest_s))

    def refused(self) -> None:
        """Count a connection that was closed before the server said who it is, or a handshake that ran out of time."""
        self._count(is_bad=True)

    def _count(self, *, is_bad: bool) -> None:
        self._ended += 1
        self._bad += is_bad
        if self._ended >= self.value:
            self._end_round()

    def _end_round(self) -> None:
        if self._bad * TOLERATED > self._ended:
            self._is_doubling = False
            self.value = max(self.least, self.value // 2)
        else:
            self.value = min(self.most, self.value * 2 if self._is_doubling else self.value + 1)
        self._ended = self._bad = 0
