"""What the GPU probe costs on a host and here. The host is this machine with the NVML stand-in, so its driver's time is not in it."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING, Final

from ionetctl.facts.gpu_output import parse_probe
from ionetctl.remote import probe_program, probe_script
from tests.bench.records import LeftOut, Row, Sample
from tests.nvml.library import build_nvml
from tests.remote.probing import NONCE, make_probed_host
from tests.support.programs import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "probe"
TITLE: Final = "GPU probe"
CARDS: Final = 8
RUNS_A_ROUND: Final = 10
_CARD: Final = (
    "GPU-{0:08x}-0000-0000-0000-000000000000\tNVIDIA GeForce RTX 4090\t00000000:{0:02X}:00.0\t24564"
)


def measure(bench: Bench) -> Iterator[Finding]:
    """The host's shell alone, the probe of eight cards there, and reading its output here."""
    if path_of("cc") is None or path_of("dash") is None:
        yield LeftOut(TITLE, "no cc or dash on this machine: the NVML stand-in cannot be built")
        return
    runs = bench.sizes.rounds * RUNS_A_ROUND
    folder = bench.directory("probe")
    build_nvml(folder)
    bare = make_probed_host(folder / "bare", "dash", folder)
    bare.remove_python()
    host = make_probed_host(folder / "host", "dash", folder)
    host.use_python(sys.executable)
    host.cards(*(_CARD.format(number + 1) for number in range(CARDS)))
    sent = len(probe_program()) + len(probe_script())
    floor = Row("on a host without python3 and nvidia-smi", "gpu_probe.sh", _there(bare.output, runs))
    yield floor
    output = host.output()
    note = f"{sent:,} bytes sent, {len(output):,} received"
    yield Row(f"on a host with {CARDS} cards", "gpu_probe.sh", _there(host.output, runs), of=floor, note=note)
    yield Row("its output read here", "parse_probe", _here(lambda: parse_probe(output, NONCE), runs))


def _there(work: Callable[[], object], runs: int) -> list[Sample]:
    """CPU of the processes that the work starts."""

    def used_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    return [_timed(work, used_s) for _ in range(runs)]


def _here(work: Callable[[], object], runs: int) -> list[Sample]:
    """CPU of this process."""
    return [_timed(work, time.process_time) for _ in range(runs)]


def _timed(work: Callable[[], object], used_s: Callable[[], float]) -> Sample:
    cpu_s, wall_s = used_s(), time.monotonic()
    work()
    return Sample(used_s() - cpu_s, time.monotonic() - wall_s)
