"""Where reports are written: files are replaced, everything else is written into."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.cli.reports import Report, parse_reports, report_rollout, write_reports
from ionetctl.core.errors import ExitCode, UnwritableError, UsageError
from ionetctl.report.csv import render
from ionetctl.summary.rollout_summary import Failure, Summary
from ionetctl.summary.summary_fold import summarize
from tests.cli.conftest import ROOT
from tests.support.streams import Rollout

if TYPE_CHECKING:
    from tests.cli.conftest import RunIonetctl

SUMMARY = Summary(exit_code=ExitCode.OK)
LONG = summarize(Rollout(hosts=200).play())
OLD = "what stood there before, which is longer than the report: " + "x" * 4096
HEAD = "name,"


def csv(path: Path | str) -> tuple[Report, ...]:
    return parse_reports([f"csv={path}"])


def test_file_is_replaced(tmp_path: Path) -> None:
    """The old content is gone, and nothing else is in the directory."""
    path = tmp_path / "hosts.csv"
    path.write_text(OLD)
    write_reports(csv(path), SUMMARY)
    assert (path.read_text().startswith(HEAD), "x" in path.read_text()[-9:]) == (True, False)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_there", [True, False])
def test_link_is_written_through(tmp_path: Path, *, is_there: bool) -> None:
    """A link stays a link; the file that it names has the report, and nothing of what stood there."""
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    if is_there:
        target.write_text(OLD)
    write_reports(csv(link), SUMMARY)
    assert (link.is_symlink(), target.read_text()[:5], "xxxx" in target.read_text()) == (True, HEAD, False)


def test_fifo_is_written_into(tmp_path: Path) -> None:
    """Its reader gets the report, and it stays a FIFO."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_reports(csv(path), SUMMARY)
        assert (os.read(reader, 5), path.is_fifo()) == (HEAD.encode(), True)
    finally:
        os.close(reader)


def test_fifo_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    """How the rollout ended is shown, whether or not somebody ever opens the FIFO."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(UnwritableError, match="nobody reads it") as caught:
        write_reports(csv(path), SUMMARY)
    assert (caught.value.code, caught.value.exit_code) == ("report_unwritable", 11)


def fifo_with_reader(tmp_path: Path) -> tuple[Path, int]:
    """A FIFO that holds little, and the end that is read from."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)
    return path, reading


def test_reader_of_a_fifo_who_stops_is_not_waited_for(tmp_path: Path) -> None:
    """What the reader took by then is torn, and that is said."""
    path, reading = fifo_with_reader(tmp_path)
    with pytest.raises(UnwritableError, match="its reader took nothing for 0 s") as caught:
        write_reports(csv(path), LONG, patience_s=0.0)
    os.close(reading)
    assert (caught.value.code, caught.value.exit_code) == ("report_unwritable", 11)


def test_slow_reader_of_a_fifo_gets_it_whole(tmp_path: Path) -> None:
    """As long as it takes anything."""
    path, reading = fifo_with_reader(tmp_path)
    os.set_blocking(reading, True)
    with ThreadPoolExecutor(1) as readers, os.fdopen(reading, "rb", buffering=0) as file:
        until_read = os.open(path, os.O_WRONLY)  # before anything is written, this end is not the end
        read = readers.submit(lambda: b"".join(iter(lambda: file.read(100), b"")))
        write_reports(csv(path), LONG)
        os.close(until_read)
        assert read.result() == render(LONG)


def test_device_is_written_into(tmp_path: Path) -> None:
    """A full device is an error and stays what it is: a run as root once replaced it by a file."""
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(UnwritableError, match="No space left on device"):
        write_reports(csv(full), SUMMARY)
    with pytest.raises(UnwritableError, match="No space left on device"):
        write_reports(csv("/dev/full"), SUMMARY)
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", ["missing/hosts.csv", "."])
def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path, name: str) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError) as caught:
        csv(tmp_path / name)
    assert caught.value.code == "report_unwritable"


def test_every_report_is_tried(tmp_path: Path) -> None:
    """One that cannot be written does not keep another from being written."""
    path = tmp_path / "hosts.csv"
    with pytest.raises(UnwritableError):
        write_reports(parse_reports(["junit=/dev/full", f"csv={path}"]), SUMMARY)
    assert path.read_text().startswith(HEAD)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (ExitCode.OK, ExitCode.UNWRITABLE),
        (ExitCode.CHANGES, ExitCode.UNWRITABLE),
        (ExitCode.FAILED, ExitCode.FAILED),
        (ExitCode.INTERRUPTED, ExitCode.INTERRUPTED),
    ],
)
def test_failed_report_does_not_hide_how_the_rollout_ended(ended: ExitCode, expected: ExitCode) -> None:
    """Only a success becomes 11."""
    summary = report_rollout(csv("/dev/full"), Summary(exit_code=ended))
    assert summary.exit_code == expected
    assert summary.error is not None
    assert summary.error.code == "report_unwritable"


def test_failed_report_stands_beside_the_rollouts_own_error() -> None:
    """The error that ended the rollout keeps its code, and both are told."""
    own = Failure("region_silent", "no answer", "look")
    summary = report_rollout(csv("/dev/full"), Summary(exit_code=ExitCode.UNVERIFIED, error=own))
    message = "no answer\ncannot write the report /dev/full: No space left on device"
    assert summary.error == Failure("region_silent", message, "look")


def test_report_to_a_redirected_standard_output_is_added(
    ionetctl: RunIonetctl, environment: dict[str, str], tmp_path: Path
) -> None:
    """Not written over it from the beginning: the report, and then the document, are both whole."""
    inventory = tmp_path / "bad.yaml"
    inventory.write_text("version: 1\n")
    command = ("enroll", str(inventory), "--yes", "-o", "json", "--report=csv=/dev/stdout")
    shown = ionetctl(*command)
    out = tmp_path / "out"
    out.write_text("before\n")
    with out.open("a") as file:
        subprocess.run(
            [sys.executable, "-m", "ionetctl", *command], env=environment, cwd=ROOT, stdout=file, check=False
        )
    assert (shown.stdout[:5], shown.exit_code) == (HEAD, 3)
    assert out.read_text() == "before\n" + shown.stdout
