"""How long 10,000 hosts take to load, spelled out and as ranges, beside the floor: what PyYAML alone takes.

Run it by hand (``python tests/bench/bench_inventory.py``) or by ``make bench``. Ratios are what to compare: machines
drift. CPU seconds of this process, the best of several runs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ionetctl.inventory.load import load_text

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTS = 10_000
ROUNDS = 5
BASE = (
    Path(__file__).parents[1] / "inventory" / "cases" / "base.yaml"
).read_text() + "defaults: {region: eu}\nhosts:\n"


def spelled_out() -> bytes:
    """An inventory that says everything of each host: some 1.5 MB."""
    rows = (
        f"  - {{name: rey1-a{index:05}, address: 10.{index >> 16}.{index >> 8 & 255}.{index & 255}, rack: a01, "
        f"ssh: {{port: 2222}}, gpus: {{model: rtx-4090, count: 8}}, meta: {{slot: '{index}'}}}}\n"
        for index in range(HOSTS)
    )
    return (BASE + "".join(rows)).encode()


def as_ranges() -> bytes:
    """An inventory that says the same for racks of 100."""
    rows = (
        f"  - {{name: 'rey1-r{rack:03}-g[001-100]', address: '10.0.{rack}.[1-100]', rack: r{rack:03}, "
        f"meta: {{slot: '[1-100]'}}}}\n"
        for rack in range(HOSTS // 100)
    )
    return (BASE + "".join(rows)).encode()


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU seconds of the best of several runs."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def measure() -> dict[str, object]:
    """Our times, the floor's for the spelled-out text, and ours as multiples of that."""
    floor_s = cpu_seconds(lambda: yaml.load(spelled_out(), Loader=yaml.CSafeLoader))
    found: dict[str, object] = {"hosts": HOSTS, "pyyaml_s": round(floor_s, 3)}
    for name, text in (("spelled_out", spelled_out()), ("as_ranges", as_ranges())):
        load_s = cpu_seconds(lambda text=text: load_text(text, "bench", "/"))  # type: ignore[misc]
        found[name] = {"bytes": len(text), "load_s": round(load_s, 3), "ratio": round(load_s / floor_s, 2)}
    return found


def main() -> None:
    """Print the measurements as JSON."""
    json.dump(measure(), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
