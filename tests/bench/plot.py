"""Draws cost against the number of hosts, by matplotlib in the peers' own environment."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Final

from tests.bench.peers import python_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.bench.records import Row

PLOT: Final = "performance.svg"
_PROGRAM: Final = """\
import json, sys
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "ionetctl"
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot

data = json.loads(sys.argv[1])
figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for axes, key, label in ((left, "cpu_ms", "controller CPU, ms a host"), (right, "peak_mib", "peak memory, MiB")):
    axes.plot(data["hosts"], data[key], marker="o", color="#1f5f8b")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hosts in one rollout")
    axes.set_title(label, fontsize=10)
    axes.grid(alpha=0.3)
figure.savefig(sys.argv[2], metadata={"Date": None})
"""


def draw(build: Path, output: Path, rows: Sequence[Row]) -> str | None:
    """Draw the rows into ``PLOT`` in ``output``; returns why not where there is no matplotlib in ``build``."""
    python = python_of(build)
    if not python.exists():
        return "matplotlib is not installed: see tests/bench/set_up.sh"
    data = {
        "hosts": [row.units for row in rows],
        "cpu_ms": [row.cpu_per_unit * 1e3 for row in rows],
        "peak_mib": [row.peak_mib for row in rows],
    }
    subprocess.run([python, "-c", _PROGRAM, json.dumps(data), str(output / PLOT)], check=True)
    return None
