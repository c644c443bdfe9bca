"""The bench runs: every subject at its smallest, with whatever this machine has of what it compares with."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench import subjects
from tests.bench.bench import ROOT
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_every_subject_runs(tmp_path: Path) -> None:
    """Each has rows, or says why not; peers that are not installed are named, and the tables are written."""
    needs("sshd")
    command = [sys.executable, "-m", "tests.bench", "--size", "smoke", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--build", str(tmp_path / "build")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())["subjects"]
    assert [subject["name"] for subject in found] == list(subjects.NAMES)
    assert [subject["name"] for subject in found if not subject["rows"] and not subject["left_out"]] == []
    peers = next(subject for subject in found if subject["name"] == "peers")
    assert peers["rows"][0]["name"] == "ionetctl enroll, 3 hosts of 1 MB"
    assert "pyinfra, 3 hosts of 1 MB" in [one["what"] for one in peers["left_out"]]
    assert "Smallest sizes" in (tmp_path / "bench.md").read_text()
