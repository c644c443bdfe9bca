"""Where the CPU time of a first enrolment goes, by package, from samples of its stack."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.bench.hosts import fleet, has_sshd
from tests.bench.records import LeftOut, Row, Sample
from tests.bench.subjects.enrolment import ALL_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "profile"
TITLE: Final = "Where the time of a first enrolment goes"
SHOWN: Final = 25


def measure(bench: Bench) -> Iterator[Finding]:
    """The packages that take most themselves; in the note what they take with all that they call."""
    if not has_sshd():
        yield LeftOut(TITLE, "no sshd on this machine")
        return
    hosts = bench.sizes.profiled
    output = bench.directory("profile") / "samples.json"
    with fleet(bench.directory("fleet"), hosts) as site:
        options = (*ALL_AT_ONCE, "--concurrency", str(bench.sizes.concurrency))
        program = (sys.executable, "-m", "tests.bench.programs.profiled", str(output))
        done = bench.run(*program, "enroll", str(site.inventory), "--yes", *options, environ=bench.admin())
    yield Row("all", "ionetctl enroll --yes", [done.sample], hosts)
    counts = json.loads(output.read_text())
    own, within = Counter(counts["own"]), Counter(counts["within"])
    total = own.total()
    for package, count in own.most_common(SHOWN):
        sample = Sample(done.sample.cpu_s * count / total, 0)
        note = f"{count / total:.0%}; with what it calls {within[package] / total:.0%}"
        yield Row(package, "", [sample], hosts, note=note)
