"""The script for CI that users copy, run as it stands against a rehearsal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.rehearsal.site import PATIENCE_S, Admin
from tests.support.programs import needs

if TYPE_CHECKING:
    from tests.rehearsal.conftest import NewAdmin, RaiseFleet

SCRIPT: Final = Path(__file__).parents[2] / "examples" / "enroll-in-ci.sh"


def run_script(admin: Admin, workspace: Path, inventory: Path) -> subprocess.CompletedProcess[str]:
    """The script in ``workspace``, with ionetctl first on PATH."""
    needs("jq")
    workspace.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(SCRIPT), str(inventory), "--canary=0", "--batch-size=100%"],
        cwd=workspace,
        env=admin.environment() | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_first_run_enrols_and_second_finds_nothing(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path: Path
) -> None:
    """The first run enrols and reports the hosts; for the second one they are all unchanged."""
    with raise_fleet(3) as fleet:
        admin = new_admin()
        first = run_script(admin, tmp_path / "first", fleet.inventory)
        second = run_script(admin, tmp_path / "second", fleet.inventory)
    assert (first.returncode, first.stdout.splitlines()) == (
        0,
        ["3 hosts differ from the inventory", "3 hosts: 3 enrolled, 0 unchanged, 0 not begun"],
    )
    assert (tmp_path / "first" / "enroll.xml").exists()
    assert (second.returncode, second.stdout) == (0, "every host is as it should be\n")


def test_unreachable_host_does_not_delay_the_others(
    raise_fleet: RaiseFleet, new_admin: NewAdmin, tmp_path: Path
) -> None:
    """The others are enrolled, the unreachable one is listed with its code, and the script exits with 4."""
    with raise_fleet(3, "unreachable=1") as fleet:
        done = run_script(new_admin(), tmp_path / "job", fleet.inventory)
        [dead] = fleet.faults
    assert (
        done.returncode,
        json.loads((tmp_path / "job" / "enroll.json").read_text())["summary"]["enrolled"],
    ) == (
        4,
        2,
    )
    assert f"connect_refused: {dead}" in done.stderr
