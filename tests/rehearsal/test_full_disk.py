"""A disk that fills up in the middle of a rollout."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import CommandResult

HOSTS = 3


@dataclass(frozen=True, slots=True)
class Filled:
    """A rollout whose records could not grow any more after the first host, and the one that went on."""

    ended: CommandResult
    resumed: CommandResult


@pytest.fixture(scope="module")
def filled(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Filled]:
    admin = new_admin()
    with raise_fleet(HOSTS) as rehearsal:
        running = admin.start_enroll(rehearsal.inventory, "--canary=1", "--batch-size=1")
        running.until(type="host_finished")
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        ended = running.end()
        yield Filled(ended, admin.enroll(rehearsal.inventory, "--resume"))


def test_rollout_ends_with_eleven(filled: Filled) -> None:
    """Not with 3, which says that no host was touched; the document says what was reached, and why it ended."""
    document = filled.ended.lines[-1]
    assert (filled.ended.exit_code, document["exit_code"]) == (11, 11)
    assert (document["error"]["code"], document["summary"]["enrolled"]) == ("journal_broken", 1)
    assert "error journal_broken: " in filled.ended.stderr


def test_rollout_can_be_resumed(filled: Filled) -> None:
    """Once there is room again, the other hosts are enrolled."""
    assert (filled.resumed.exit_code, filled.resumed.document["summary"]["enrolled"]) == (0, HOSTS)
