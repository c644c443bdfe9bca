"""Two worker processes against one process, with the hosts' servers on the same cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests.bench.hosts import fleet, has_sshd
from tests.bench.records import Figure, LeftOut, Row
from tests.bench.subjects.enrolment import ALL_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding, Sample

NAME: Final = "engines"
TITLE: Final = "Worker processes"
TARGETS: Final = ("workers",)
ENGINES: Final = {
    "one process": ("--engine", "inline"),
    "two workers": ("--engine", "processes", "--workers", "2"),
}


def measure(bench: Bench) -> Iterator[Finding]:
    """A first enrolment of the same number of fresh hosts by each."""
    if not has_sshd():
        yield LeftOut(TITLE, "no sshd on this machine", TARGETS)
        return
    if not bench.has_option("enroll", "--engine"):
        yield LeftOut(TITLE, "this ionetctl has no --engine", TARGETS)
        return
    hosts = bench.sizes.workers
    found: dict[str, list[Sample]] = {name: [] for name in ENGINES}
    for _ in range(bench.sizes.rounds):
        for name, options in ENGINES.items():
            with fleet(bench.directory("fleet"), hosts) as site:
                at_once = ("--concurrency", str(bench.sizes.concurrency))
                command = ("enroll", str(site.inventory), "--yes", *ALL_AT_ONCE, *at_once, *options)
                found[name].append(
                    bench.run(*bench.ionetctl, *command, environ=bench.admin(), site=site).sample
                )
    one = Row("one process", "ionetctl enroll --engine inline", found["one process"], hosts)
    two = Row(
        "two workers", "ionetctl enroll --engine processes --workers 2", found["two workers"], hosts, one
    )
    yield one
    yield two
    detail = (
        f"{hosts} hosts, {os.cpu_count()} cores shared with the servers; with free cores it is unmeasured"
    )
    yield Figure("workers", one.wall_s / two.wall_s, detail)
