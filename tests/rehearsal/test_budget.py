"""When a rollout stops by itself: the failure budget, the canary, and going on afterwards."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import CommandResult, Rehearsal

FAILS = 'echo "somebody pulled the plug" >&2; exit 1\n'


@pytest.fixture(scope="module")
def rehearsal(raise_fleet: RaiseFleet) -> Iterator[Rehearsal]:
    with raise_fleet(10) as rehearsal:
        rehearsal.install_wrapper()
        yield rehearsal


def codes(ended: CommandResult) -> list[str | None]:
    """The hosts' error codes in the inventory's order, ``None`` for a host without an error."""
    return [(host["error"] or {}).get("code") for host in ended.document["hosts"]]


def test_too_many_failures_stop_it_and_resuming_goes_on(rehearsal: Rehearsal, new_admin: NewAdmin) -> None:
    """With one failure allowed the second one ends it with exit code 10; a resumed rollout enrols the skipped hosts."""
    admin = new_admin()
    hosts = rehearsal.hosts[:5]
    for host in hosts[1:3]:
        rehearsal.before_start(host, FAILS)
    options = (f"--limit={','.join(hosts)}", "--batch-size=1", "--max-failures=1")

    stopped = admin.enroll(rehearsal.inventory, *options)

    assert (stopped.exit_code, codes(stopped)) == (
        10,
        [None, "start_failed", "start_failed", "not_begun", "not_begun"],
    )
    before = rehearsal.snapshot(hosts[0])
    for host in hosts[1:3]:
        rehearsal.remove_script(host)
    resumed = admin.enroll(rehearsal.inventory, *options, "--resume")
    assert (resumed.exit_code, set(resumed.outcomes().values())) == (0, {"enrolled"})
    assert rehearsal.snapshot(hosts[0]) == before


def test_failing_canary_ends_it(rehearsal: Rehearsal, new_admin: NewAdmin) -> None:
    """Later waves do not start: exit code 10 and unchanged hosts, until the rollout is resumed."""
    admin = new_admin()
    canary, *others = rehearsal.hosts[5:8]
    rehearsal.before_start(canary, FAILS)
    before = [rehearsal.snapshot(host) for host in others]
    options = (f"--limit={','.join([canary, *others])}", "--canary=1", "--max-failures=100%")

    stopped = admin.enroll(rehearsal.inventory, *options)

    assert (stopped.exit_code, codes(stopped)) == (10, ["start_failed", "not_begun", "not_begun"])
    assert [rehearsal.snapshot(host) for host in others] == before
    rehearsal.remove_script(canary)
    resumed = admin.enroll(rehearsal.inventory, *options, "--resume")
    assert (resumed.exit_code, set(resumed.outcomes().values())) == (0, {"enrolled"})


def test_failures_within_the_budget_do_not_stop_it(rehearsal: Rehearsal, new_admin: NewAdmin) -> None:
    """The control: with as many failures as allowed every host is tried, and the exit code is that of the failures."""
    hosts = rehearsal.hosts[8:10]
    rehearsal.before_start(hosts[0], FAILS)
    ended = new_admin().enroll(
        rehearsal.inventory, f"--limit={','.join(hosts)}", "--batch-size=1", "--max-failures=1"
    )
    assert (ended.exit_code, Counter(ended.outcomes().values())) == (5, {"failed": 1, "enrolled": 1})
