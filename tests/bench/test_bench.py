"""The bench's own arithmetic and tables. What it measures is never asserted."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench import meter, page, subjects
from tests.bench.__main__ import SECTIONS, SHAPE, kept
from tests.bench.bench import ROOT, Bench, BenchError
from tests.bench.programs.profiled import Samples, package_of
from tests.bench.records import Figure, LeftOut, Row, Sample
from tests.bench.sizes import SIZES, SMOKE
from tests.bench.tables import Section, document, markdown
from tests.bench.targets import TARGETS

if TYPE_CHECKING:
    from tests.bench.records import Finding

KEYS = [target.key for target in TARGETS]


def bench(directory: Path) -> Bench:
    return Bench(SMOKE, directory, directory, directory, counts_bytes=False)


def section(*findings: Finding) -> Section:
    return Section("subject", "A subject", findings, 0.5, "2026-03-01 12:00 UTC")


def test_ratio_is_by_unit_and_of_medians() -> None:
    """Three rounds of ten hosts at 1 s against one round of five hosts at 1 s: half as much a host."""
    floor = Row("floor", "floor", [Sample(1.0, 2.0)], 5)
    row = Row("row", "row", [Sample(cpu_s, 8.0) for cpu_s in (0.5, 1.0, 9.0)], 10, floor)
    assert (row.cpu_ratio, row.wall_ratio, row.spread) == (0.5, 2.0, 8.5)


def test_of_several_figures_the_worst_is_judged() -> None:
    """One that meets its target does not hide another that misses it; for a floor the least is the worst."""
    findings = [
        Figure("poll", 0.1),
        Figure("poll", 0.3, "later"),
        Figure("workers", 1.9),
        Figure("workers", 1.2),
    ]
    targets = {
        one["key"]: one for one in json.loads(json.dumps(document([section(*findings)], {})))["targets"]
    }
    assert (targets["poll"]["value"], targets["poll"]["is_met"], targets["poll"]["detail"]) == (
        0.3,
        False,
        "later",
    )
    assert (targets["workers"]["value"], targets["workers"]["is_met"]) == (1.2, False)


def test_what_is_left_out_is_named() -> None:
    """A target without a figure has the reason instead, in its row and below its subject."""
    text = markdown([section(LeftOut("peer x", "it is not installed", ("workers",)))], {})
    assert "not measured: it is not installed" in text
    assert "- left out: peer x: it is not installed" in text


def test_a_time_that_was_cut_is_a_lower_bound() -> None:
    """A command that was ended at its limit would have taken longer."""
    text = markdown([section(Row("row", "row", [Sample(1.0, 2.0, is_cut=True)]))], {})
    assert "≥ 2" in text


def test_smallest_sizes_are_no_figures() -> None:
    """The tables of the smoke run say so first; others do not."""
    assert markdown([], {"sizes": "smoke"}).startswith("**Smallest sizes:**")
    assert "Smallest sizes" not in markdown([], {"sizes": "full"})


def test_processes_left_behind_are_counted_and_ended(tmp_path: Path) -> None:
    """A command's orphan that uses CPU and then waits is in its CPU, and is gone afterwards."""
    busy = "import time\nwhile time.process_time() < 0.3: pass\nopen('done', 'w').close()\ntime.sleep(60)"
    script = f'cd {tmp_path}; {sys.executable} -c "{busy}" & while [ ! -e done ]; do sleep 0.02; done; echo $! >pid'
    sample = bench(tmp_path).run("sh", "-c", script).sample
    assert sample.cpu_s >= 0.3
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_command_that_takes_too_long_is_cut(tmp_path: Path) -> None:
    """It is ended, and its sample says so."""
    assert bench(tmp_path).run("sleep", "60", timeout_s=1).sample.is_cut


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_bench_that_is_ended_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Its command, a session of its own, ends with it."""
    os.mkfifo(tmp_path / "pid")
    program = (
        "import sys; from pathlib import Path; from tests.bench.bench import end_by_exception\n"
        "from tests.bench.test_bench import bench\n"
        "end_by_exception()\n"
        "bench(Path(sys.argv[1])).run('sh', '-c', f'echo $$ >{sys.argv[1]}/pid; exec sleep 600')"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    pid = (tmp_path / "pid").read_text().strip()
    assert Path(f"/proc/{pid}").exists()
    running.send_signal(number)
    running.wait()
    assert not Path(f"/proc/{pid}").exists()


def test_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    """Its status and output are in the error; an allowed status is none."""
    with pytest.raises(BenchError, match="ended with 4: said"):
        bench(tmp_path).run("sh", "-c", "echo said; exit 4")
    assert bench(tmp_path).run("sh", "-c", "exit 4", allowed=(0, 4)).stdout == ""


def test_memory_is_that_of_the_descendants(tmp_path: Path) -> None:
    """40 MB that a child's child holds are found."""
    held = "import time; held = bytearray(b'x') * 40_000_000; time.sleep(4)"
    sample = bench(tmp_path).run("sh", "-c", f'{sys.executable} -c "{held}"; true').sample
    assert sample.peak_mib >= 40


