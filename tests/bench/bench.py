"""What a subject gets: sizes, a scratch directory, and the runner that measures commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import meter
from tests.bench.records import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.hosts import Fleet
    from tests.bench.sizes import Sizes

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 1200
_OUTPUT_CHARS: Final = 3000
_SHOWN_CHARS: Final = 70


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended: what it used, and what it printed."""

    sample: Sample
    stdout: str


class BenchError(RuntimeError):
    """A measured command failed: its figures would mean nothing."""


def end_by_exception() -> None:
    """Have SIGTERM, as SIGINT, end this process by an exception: what it has started is ended on the way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings of a run. ``scratch`` is removed at its end, ``build`` keeps the peers' own environment, ``output`` gets the results.

    With ``counts_bytes`` nothing but the bench uses the loopback interface.
    """

    sizes: Sizes
    scratch: Path
    build: Path
    output: Path
    counts_bytes: bool
    ionetctl: Sequence[str] = field(default=(sys.executable, "-m", "ionetctl"))

    def directory(self, prefix: str) -> Path:
        """A new empty directory."""
        return Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.scratch))

    def run(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        site: Fleet | None = None,
        timeout_s: int = TIMEOUT_S,
        allowed: Sequence[int] = (0,),
    ) -> Measured:
        """Run a command and measure it; raises ``BenchError`` for a status that is not in ``allowed``.

        A command that is cut at ``timeout_s`` is no error: its sample says so. With ``site`` the CPU of its hosts is measured too.
        """
        directory = self.directory("run")
        before, hosts_before_s = _loopback_bytes(), site.cpu_s() if site else 0.0
        output = directory / "used.json"
        with (directory / "stdout").open("wb") as stdout, (directory / "stderr").open("wb") as stderr:
            metering = subprocess.Popen(
                [sys.executable, meter.__file__, str(output), str(timeout_s), *command],
                env={"PATH": os.environ["PATH"], **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
            )
            try:
                metering.wait()
            finally:
                # Killed, it would leave the command behind.
                metering.terminate()
                metering.wait()
        used = json.loads(output.read_text())
        status, is_cut = used.pop("exit_status"), bool(used["is_cut"])
        printed = (directory / "stdout").read_text(errors="replace")
        if status not in allowed and not is_cut:
            said = (directory / "stderr").read_text(errors="replace")
            said = f"{printed[-_OUTPUT_CHARS:]}\n{said[-_OUTPUT_CHARS:]}"
            raise BenchError(f"{' '.join(command)} ended with {status}: {said}")
        _tell(command, used)
        sent_mib = (_loopback_bytes() - before) / (1 << 20) if self.counts_bytes else None
        hosts_cpu_s = site.cpu_s() - hosts_before_s if site else None
        return Measured(Sample(sent_mib=sent_mib, hosts_cpu_s=hosts_cpu_s, **used), printed)

    def admin(self) -> dict[str, str]:
        """The environment of an admin's ``ionetctl`` with a new home and no records."""
        home = self.directory("home")
        return {
            "HOME": str(home),
            "IONETCTL_STATE_DIR": str(home / "state"),
            "IONETCTL_CACHE_DIR": str(home / "cache"),
        }

    def has_option(self, command: str, option: str) -> bool:
        """Whether a command of ionetctl knows an option, by its help."""
        arguments = [*self.ionetctl, *command.split(), "--help"]
        environ = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        shown = subprocess.run(arguments, env=environ, capture_output=True, text=True, check=True)
        return option in shown.stdout


def _tell(command: Sequence[str], used: Mapping[str, float]) -> None:
    """Show what was measured while it goes on: a whole run takes long."""
    shown = " ".join(Path(word).name for word in command)[:_SHOWN_CHARS]
    sys.stdout.write(f"   {used['cpu_s']:8.2f} s CPU {used['wall_s']:8.2f} s   {shown}\n")
    sys.stdout.flush()


def _loopback_bytes() -> int:
    """What the loopback interface has carried, counted once."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.strip().startswith("lo:")), 0)
