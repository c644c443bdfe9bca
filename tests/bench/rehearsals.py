"""Rehearsals as an admin sets them up, by the command line."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.bench import Bench


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal that serves: its inventory, and how long ``lab up`` took."""

    inventory: Path
    up_s: float


@contextlib.contextmanager
def rehearsal(bench: Bench, hosts: int, *options: str) -> Iterator[Rehearsal]:
    """A rehearsal of ``lab up`` with these options; its processes are not measured, and end with the block."""
    directory = bench.directory("rehearsal")
    where = ("--dir", str(directory / "lab"))
    up = ("lab", "up", "--hosts", str(hosts), "--detach", *where, *options)
    started = time.monotonic()
    subprocess.run([*bench.ionetctl, *up], check=True, stdout=subprocess.DEVNULL)
    try:
        yield Rehearsal(directory / "lab/inventory.yaml", time.monotonic() - started)
    finally:
        subprocess.run([*bench.ionetctl, "lab", "down", "-q", *where], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(directory)
