"""Where the time of a first enrolment goes: own time of functions, added up by package.

By the standard library's profiler with CPU time. It makes small Python functions look dearer than they are, and sees the main
thread alone: read the shares, not the sums. Time in built-in functions counts where they are called.
"""

from __future__ import annotations

import pstats
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.bench.hosts import fleet, has_sshd
from tests.bench.records import LeftOut, Row, Sample
from tests.bench.subjects.enrolment import ALL_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

    Function = tuple[str, int, str]

NAME: Final = "profile"
TITLE: Final = "Where the time of a first enrolment goes"
SHOWN: Final = 20
_PLACES: Final = (
    re.compile(r"site-packages/([\w-]+)"),
    re.compile(r"/(ionetctl/\w+)/"),
    re.compile(r"/python3\.\d+/(\w+)"),
    re.compile(r"<frozen (importlib)"),
)


def measure(bench: Bench) -> Iterator[Finding]:
    """The packages that take most."""
    if not has_sshd():
        yield LeftOut(TITLE, "no sshd on this machine")
        return
    hosts = bench.sizes.profiled
    output = bench.directory("profile") / "stats"
    with fleet(bench.directory("fleet"), hosts) as site:
        options = (*ALL_AT_ONCE, "--concurrency", str(bench.sizes.concurrency))
        program = (sys.executable, "-m", "tests.bench.programs.profiled", str(output))
        bench.run(*program, "enroll", str(site.inventory), "--yes", *options, environ=bench.admin())
    times = own_times(output)
    whole = Row("all", "ionetctl enroll --yes, profiled", [Sample(sum(times.values()), 0)], hosts)
    yield whole
    for package, cpu_s in times.most_common(SHOWN):
        yield Row(package, "", [Sample(cpu_s, 0)], hosts, note=f"{cpu_s / whole.cpu_s:.0%}")


def own_times(output: Path) -> Counter[str]:
    """Package → seconds of CPU in its own functions and in the built-in ones that they call."""
    times: Counter[str] = Counter()
    # The record of pstats: calls, time without and with callees, and the same by caller. Typeshed does not know it.
    stats: dict[Function, Any] = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
    for function, (_, _, own_s, _, callers) in stats.items():
        if function[0] != "~" or not callers:
            times[package_of(function)] += own_s
            continue
        for caller, (_, _, own_of_caller_s, _) in callers.items():
            times[package_of(caller)] += own_of_caller_s
    return times


def package_of(function: Function) -> str:
    """The package of a function: a distribution, one of ionetctl's folders, or a module of the standard library."""
    found = filter(None, (place.search(function[0]) for place in _PLACES))
    return next((match[1] for match in found), "built in")