def test_meter_needs_nothing_of_ours() -> None:
    """It is started as a file, so that it costs as little as Python itself."""
    assert "tests" not in re.findall(
        r"^(?:from|import) (\w+)", Path(meter.__file__).read_text(), re.MULTILINE
    )


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("/x/lib/python3.11/site-packages/asyncssh/channel.py", "asyncssh"),
        ("/x/ionetctl/ssh/commands/channel.py", "ionetctl/ssh"),
        ("/x/lib/python3.11/asyncio/events.py", "asyncio"),
        ("<frozen importlib._bootstrap>", "importlib"),
        ("<string>", "other"),
    ],
)
def test_file_has_a_package(file: str, package: str) -> None:
    """Of the profile."""
    assert package_of(file) == package


def test_stack_counts_once_for_each_package() -> None:
    """A sample is the own time of the innermost package, and lies within each other one once, however often it calls itself."""
    samples = Samples()
    frame = sys._getframe()
    samples.take(0, frame)
    assert samples.own == {"other": 1}
    assert samples.within["other"] == 1
    assert samples.within["_pytest"] == 1


def test_samples_are_of_what_runs(tmp_path: Path) -> None:
    """A run of ionetctl leaves its counts, imports among them."""
    output = tmp_path / "samples.json"
    command = (sys.executable, "-m", "tests.bench.programs.profiled", str(output), "enroll", "--help")
    bench(tmp_path).run(*command)
    counts = json.loads(output.read_text())
    assert counts["own"]["importlib"] > 0
    assert counts["within"]["ionetctl/cli"] > 0


def test_every_target_is_measured_by_a_subject() -> None:
    """A key that no subject names would stay open for ever; one that is no target would be dropped."""
    sources = "".join(path.read_text() for path in Path(subjects.__file__).parent.glob("*.py"))
    sizes = (Path(subjects.__file__).parents[1] / "sizes.py").read_text()
    assert [key for key in KEYS if f'"{key}"' not in sources + sizes] == []
    figures = set(re.findall(r'Figure\(\s*"([\w-]+)"', sources))
    assert figures - set(KEYS) == set()
    assert figures


def test_page_names_what_there_is() -> None:
    """The commands and files of docs/performance.md exist, and what the bench writes has its place."""
    text = page.PAGE.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"`make ([a-z-]+)`", text)
    assert named
    assert set(named) <= set(targets)
    assert {"bench", "bench-smoke"} <= set(named)
    files = re.findall(r"`(tests/bench/[\w./-]+)`", text)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert set(re.findall(r"--only (\w+)", text)) <= set(subjects.NAMES)
    assert (text.count(page.BEGIN), text.count(page.END)) == (1, 1)


def test_page_has_every_target() -> None:
    """Its table is of the targets as they are now."""
    text = page.PAGE.read_text()
    assert [target.what for target in TARGETS if f"| {target.what} |" not in text] == []


def test_sizes_have_a_name_each() -> None:
    """As the command line knows them."""
    assert sorted(SIZES) == ["full", "medium", "smoke"]


def test_kept_results_are_those_of_the_same_records(tmp_path: Path) -> None:
    """What an earlier run found is kept with --keep, unless its records had other fields."""
    found = {"subject": section(Row("row", "row", [Sample(1.0, 2.0)]))}
    path = tmp_path / SECTIONS
    path.write_bytes(pickle.dumps((SHAPE, pickle.dumps(found))))
    assert kept(tmp_path) == found
    path.write_bytes(pickle.dumps(([], pickle.dumps(found))))
    assert kept(tmp_path) == {}
