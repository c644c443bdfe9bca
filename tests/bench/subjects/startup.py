"""What a command costs before it does anything: the CPU of ``--version`` and of two helps, whole processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from tests.bench.records import Figure, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "startup"
TITLE: Final = "Start of a command"
COMMANDS: Final = {
    "start-version": ("--version",),
    "start-help": ("--help",),
    "start-enroll-help": ("enroll", "--help"),
}
RUNS_A_ROUND: Final = 5


def measure(bench: Bench) -> Iterator[Finding]:
    """Python alone as the floor, then each command. The first run, which compiles, is not counted."""
    runs = range(RUNS_A_ROUND * bench.sizes.rounds)
    python = [bench.run(sys.executable, "-c", "pass").sample for _ in runs]
    floor = Row("python -c pass", "python -c pass", python)
    yield floor
    admin = bench.admin()
    for target, arguments in COMMANDS.items():
        command = (*bench.ionetctl, *arguments)
        bench.run(*command, environ=admin)
        samples = [bench.run(*command, environ=admin).sample for _ in runs]
        name = f"ionetctl {' '.join(arguments)}"
        row = Row(name, name, samples, of=floor)
        yield row
        yield Figure(target, row.cpu_s * 1e3)
