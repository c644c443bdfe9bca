"""Modelled hosts, which the rehearsal answers without processes: cost from few to 10,000, and 2 % dead ones among many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench import plot
from tests.bench.records import Figure, LeftOut, Row
from tests.bench.rehearsals import rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding, Sample

NAME: Final = "modelled"
TITLE: Final = "From few to 10,000 modelled hosts"
TARGETS: Final = ("memory-10000", "scaling", "dead-hosts")
REFERENCE: Final = 500
UNREACHABLE: Final = "unreachable=1%"
"""Among more hosts than the reference; waves and canary are those that come by themselves."""
_DONE: Final = (0, 4)
"""4: some hosts were unreachable, as they are meant to be."""


def measure(bench: Bench) -> Iterator[Finding]:
    """A first enrolment of each size, a plot of them, and one size with and without dead hosts."""
    if not bench.has_option("lab up", "--modelled"):
        yield LeftOut(TITLE, "this ionetctl has no lab up --modelled", TARGETS)
        return
    yield from _scaling(bench)
    yield from _dead(bench)


def _scaling(bench: Bench) -> Iterator[Finding]:
    rows: list[Row] = []
    for hosts in bench.sizes.modelled:
        # Large rollouts take minutes, and vary less.
        rounds = bench.sizes.rounds if hosts <= REFERENCE else 1
        faults = ("--fault", UNREACHABLE) if hosts > REFERENCE else ()
        samples = [_enroll(bench, hosts, *faults) for _ in range(rounds)]
        reference = next((row for row in rows if row.units == REFERENCE), None)
        rows.append(
            Row(
                f"{hosts:,} hosts",
                f"ionetctl enroll --concurrency {_at_once(bench)}",
                samples,
                hosts,
                reference,
            )
        )
        yield rows[-1]
    largest = rows[-1]
    if largest.units == max(bench.sizes.modelled) and largest.cpu_ratio:
        yield Figure("scaling", largest.cpu_ratio, largest.name)
        yield Figure("memory-10000", largest.peak_mib * 1.048576, largest.name)
    if reason := plot.draw(bench.build, bench.output, rows):
        yield LeftOut("the plot", reason)


def _dead(bench: Bench) -> Iterator[Finding]:
    hosts = bench.sizes.modelled_dead
    rounds = range(bench.sizes.rounds)
    sound, dead = [], []
    for _ in rounds:
        sound.append(_enroll(bench, hosts))
        dead.append(_enroll(bench, hosts, "--fault", bench.sizes.dead))
    floor = Row(f"{hosts:,} sound hosts", "ionetctl enroll", sound, hosts)
    row = Row(
        f"{hosts:,} hosts, dead ones among them: {bench.sizes.dead}", "ionetctl enroll", dead, hosts, floor
    )
    yield floor
    yield row
    yield Figure("dead-hosts", row.wall_ratio or 0, f"{hosts:,} hosts, {bench.sizes.dead}")


def _enroll(bench: Bench, hosts: int, *faults: str) -> Sample:
    with rehearsal(bench, hosts, "--modelled", *faults) as site:
        at_once = ("--concurrency", str(_at_once(bench)))
        command = ("enroll", str(site.inventory), "--yes", *at_once)
        return bench.run(*bench.ionetctl, *command, environ=bench.admin(), allowed=_DONE).sample


def _at_once(bench: Bench) -> int:
    return 4 * bench.sizes.concurrency
