"""A fleet's fan-out in modelled time: hosts enter as others leave, pushes share an uplink, each seed has a line of its own.

Drives the scheduler alone. Times are seconds, sizes megabytes. ``python -m tests.distribution.simulation`` prints the figures.
"""

from __future__ import annotations

import heapq
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from ionetctl.core.model.names import Digest, HostName
from ionetctl.distribution.distributor import PATIENCE_S
from ionetctl.distribution.exchange import Obtained, Origin, Request, Seed, Source
from ionetctl.distribution.scheduler import SLOTS, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = frozenset({Digest("a" * 64)})


@dataclass(frozen=True)
class Site:
    """``dying`` is the share of seeds (every n-th) that are gone when their first peers come; 0 for none."""

    racks: int = 125
    rack_hosts: int = 40
    concurrency: int = 100
    size_mb: float = 30.0
    uplink_mb_s: float = 100.0
    line_mb_s: float = 100.0
    other_work_s: float = 10.0
    dying: int = 0


@dataclass
class Result:
    """``pushed`` and ``fetched`` are hosts; ``failed`` those whose seed was gone; ``end_s`` when the last was done."""

    pushed: int = 0
    fetched: int = 0
    failed: int = 0
    seeds: int = 0
    end_s: float = 0.0

    @property
    def egress(self) -> float:
        """Share of what would leave the controller if everything were pushed."""
        return self.pushed / (self.pushed + self.fetched)


@dataclass
class Simulation:
    site: Site
    scheduler: Scheduler = field(default_factory=Scheduler)
    result: Result = field(default_factory=Result)
    now_s: float = 0.0
    pushing: int = 0
    dead: set[HostName] = field(default_factory=set)
    waiting: dict[str | None, list[tuple[Request, float]]] = field(default_factory=lambda: defaultdict(list))
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    def run(self) -> Result:
        hosts = iter(range(self.site.racks * self.site.rack_hosts))

        def enter() -> None:
            if (number := next(hosts, None)) is not None:
                rack = f"r{number // self.site.rack_hosts}"
                self.ask(Request(HostName(f"h{number}"), rack, FILES, can_serve=True), self.now_s)

        self.enter = enter
        for _ in range(self.site.concurrency):
            enter()
        while self.events:
            self.now_s, _, happen = heapq.heappop(self.events)
            happen()
        assert not any(self.waiting.values())
        self.result.end_s = self.now_s
        return self.result

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now_s + delay_s, next(self.numbers), happen))

    def ask(self, request: Request, since_s: float) -> None:
        is_patient = self.now_s < since_s + PATIENCE_S - 1e-3
        source = self.scheduler.assign(request, self.now_s, may_wait=is_patient)
        if source is None:
            self.waiting[request.rack].append((request, since_s))
            if self.now_s == since_s:
                self.after(PATIENCE_S, lambda: self.ask_again(request.rack))
        elif source.origin is Origin.PUSH:
            self.push(request, source)
        else:
            self.fetch(request, source)

    def ask_again(self, rack: str | None) -> None:
        for request, since_s in self.waiting.pop(rack, []):
            self.ask(request, since_s)

    def push(self, request: Request, source: Source) -> None:
        self.pushing += 1
        self.result.pushed += 1
        took_s = self.site.size_mb * self.pushing / self.site.uplink_mb_s

        def done() -> None:
            self.pushing -= 1
            self.settle(request, source, is_whole=True)

        self.after(took_s, done)

    def fetch(self, request: Request, source: Source) -> None:
        assert source.seed is not None
        if source.seed in self.dead:
            self.result.failed += 1
            self.result.pushed += 1
            took_s = 5.0 + self.site.size_mb * (self.pushing + 1) / self.site.uplink_mb_s
            self.after(5.0, lambda: self.settle(request, source, is_whole=False))
            self.after(took_s, lambda: None)
            return
        self.result.fetched += 1
        took_s = self.site.size_mb * SLOTS / self.site.line_mb_s
        self.after(took_s, lambda: self.settle(request, source, is_whole=True))

    def settle(self, request: Request, source: Source, *, is_whole: bool) -> None:
        seed = None
        if source.serves and is_whole:
            self.result.seeds += 1
            if self.site.dying and self.result.seeds % self.site.dying == 0:
                self.dead.add(request.host)
            seed = Seed(request.host, request.files, f"http://{request.host}", "unit")
        obtained = Obtained(is_whole, is_sources_fault=not is_whole, seed=seed)
        self.scheduler.settle(request.host, obtained, self.now_s)
        self.after(self.site.other_work_s, self.enter)
        self.ask_again(request.rack)


def main() -> None:
    """Print how much leaves the controller, for some sites."""
    sites = {
        "5,000 hosts in racks of 40": Site(),
        "on a line of 4 MB/s": Site(uplink_mb_s=4.0),
        "with every tenth seed gone": Site(dying=10),
        "500 at once": Site(concurrency=500),
    }
    for name, site in sites.items():
        done = Simulation(site).run()
        sys.stdout.write(
            f"{name}: {done.egress:.2%} of push; {done.pushed:,} hosts pushed ({done.failed} after a seed failed), "
            f"{done.fetched:,} fetched; {done.seeds} seeds; {done.end_s:,.0f} s\n"
        )


if __name__ == "__main__":
    main()
