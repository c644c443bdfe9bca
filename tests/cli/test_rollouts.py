"""``rollouts verify`` and ``rollouts show --audit`` as users start them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_capacity import ROLLOUT, fleet
from tests.goldens.golden import GOLDENS

if TYPE_CHECKING:
    from tests.cli.conftest import RunIonetctl

__all__ = ["fleet"]


@pytest.mark.usefixtures("fleet")
def test_journals_are_verified(ionetctl: RunIonetctl, environment: dict[str, str]) -> None:
    """All at once or one; whole ones and those without a chain end with 0, a changed one with 6, and its lines are named."""
    rollouts = Path(environment["IONETCTL_STATE_DIR"]) / "rollouts"
    shutil.copytree(GOLDENS / "records" / "state" / "rollouts", rollouts, dirs_exist_ok=True)
    ended = ionetctl("rollouts", "verify", "-o", "json")
    rows = {row["rollout"]: row for row in ended.document["journals"]}
    whole = rows.pop(ROLLOUT)
    assert {row["state"] for row in rows.values()} == {"no_chain"}
    assert (ended.exit_code, whole["state"], whole["events"], len(whole["digest"])) == (0, "whole", 5, 64)
    compared = ionetctl("rollouts", "verify", ROLLOUT, "--digest", "sha256:" + whole["digest"])
    assert (compared.exit_code, "  whole  " in compared.stdout) == (0, True)
    journal = rollouts / f"{ROLLOUT}.ndjson"
    journal.write_bytes(journal.read_bytes().replace(b"ops@ctl", b"me@home"))
    row = ionetctl("rollouts", "verify", ROLLOUT, "-o", "ndjson")
    assert row.exit_code == 6
    assert (row.document["schema"], row.document["first_line"], row.document["last_line"]) == (
        "ionetctl.journals.row/1",
        1,
        7,
    )
    shown = ionetctl("rollouts", "verify")
    assert (shown.exit_code, "changed in lines 1 to 7" in shown.stdout) == (6, True)
    assert "is not as it was written: in lines 1 to 7" in shown.stderr


def test_digest_is_of_one_rollout(ionetctl: RunIonetctl) -> None:
    """Without a rollout it is not clear which journal should have it."""
    ended = ionetctl("rollouts", "verify", "--digest", "ab")
    assert (ended.exit_code, "digest_without_rollout" in ended.stderr) == (2, True)


def test_no_journals_yet(ionetctl: RunIonetctl) -> None:
    """Nothing to verify is no error."""
    ended = ionetctl("rollouts", "verify")
    assert (ended.exit_code, ended.stdout) == (0, "no rollouts yet\n")


@pytest.mark.usefixtures("fleet")
def test_audit_is_of_a_verified_journal(ionetctl: RunIonetctl, environment: dict[str, str]) -> None:
    """It says whether the journal is whole, and ends with 6 where it was changed, readable or not."""
    audited = ionetctl("rollouts", "show", "--audit", "-o", "json")
    document = audited.document
    assert (audited.exit_code, document["schema"], document["journal"]["state"]) == (
        0,
        "ionetctl.audit/1",
        "whole",
    )
    assert [(run["user"], run["machine"], run["exit_code"]) for run in document["runs"]] == [
        ("ops", "ctl", 0)
    ]
    journal = Path(environment["IONETCTL_STATE_DIR"]) / "rollouts" / f"{ROLLOUT}.ndjson"
    text = journal.read_bytes()
    journal.write_bytes(text.replace(b"ops@ctl", b"me@home"))
    changed = ionetctl("rollouts", "show", "--audit")
    assert (changed.exit_code, "journal  changed in lines 1 to 7" in changed.stdout) == (6, True)
    journal.write_bytes(text.replace(b'"seq":2', b'"seq":7'))
    unreadable = ionetctl("rollouts", "show", "--audit", "-o", "json")
    assert (unreadable.exit_code, unreadable.document["error"]["code"]) == (6, "journal_changed")


def test_old_journals_have_an_audit(ionetctl: RunIonetctl, environment: dict[str, str]) -> None:
    """Those of 0.1 too, as far as they tell."""
    shutil.copytree(GOLDENS / "records" / "state", Path(environment["IONETCTL_STATE_DIR"]))
    document = ionetctl("rollouts", "show", "hrpvrr", "--audit", "-o", "json").document
    assert (document["journal"]["state"], len(document["runs"]), bool(document["hosts"])) == (
        "no_chain",
        2,
        True,
    )
