"""Who gets the files from whom in a fan-out: the first host of a rack by push, the others from hosts that have them. Pure.

Each seed serves a few peers at a time, and a peer becomes a seed where more hosts wait than the seeds have slots, so that a
rack of n hosts is done after a number of rounds that grows with the logarithm of n. Times are seconds of any steady clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.names import Digest, HostName

SLOTS: Final = 4
"""How many peers a seed serves at a time."""
LEASE_S: Final = 720.0
"""How long a host is waited for that was told where to get its files; then its process is taken for dead."""
SERVING_LIMIT_S: Final = 3600
"""How long a host serves at most."""
IDLE_LIMIT_S: Final = 900
"""How long a host serves nobody before it ends."""
MARGIN_S: Final = 60
"""A seed that is so close to its end is asked no more."""
FAILURES: Final = 2
"""So many peers in a row that a seed fails cost it the trust in it; so many seeds that serve nobody, that in the whole rack."""
PUSH: Final = Source(Origin.PUSH)


@dataclass(slots=True)
class _Serving:
    """A seed at work: until when each of its peers is expected to be done, and when it was last of use."""

    seed: Seed
    until_s: float
    used_s: float
    leases: dict[HostName, float] = field(default_factory=dict)
    failures: int = 0
    has_served: bool = False

    def is_alive(self, now_s: float) -> bool:
        """Whether it may be asked: not failing, and its own limits far enough."""
        is_idle = now_s > self.used_s + IDLE_LIMIT_S - MARGIN_S
        return self.failures < FAILURES and now_s < self.until_s - MARGIN_S and not is_idle

    def free(self, now_s: float) -> int:
        return SLOTS - sum(deadline > now_s for deadline in self.leases.values())


@dataclass(slots=True)
class _Rack:
    """Hosts that can reach each other. ``expected`` are those that will be seeds: their files, and until when that is believed."""

    serving: list[_Serving] = field(default_factory=list)
    expected: dict[HostName, tuple[frozenset[Digest], float]] = field(default_factory=dict)
    waiting: set[HostName] = field(default_factory=set)

    def alive(self, now_s: float) -> list[_Serving]:
        return [each for each in self.serving if each.is_alive(now_s)]

    def coming(self, now_s: float) -> list[frozenset[Digest]]:
        return [files for files, deadline in self.expected.values() if deadline > now_s]

    @property
    def is_given_up(self) -> bool:
        """Whether its hosts seem not to reach each other at all."""
        failed = sum(each.failures >= FAILURES for each in self.serving)
        return failed >= FAILURES and not any(each.has_served for each in self.serving)

    def wants_seed(self, now_s: float) -> bool:
        """Whether more hosts wait than all seeds can serve in one round."""
        seeds = len(self.alive(now_s)) + len(self.coming(now_s))
        return len(self.waiting) > SLOTS * seeds


class Scheduler:
    """The fan-out of one rollout."""

    def __init__(self) -> None:
        self._racks: dict[str, _Rack] = {}
        self._assigned: dict[HostName, tuple[_Rack, _Serving | None]] = {}

    def assign(self, request: Request, now_s: float, *, may_wait: bool = True) -> Source | None:
        """Where the host gets its files; ``None`` where it should ask again once something has changed.

        Whoever was given a source settles it. A host that may not wait any more is always given one.
        """
        self.withdraw(request)
        if request.rack is None:
            return PUSH
        rack = self._racks.setdefault(request.rack, _Rack())
        if rack.is_given_up:
            return PUSH
        seeds = [
            each
            for each in rack.alive(now_s)
            if each.seed.files >= request.files and each.seed.host != request.host
        ]
        if free := [each for each in seeds if each.free(now_s) > 0]:
            return self._lease(request, rack, max(free, key=lambda each: each.free(now_s)), now_s)
        is_one_coming = any(files >= request.files for files in rack.coming(now_s))
        if may_wait and (seeds or is_one_coming):
            rack.waiting.add(request.host)
            return None
        return self._push(request, rack, now_s)

    def withdraw(self, request: Request) -> None:
        """The host waits no more."""
        if request.rack in self._racks:
            self._racks[request.rack].waiting.discard(request.host)

    def settle(self, host: HostName, obtained: Obtained, now_s: float) -> None:
        """Take note of what came of the source that the host was given."""
        rack, serving = self._assigned.pop(host, (None, None))
        if rack is None:
            return
        rack.expected.pop(host, None)
        if serving is not None:
            _judge(serving, host, obtained, now_s)
        if obtained.seed is not None:
            rack.serving.append(_Serving(obtained.seed, now_s + SERVING_LIMIT_S, now_s))

    def seeds(self, now_s: float) -> tuple[Seed, ...]:
        """Every seed that may still serve, those too that nobody is sent to any more."""
        return tuple(each.seed for each in self._serving() if now_s < each.until_s)

    def _serving(self) -> Iterator[_Serving]:
        for rack in self._racks.values():
            yield from rack.serving

    def _lease(self, request: Request, rack: _Rack, serving: _Serving, now_s: float) -> Source:
        serving.leases[request.host] = now_s + LEASE_S
        source = Source(Origin.PEER, serving.seed.url, serving.seed.host)
        return self._assign(request, rack, serving, source, now_s, serves=rack.wants_seed(now_s))

    def _push(self, request: Request, rack: _Rack, now_s: float) -> Source:
        return self._assign(request, rack, None, PUSH, now_s, serves=True)

    def _assign(
        self,
        request: Request,
        rack: _Rack,
        serving: _Serving | None,
        source: Source,
        now_s: float,
        *,
        serves: bool,
    ) -> Source:
        self._assigned[request.host] = rack, serving
        if serves and request.can_serve:
            rack.expected[request.host] = request.files, now_s + LEASE_S
            return replace(source, serves=True)
        return source


def _judge(serving: _Serving, host: HostName, obtained: Obtained, now_s: float) -> None:
    serving.leases.pop(host, None)
    serving.used_s = now_s
    if obtained.is_whole:
        serving.failures, serving.has_served = 0, True
    elif obtained.is_sources_fault:
        serving.failures += 1
