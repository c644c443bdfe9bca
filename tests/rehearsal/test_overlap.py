"""Two rollouts on the same hosts: refused by the catalog's lease, or by the host's lock where they share no catalog."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ionetctl.history.catalog.leases import LOOK_S
from tests.rehearsal.site import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseFleet
    from tests.rehearsal.site import CommandResult, Rehearsal


@dataclass(frozen=True, slots=True)
class Overlapping:
    """The results of other rollouts while ``first`` was changing the first of two hosts."""

    hosts: list[str]
    started_at: str
    before: dict[str, tuple[int, int, str]]
    after: dict[str, tuple[int, int, str]]
    same_state: CommandResult
    other_state: CommandResult
    first: CommandResult


@pytest.fixture(scope="module")
def overlapping(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> Iterator[Overlapping]:
    admin: Admin = new_admin(USER="first-admin")
    other: Admin = new_admin(USER="second-admin")
    with raise_fleet(2) as rehearsal:
        rehearsal.install_wrapper()
        host = rehearsal.hosts[0]
        hold = rehearsal.hold(host)
        running = admin.start_enroll(rehearsal.inventory, f"--limit={host}")
        started = running.until(type="step_started", detail="start")
        hold.wait_reached()
        before = rehearsal.snapshot(host)
        same_state = admin.enroll(rehearsal.inventory)
        other_state = other.enroll(rehearsal.inventory)
        after = rehearsal.snapshot(host)
        hold.release()
        first = running.end()
        yield Overlapping(
            rehearsal.hosts, str(started["time"]), before, after, same_state, other_state, first
        )


def test_lease_refuses_before_any_host(overlapping: Overlapping) -> None:
    """With a shared catalog the second one exits with 7 at once; its document has owner and start time."""
    ended = overlapping.same_state
    error = ended.document["error"]
    assert (ended.exit_code, error["code"], ended.document["hosts"]) == (7, "hosts_locked", [])
    assert "first-admin@" in error["message"]
    assert overlapping.started_at[:13] in error["message"]


def test_lock_on_the_host_refuses_where_no_catalog_is_shared(overlapping: Overlapping) -> None:
    """Exit code 7; owner and start time come from the host's lock. The other host is enrolled."""
    ended = overlapping.other_state
    locked, free = overlapping.hosts
    error = ended.host(locked)["error"]
    assert (ended.exit_code, error["code"], ended.host(free)["outcome"]) == (7, "host_locked", "enrolled")
    assert "first-admin@" in error["message"]
    assert overlapping.started_at[:13] in error["message"]


def test_neither_touches_the_host(overlapping: Overlapping) -> None:
    """The host that is being changed is not affected by the others."""
    assert overlapping.after == overlapping.before


def test_first_one_is_not_disturbed(overlapping: Overlapping) -> None:
    """It succeeds as it would alone."""
    last = overlapping.first.lines[-1]
    assert (overlapping.first.exit_code, last["summary"]["enrolled"]) == (0, 1)


def age_leases(admin: Admin) -> None:
    """Let the standing leases be those of a machine that was asleep for longer than they last."""
    with closing(sqlite3.connect(admin.state / "catalog.sqlite")) as connection, connection:
        connection.execute("UPDATE leases SET machine = 'laptop/1', expires_at = '2026-01-01T00:00:00.000Z'")


def lease_of(rehearsal: Rehearsal, host: str) -> tuple[str, int]:
    """The lease that the host keeps of whoever had its lock last: catalog and number."""
    fence = (rehearsal.tree(host) / "var/lib/ionet/fence").read_text()
    catalog, _, number = fence.splitlines()[1].partition(".")
    return catalog, int(number)


def test_controller_that_slept_through_its_lease(raise_fleet: RaiseFleet, new_admin: NewAdmin) -> None:
    """Stopped amid its first host: by the time it goes on, another has the second one, which it does not begin."""
    sleeper = new_admin(USER="first-admin")
    other = Admin(sleeper.home, {"USER": "second-admin"})
    with raise_fleet(2) as rehearsal:
        rehearsal.install_wrapper()
        first, second = rehearsal.hosts
        hold = rehearsal.hold(first)
        running = sleeper.start_enroll(rehearsal.inventory, "--batch-size=1")
        running.until(type="step_started", detail="start")
        hold.wait_reached()
        running.signal(signal.SIGSTOP)
        age_leases(sleeper)
        taken = other.enroll(rehearsal.inventory, f"--limit={second}")
        before = rehearsal.snapshot(second)
        time.sleep(LOOK_S)
        running.signal(signal.SIGCONT)
        hold.release()
        ended = running.end()
        assert rehearsal.snapshot(second) == before
        document = ended.lines[-1]
        resumed = sleeper.enroll(rehearsal.inventory, "--resume", f"--rollout={document['rollout']}")
        (catalog, older), (same, newer) = (lease_of(rehearsal, host) for host in (first, second))
    assert (same, newer > older) == (catalog, True)
    assert (taken.exit_code, taken.outcomes()) == (0, {second: "enrolled"})
    assert (ended.exit_code, document["error"]["code"]) == (7, "lease_lost")
    assert "of second-admin@" in document["error"]["message"]
    assert f"had {second} meanwhile" in document["error"]["message"]
    assert {host["name"]: host["outcome"] for host in document["hosts"]} == {
        first: "enrolled",
        second: "skipped",
    }
    assert (resumed.exit_code, resumed.outcomes()) == (0, {first: "enrolled", second: "unchanged"})
