"""Journals and a catalog that ionetctl 0.1.0 wrote: later code reads them, and says of them what 0.1.0 said.

They are of a rehearsal of eight hosts, some of them faulty: a preflight that accepted host keys, a check with
differences, a rollout that stopped and was resumed, and two more. They are never made anew.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest

from tests.goldens.golden import GOLDENS, compare
from tests.rehearsal.site import Admin

if TYPE_CHECKING:
    from pathlib import Path

STATE: Final = GOLDENS / "records" / "state"
ROLLOUTS: Final = tuple(sorted(path.stem for path in (STATE / "rollouts").iterdir()))
RESUMED: Final = "20261126T163855-hrpvrr"
QUESTIONS: Final = {
    # golden → arguments
    "list": ("rollouts", "list"),
    **{f"show-{rollout}": ("rollouts", "show", rollout) for rollout in ROLLOUTS},
    f"show-{ROLLOUTS[-1]}": ("rollouts", "show"),  # the last one where none is named
    "status": ("status", "--offline"),
    "capacity": ("capacity", "--offline"),
    "capacity-k8s": ("capacity", "--offline", "--format", "k8s"),
}


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    """Somebody whose state directory holds copies of the records."""
    admin = Admin(tmp_path)
    shutil.copytree(STATE, admin.state)
    return admin


def ask(admin: Admin, *arguments: str) -> str:
    """What a command answers that has nothing to warn of."""
    ended = admin.run(*arguments, "-o", "json")
    assert (ended.exit_code, "warning" in ended.stderr) == (0, False), ended.stderr
    return ended.stdout


@pytest.mark.parametrize("name", QUESTIONS)
def test_records_are_read(admin: Admin, name: str) -> None:
    """Each answer is the one that 0.1.0 gave."""
    compare(f"records/{name}.json", ask(admin, *QUESTIONS[name]))


@pytest.mark.parametrize("kind", ["csv", "junit"])
def test_reports_are_written(admin: Admin, kind: str) -> None:
    """The reports of the resumed rollout are those that 0.1.0 wrote."""
    file = admin.home / "report"
    ask(admin, "rollouts", "report", RESUMED, f"--report={kind}={file}")
    compare(f"records/report.{kind}", file.read_bytes().decode())


def test_catalog_is_rebuilt(admin: Admin) -> None:
    """The journals make the same rollouts; only when nodes were last seen falls back to their confirmation."""
    compare("records/list.json", ask(admin, "rollouts", "rebuild"))
    rebuilt = ask(admin, "status", "--offline")
    compare("records/status-rebuilt.json", rebuilt)
    assert rebuilt != (GOLDENS / "records" / "status.json").read_text()


def test_journals_alone_are_enough(admin: Admin) -> None:
    """A catalog that was removed comes back from them."""
    (admin.state / "catalog.sqlite").unlink()
    compare("records/list.json", ask(admin, *QUESTIONS["list"]))
    compare("records/status-rebuilt.json", ask(admin, *QUESTIONS["status"]))
