"""Runs the bench: ``python -m tests.bench [--size full|medium|smoke] [--only SUBJECT,…] [--keep] [--minutes N] [--out DIR] [--doc]``.

Writes ``bench.md`` and ``bench.json`` to the output directory after every subject, so that an interrupted run has what it
measured. Where it may (root), it moves itself into a network namespace of its own: then only its bytes are on the loopback
interface, and they are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.core.garbage_collection import collect_rarely
from tests.bench import machine, page, peers, plot, subjects
from tests.bench.bench import ROOT, Bench, end_by_exception
from tests.bench.records import Figure, LeftOut, Row, Sample
from tests.bench.sizes import SIZES
from tests.bench.tables import Section, document, markdown
from tests.support.programs import path_of

if TYPE_CHECKING:
    from types import ModuleType

    from tests.bench.records import Finding

ALONE: Final = "--in-namespace"
SECTIONS: Final = "sections.pickle"
SHAPE: Final = [
    (kind.__name__, [field.name for field in dataclasses.fields(kind)])
    for kind in (Section, Row, Sample, Figure, LeftOut)
]
"""The fields of what is kept: records that had others cannot be read."""


def main() -> None:
    """Run the chosen subjects and write their tables; ends with 1 where one failed."""
    options = _options()
    end_by_exception()
    if not options.in_namespace and _can_unshare():
        set_up = f'ip link set lo up && exec "$@" {ALONE}'
        command = [sys.executable, "-m", "tests.bench", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "--", "sh", "-c", set_up, "sh", *command])  # noqa: S606
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    output = Path(options.out).resolve()
    output.mkdir(parents=True, exist_ok=True)
    sections = kept(output) if options.keep else {}
    if not sections:
        (output / plot.PLOT).unlink(missing_ok=True)
    collect_rarely()  # as every command does: some of what is measured runs in this process
    with tempfile.TemporaryDirectory(prefix="ionetctl-bench-") as scratch:
        build = Path(options.build).resolve()
        bench = Bench(SIZES[options.size], Path(scratch), build, output, options.in_namespace)
        is_sound = _run(bench, subjects.chosen(options.only), options.minutes, sections)
    if options.doc:
        page.renew(output)
    sys.exit(0 if is_sound else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--minutes", type=float, default=120, help="no subject begins later than this")
    parser.add_argument("--only", default="", help=f"subjects: {','.join(subjects.NAMES)}")
    parser.add_argument(
        "--keep", action="store_true", help="keep what the last run in --out found of other subjects"
    )
    parser.add_argument("--out", default=str(ROOT / "build/bench/results"))
    parser.add_argument("--build", default=str(ROOT / "build/bench"), help="where the peers are installed")
    parser.add_argument("--doc", action="store_true", help="renew docs/performance.md too")
    parser.add_argument(ALONE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _can_unshare() -> bool:
    if os.getuid() != 0 or path_of("unshare") is None or path_of("ip") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


def kept(output: Path) -> dict[str, Section]:
    """Subject → what the last run into this directory found; empty where there was none, or its records were others."""
    path = output / SECTIONS
    if not path.exists():
        return {}
    shape, found = pickle.loads(path.read_bytes())  # noqa: S301 - this program's own file
    return dict(pickle.loads(found)) if shape == SHAPE else {}  # noqa: S301 - likewise


def _run(bench: Bench, chosen: list[ModuleType], minutes: float, sections: dict[str, Section]) -> bool:
    """Measure the chosen subjects, adding to ``sections``; returns whether none failed."""
    until = time.monotonic() + minutes * 60
    is_sound = True
    for subject in chosen:
        _say(f"== {subject.NAME}: {subject.TITLE}")
        load, began, started = os.getloadavg()[0], machine.now(), time.monotonic()
        findings: list[Finding] = []
        try:
            if started < until:
                findings.extend(subject.measure(bench))
            else:
                findings.append(LeftOut(subject.TITLE, f"{minutes:g} minutes were over"))
        except Exception:  # noqa: BLE001 - the other subjects are measured all the same, and the run ends with 1
            is_sound = False
            traceback.print_exc()
            findings.append(LeftOut(subject.TITLE, "it failed: see what the run has printed"))
        sections[subject.NAME] = Section(subject.NAME, subject.TITLE, findings, load, began)
        _write([sections[name] for name in subjects.NAMES if name in sections], bench)
        (bench.output / SECTIONS).write_bytes(pickle.dumps((SHAPE, pickle.dumps(sections))))
        _say(f"   {time.monotonic() - started:.0f} s")
    _say((bench.output / "bench.md").read_text())
    _say(f"written to {bench.output}")
    return is_sound


def _write(sections: list[Section], bench: Bench) -> None:
    settings = machine.describe(peers.versions(bench.build)) | {
        "sizes": bench.sizes.name,
        "rounds": bench.sizes.rounds,
        "hosts at once": bench.sizes.concurrency,
        "bytes counted": "in a network namespace of the bench's own" if bench.counts_bytes else "no",
    }
    (bench.output / "bench.md").write_text(markdown(sections, settings))
    (bench.output / "bench.json").write_text(json.dumps(document(sections, settings), indent=2) + "\n")


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
