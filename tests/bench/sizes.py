"""How large each subject is: as the targets ask, less for a busy machine, and as little as shows that everything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Transfer:
    """So many hosts that each get a program of so many bytes; ``target`` is what its wall time is for."""

    hosts: int
    program_bytes: int
    target: str = ""

    @property
    def name(self) -> str:
        """As tables say it."""
        return f"{self.hosts} hosts of {self.program_bytes / MB:g} MB"


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run. ``slow_peer_hosts`` bounds the peers that would take the larger part of an hour."""

    name: str
    rounds: int
    concurrency: int
    enrolled: int
    transfers: tuple[Transfer, ...]
    peer_rounds: int
    peer_timeout_s: int
    slow_peer_hosts: int
    workers: int
    nodes: int
    queried_nodes: int
    inventory: int
    modelled: tuple[int, ...]
    modelled_dead: int
    dead: str
    stream_mb: int
    connections: tuple[int, int]
    rehearsed: int
    profiled: int


FULL: Final = Sizes(
    name="full",
    rounds=3,
    concurrency=50,
    enrolled=500,
    transfers=(
        Transfer(50, 45 * MB, "peers-large-wall"),
        Transfer(200, 5 * MB, "peers-small-wall"),
    ),
    peer_rounds=1,
    peer_timeout_s=420,
    slow_peer_hosts=20,
    workers=200,
    nodes=10_000,
    queried_nodes=1_000_000,
    inventory=10_000,
    modelled=(10, 100, 500, 1000, 3000, 10_000),
    modelled_dead=1000,
    dead="timeout=2%",
    stream_mb=1000,
    connections=(100, 500),
    rehearsed=200,
    profiled=200,
)
MEDIUM: Final = replace(
    FULL,
    name="medium",
    rounds=2,
    enrolled=200,
    transfers=(Transfer(20, 45 * MB, "peers-large-wall"), Transfer(50, 5 * MB, "peers-small-wall")),
    slow_peer_hosts=5,
    workers=60,
    stream_mb=500,
    connections=(20, 100),
    rehearsed=50,
    profiled=60,
)
"""For a machine that has other work: fewer hosts, where it is hosts that take time."""
SMOKE: Final = Sizes(
    name="smoke",
    rounds=1,
    concurrency=4,
    enrolled=4,
    transfers=(Transfer(3, MB),),
    peer_rounds=1,
    peer_timeout_s=60,
    slow_peer_hosts=1,
    workers=4,
    nodes=200,
    queried_nodes=2000,
    inventory=200,
    modelled=(5, 10),
    modelled_dead=10,
    dead="unreachable=1",
    stream_mb=20,
    connections=(2, 6),
    rehearsed=3,
    profiled=3,
)
SIZES: Final = {sizes.name: sizes for sizes in (FULL, MEDIUM, SMOKE)}
