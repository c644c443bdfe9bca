"""What the GPU probe costs: bytes both ways, CPU on the host, CPU on this machine.

Run by ``python -m tests.bench.bench_probe [--gpus N] [--rounds N] [--python PATH]``. The host is this machine with the NVML
stand-in, so the driver's own time is not in the figures.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ionetctl.facts.gpu_output import parse_probe
from ionetctl.remote import probe_program, probe_script
from tests.nvml.library import build_nvml
from tests.remote.probing import NONCE, make_probed_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.remote.probing import ProbedHost

CARD = "GPU-{0:08x}-0000-0000-0000-000000000000\tNVIDIA GeForce RTX 4090\t00000000:{0:02X}:00.0\t24564"


def main() -> None:
    """Print one line for each thing measured."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--gpus", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--python", default=sys.executable)
    options = arguments.parse_args()
    started = time.process_time()
    sent = len(probe_program()) + len(probe_script())
    _say("make the program, once per process", (time.process_time() - started) * 1e3, "ms CPU here")
    _say("sent to a host", sent, "bytes")
    with tempfile.TemporaryDirectory() as name:
        host = _host(Path(name), options.gpus, options.python)
        _report("without python3 and nvidia-smi", _bare(host), options.rounds)
        _report(f"{options.gpus} GPUs by NVML", host, options.rounds)
        output = host.output()
        _say("received from a host", len(output), "bytes")
        _say(
            "read it", _cpu_ms(lambda: parse_probe(output, NONCE), 1000, resource.RUSAGE_SELF), "ms CPU here"
        )


def _host(folder: Path, gpus: int, python: str) -> ProbedHost:
    build_nvml(folder)
    host = make_probed_host(folder / "host", "dash", folder)
    host.use_python(python)
    host.cards(*(CARD.format(number + 1) for number in range(gpus)))
    return host


def _bare(host: ProbedHost) -> ProbedHost:
    bare = make_probed_host(host.root.with_name("bare"), host.shell, host.libraries)
    bare.remove_python()
    return bare


def _report(what: str, host: ProbedHost, rounds: int) -> None:
    _say(what, _cpu_ms(host.output, rounds, resource.RUSAGE_CHILDREN), "ms CPU there")
    walls = []
    for _ in range(rounds):
        started = time.monotonic()
        host.output()
        walls.append((time.monotonic() - started) * 1e3)
    _say("  the same, median", statistics.median(walls), "ms")


def _cpu_ms(work: Callable[[], object], rounds: int, whose: int) -> float:
    def used() -> float:
        usage = resource.getrusage(whose)
        return usage.ru_utime + usage.ru_stime

    before = used()
    for _ in range(rounds):
        work()
    return (used() - before) * 1e3 / rounds


def _say(what: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{what:<40} {value:>10,.2f} {unit}\n")


if __name__ == "__main__":
    main()
