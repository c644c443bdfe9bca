"""The rehearsal itself: how long it takes to set hosts up and enrol them, as an admin tries ionetctl."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from tests.bench.records import Figure, Row
from tests.bench.rehearsals import rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "rehearsal"
TITLE: Final = "The rehearsal itself"


def measure(bench: Bench) -> Iterator[Finding]:
    """``lab up``, then ``enroll`` with its defaults. The hosts' own processes are not in the CPU of ``enroll``."""
    hosts = bench.sizes.rehearsed
    samples, walls = [], []
    for _ in range(bench.sizes.rounds):
        with rehearsal(bench, hosts) as site:
            command = ("enroll", str(site.inventory), "--yes")
            samples.append(bench.run(*bench.ionetctl, *command, environ=bench.admin()).sample)
            walls.append(site.up_s + samples[-1].wall_s)
    yield Row(f"enroll of {hosts} rehearsal hosts", "ionetctl enroll --yes", samples, hosts)
    yield Figure("rehearsal", statistics.median(walls), f"{hosts} hosts, lab up and enroll, wall")
