"""The catalog: a fold of the journals, whatever order they come in, and what stands in the way of one."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from ionetctl.core import events
from ionetctl.core.errors import ConfigurationError, LockedError, UsageError
from ionetctl.core.events import (
    AnyEvent,
    Envelope,
    HostEntry,
    HostFinished,
    RegionEntry,
    RolloutStarted,
)
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.host import Host
from ionetctl.core.model.installed import Installed
from ionetctl.core.model.names import Digest, HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.outcome import Outcome, Problem, Result
from ionetctl.history.catalog import Catalog, NodeRecord
from ionetctl.history.catalog import engine as database
from ionetctl.history.catalog.process import ProcessIdentity, _started
from ionetctl.history.catalog.schema import PRESENT
from ionetctl.history.journal import Journal, list_journals
from ionetctl.rollout.recorder import Recorder
from tests.support import streams
from tests.support.clock import ManualClock

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import ClauseElement

    from ionetctl.history.catalog.leases import Grant

ROOT = Path(__file__).parents[2]
EU = RegionName("eu-north")
US = RegionName("us-east")
FIRST = RolloutId("20261123T010000-aaaaaa")
THIRD = RolloutId("20261123T030000-cccccc")
SECOND = RolloutId("20261123T020000-bbbbbb")
PROBLEM = Problem("gpu_count_mismatch", "survey", "7 GPUs seen, 8 promised", "reseat the card", 5)

Snapshot = tuple[object, ...]


def entry(name: str, region: RegionName = EU, address: str = "10.0.0.1") -> HostEntry:
    return HostEntry(HostName(name), address, region, "rey1", "a01", "gpu", 8, "rtx-4090")


def region_entry(name: RegionName = EU, capacity: int = 10_000) -> RegionEntry:
    return RegionEntry(
        name=name,
        api=("https://nomad.example:4646",),
        ca_pem="-----BEGIN CERTIFICATE-----\n",
        server_name=f"server.{name}.nomad",
        token_source="env",
        token_locator="IONET_TOKEN",
        client_cert="/pki/cli.pem",
        client_key_source="file",
        client_key_locator="/pki/cli-key.pem",
        introduction="auto",
        capacity=capacity,
    )


def started(
    rollout: RolloutId = FIRST,
    hosts: Sequence[HostEntry] = (entry("rig-001"), entry("rig-002", address="10.0.0.2")),
    regions: Sequence[RegionEntry] = (region_entry(),),
    *,
    is_check: bool = False,
) -> RolloutStarted:
    return RolloutStarted(
        rollout=rollout,
        inventory="site.yaml",
        inventory_digest="d" * 64,
        owner="ada@ops",
        version="0.1.0",
        hosts=tuple(hosts),
        regions=tuple(regions),
        is_check=is_check,
        command=("enroll", "site.yaml"),
    )


def finished(
    host: HostEntry,
    result: Result = Result.ENROLLED,
    node_id: str | None = "node-1",
    stamp: str = "s1",
    problem: Problem | None = None,
) -> HostFinished:
    outcome = Outcome(
        host=host.name,
        address=host.address,
        region=host.region,
        datacenter=host.datacenter,
        result=result,
        node_id=None if node_id is None else NodeId(node_id),
        gpus_expected=8,
        gpus_seen=8,
        gpus_probed=7,
        duration_s=4.25,
        attempts=2,
        problem=problem,
    )
    return HostFinished(host=host.name, outcome=outcome, node_pool="gpu", rack="a01", stamp=stamp)


def surveyed(host: str, machine_id: str | None = "m-1", host_key: str = "SHA256:k1") -> AnyEvent:
    return events.HostSurveyed(
        identity=MachineIdentity("10.0.0.1 port 22", host_key, None, ("GPU-1", "GPU-2")),
        host=HostName(host),
        os="ubuntu 24.04",
        architecture="x86_64",
        gpus_seen=8,
        machine_id=machine_id,
        node_id=None,
    )


def at(minute: int) -> str:
    return f"2026-11-23T01:{minute:02d}:00.000Z"


def numbered(*told: AnyEvent, first: int = 1, minute: int = 0) -> list[Envelope]:
    return [Envelope(first + n, at(minute + n), event) for n, event in enumerate(told)]


class Recorded:
    """A rollout's journal in memory."""

    def __init__(
        self, rollout: RolloutId, envelopes: Sequence[Envelope], error: Exception | None = None
    ) -> None:
        self.rollout = rollout
        self._envelopes = envelopes
        self._error = error

    def last_seq(self) -> int:
        return self._envelopes[-1].seq if self._envelopes else 0

    def envelopes(self) -> Iterator[Envelope]:
        yield from self._envelopes
        if self._error is not None:
            raise self._error


def snapshot(catalog: Catalog) -> Snapshot:
    rollouts = catalog.rollouts()
    hosts = [catalog.hosts(rollout.id) for rollout in rollouts]
    return (rollouts, hosts, catalog.nodes(), catalog.identities(), catalog.regions())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "catalog.sqlite"


@pytest.fixture
def catalog(path: Path, clock: ManualClock) -> Iterator[Catalog]:
    with Catalog.open(path, clock) as opened:
        yield opened


# --- folding ---------------------------------------------------------------------------------------------------------


def test_new_catalog_is_empty_and_private(catalog: Catalog, path: Path) -> None:
    """A catalog is made where there is none; nobody else may read it or its side files."""
    catalog.record(FIRST, numbered(started()))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"), 0o600)


def test_rollout_while_it_runs(catalog: Catalog) -> None:
    """A rollout is known from its first event on, its hosts without an outcome."""
    catalog.record(FIRST, numbered(started()))
    rollout = catalog.rollout(FIRST)
    assert (rollout.command, rollout.results, rollout.host_count, rollout.finished_at) == (
        ("enroll", "site.yaml"),
        {None: 2},
        2,
        None,
    )
    assert [(host.entry, host.outcome) for host in catalog.hosts(FIRST)] == [
        (entry("rig-001"), None),
        (entry("rig-002", address="10.0.0.2"), None),
    ]


def test_rollout_after_its_end(catalog: Catalog) -> None:
    """What hosts ended with comes back as it was told."""
    good = finished(entry("rig-001"))
    bad = finished(entry("rig-002", address="10.0.0.2"), Result.FAILED, None, "", PROBLEM)
    stop = events.RolloutStopped(code="too_many_failures", message="1 of 2 failed")
    catalog.record(FIRST, numbered(started(), good, bad, stop, events.RolloutFinished(exit_code=10)))
    rollout = catalog.rollout(FIRST)
    assert [host.outcome for host in catalog.hosts(FIRST)] == [good.outcome, bad.outcome]
    assert (rollout.results, rollout.exit_code, rollout.finished_at, rollout.stop_code) == (
        {Result.ENROLLED: 1, Result.FAILED: 1},
        10,
        at(4),
        "too_many_failures",
    )


def test_resumed_rollout_runs_again(catalog: Catalog) -> None:
    """Going on takes back that the rollout was over."""
    over: list[AnyEvent] = [
        events.RolloutStopped(code="signal", message="SIGINT"),
        events.RolloutFinished(exit_code=130),
    ]
    catalog.record(FIRST, numbered(started(), *over, events.RolloutResumed(owner="bob@ops", done=0)))
    rollout = catalog.rollout(FIRST)
    assert (rollout.owner, rollout.exit_code, rollout.finished_at, rollout.stop_code, rollout.last_seq) == (
        "bob@ops",
        None,
        None,
        None,
        4,
    )


def test_confirmed_host_is_a_node(catalog: Catalog) -> None:
    """A node has what the outcome, the survey and the inventory said of it."""
    catalog.record(FIRST, numbered(started(), surveyed("rig-001"), finished(entry("rig-001"))))
    expected = NodeRecord(
        region=EU,
        name=HostName("rig-001"),
        node_id=NodeId("node-1"),
        address="10.0.0.1",
        datacenter="rey1",
        rack="a01",
        node_pool="gpu",
        gpu_model="rtx-4090",
        gpus_expected=8,
        gpus_seen=8,
        gpus_probed=7,
        machine_id="m-1",
        stamp="s1",
        rollout=FIRST,
        enrolled_at=at(2),
        last_seen_at=at(2),
    )
    assert catalog.nodes() == (expected,)


@pytest.mark.parametrize(
    ("result", "node_id"),
    [
        (Result.FAILED, "node-1"),
        (Result.UNVERIFIED, "node-1"),
        (Result.SKIPPED, None),
        (Result.UNREACHABLE, None),
        (Result.ENROLLED, None),
    ],
)
def test_what_neither_runs_nor_was_confirmed_is_no_node(
    catalog: Catalog, result: Result, node_id: str | None
) -> None:
    """Installed is not enrolled."""
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001"), result, node_id, stamp="")))
    assert catalog.nodes() == ()


@pytest.mark.parametrize("result", [Result.UNVERIFIED, Result.FAILED])
def test_node_that_runs_and_was_not_confirmed_is_known(catalog: Catalog, result: Result) -> None:
    """By id and stamp, so that it can be asked for; it was never enrolled and never seen."""
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001"), result, "node-1", "s1", PROBLEM)))
    (node,) = catalog.nodes()
    assert (node.node_id, node.stamp, node.enrolled_at, node.last_seen_at) == ("node-1", "s1", "", "")


def test_node_that_is_confirmed_later_is_enrolled_then(catalog: Catalog) -> None:
    """Not before."""
    host = entry("rig-001")
    catalog.record(FIRST, numbered(started(), finished(host, Result.UNVERIFIED, problem=PROBLEM)))
    catalog.record(SECOND, numbered(started(SECOND), finished(host, Result.UNCHANGED), minute=10))
    (node,) = catalog.nodes()
    assert (node.enrolled_at, node.last_seen_at) == (at(11), at(11))


def test_failure_before_the_agent_started_changes_no_node(catalog: Catalog) -> None:
    """It was put back as it was: the node that was confirmed is the one that runs."""
    host = entry("rig-001")
    catalog.record(FIRST, numbered(started(), finished(host)))
    again = finished(host, Result.FAILED, "node-1", "", PROBLEM)
    catalog.record(SECOND, numbered(started(SECOND), again, minute=10))
    (node,) = catalog.nodes()
    assert (node.stamp, node.rollout) == ("s1", FIRST)


def test_check_makes_no_nodes(catalog: Catalog) -> None:
    """A rollout that only looked says nothing about nodes."""
    catalog.record(FIRST, numbered(started(is_check=True), finished(entry("rig-001"), Result.UNCHANGED)))
    assert (catalog.nodes(), catalog.rollout(FIRST).results[Result.UNCHANGED]) == ((), 1)


def test_unchanged_node_keeps_its_first_day(catalog: Catalog) -> None:
    """A node seen again keeps the time of its enrolment and is seen later."""
    host = entry("rig-001")
    catalog.record(FIRST, numbered(started(), finished(host)))
    catalog.record(SECOND, numbered(started(SECOND), finished(host, Result.UNCHANGED), minute=10))
    (node,) = catalog.nodes()
    assert (node.enrolled_at, node.last_seen_at, node.rollout) == (at(1), at(11), SECOND)


def test_node_with_another_id_is_another_node(catalog: Catalog) -> None:
    """A reinstalled host begins anew under its old name."""
    host = entry("rig-001")
    catalog.record(FIRST, numbered(started(), finished(host)))
    catalog.record(SECOND, numbered(started(SECOND), finished(host, node_id="node-2"), minute=10))
    (node,) = catalog.nodes()
    assert (node.node_id, node.enrolled_at) == ("node-2", at(11))


def test_moved_node_leaves_its_old_region(catalog: Catalog) -> None:
    """A node id stays with the machine, so it is in one place."""
    there = entry("rig-001", US)
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001"))))
    catalog.record(SECOND, numbered(started(SECOND, [there]), finished(there), minute=10))
    assert [(node.region, node.node_id) for node in catalog.nodes()] == [(US, "node-1")]


@contextmanager
def told_statements() -> Iterator[list[str]]:
    """The SQL of the block."""
    told: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        told.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("node_id", "minute", "expected"), [("node-1", 10, False), ("node-2", 10, True), ("node-1", -10, True)]
)
def test_past_is_read_only_where_it_matters(
    catalog: Catalog, node_id: str, minute: int, *, expected: bool
) -> None:
    """A node that goes on is computed from what it was; one on another machine, or from an older rollout, from all."""
    host = entry("rig-001")
    catalog.record(FIRST, numbered(started(), finished(host), minute=20))
    with told_statements() as told:
        catalog.record(SECOND, numbered(started(SECOND), finished(host, node_id=node_id), minute=20 + minute))
    assert any("FROM outcomes" in statement for statement in told) is expected


def test_hosts_of_a_rollout_that_ended_are_not_counted_again(catalog: Catalog) -> None:
    """A list of many rollouts reads none of their hosts; those of one that runs are counted."""
    end = events.RolloutFinished(exit_code=0)
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001")), end))
    with told_statements() as told:
        (ended,) = catalog.rollouts()
    catalog.record(FIRST, numbered(events.RolloutResumed(owner="bob@ops", done=1), first=4))
    with told_statements() as told_running:
        (running,) = catalog.rollouts()
    assert [any("FROM hosts" in one for one in each) for each in (told, told_running)] == [False, True]
    assert ended.results == running.results == {None: 1, Result.ENROLLED: 1}


def test_same_name_in_two_regions(catalog: Catalog) -> None:
    """Two sites may both have a rig-001."""
    there = entry("rig-001", US)
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001"))))
    catalog.record(SECOND, numbered(started(SECOND, [there]), finished(there, node_id="node-2"), minute=10))
    assert [(node.region, node.node_id) for node in catalog.nodes()] == [(EU, "node-1"), (US, "node-2")]


@pytest.mark.parametrize(("node_id", "seen_at"), [("node-1", "2026-11-23T01:01:00.000Z"), ("node-9", "")])
def test_unverified_node_has_its_new_id_and_stamp(catalog: Catalog, node_id: str, seen_at: str) -> None:
    """A node that was given a new stamp can be confirmed by that one alone; a reinstalled host is another node."""
    host = entry("rig-001")
    again = finished(host, Result.UNVERIFIED, node_id, "s2", PROBLEM)
    catalog.record(FIRST, numbered(started(), finished(host)))
    catalog.record(SECOND, numbered(started(SECOND), again, minute=10))
    (node,) = catalog.nodes()
    assert (node.node_id, node.stamp, node.last_seen_at) == (node_id, "s2", seen_at)


def test_older_catalog_is_upgraded(tmp_path: Path) -> None:
    """What it has is kept, and the results of rollouts that ended are counted; other new columns are filled by the next rollout."""
    path = tmp_path / "catalog.sqlite"
    with Catalog.open(path, ManualClock()) as catalog:
        catalog.record(
            FIRST, numbered(started(), finished(entry("rig-001")), events.RolloutFinished(exit_code=0))
        )
        catalog.record(SECOND, numbered(started(SECOND), finished(entry("rig-001")), minute=5))
    for table in ("outcomes", "nodes"):
        execute(path, f"ALTER TABLE {table} DROP COLUMN gpus_probed")
    execute(path, "DROP INDEX ix_nodes_name")
    execute(path, "ALTER TABLE nodes DROP COLUMN computed_until")
    execute(path, "ALTER TABLE rollouts DROP COLUMN results")
    execute(path, "ALTER TABLE rollouts DROP COLUMN journal_digest")
    execute(path, "ALTER TABLE rollouts DROP COLUMN action")
    execute(path, "DROP TABLE machines")
    execute(path, "DROP TABLE installations")
    execute(path, "ALTER TABLE leases DROP COLUMN number")
    execute(path, "DROP TABLE fencing")
    execute(path, "DROP TABLE closures")
    execute(path, "UPDATE schema_version SET version = 1")
    with Catalog.open(path, ManualClock()) as catalog:
        assert [(node.name, node.gpus_seen, node.gpus_probed) for node in catalog.nodes()] == [
            ("rig-001", 8, None)
        ]
        assert catalog.identities() == {}
        ended = finished(entry("rig-001"))
        catalog.record(THIRD, numbered(started(THIRD), surveyed("rig-001"), ended, minute=10))
        assert catalog.renew([host("rig-001")], catalog.claim([host("rig-001")], THIRD, "a@b", at(0))) is None
    with Catalog.open(path, ManualClock()) as catalog:
        assert [(node.gpus_seen, node.gpus_probed) for node in catalog.nodes()] == [(8, 7)]
        assert list(catalog.identities()) == [("rig-001", "m-1")]
    counts = execute(path, "SELECT results FROM rollouts ORDER BY id")
    assert counts == [('{"":1,"enrolled":1}',), (None,), (None,)]


def test_change_of_a_node_makes_none(catalog: Catalog) -> None:
    """What enrolment found of a node stays, whatever became of a change of it through its region; the rollout is listed as what it was."""
    catalog.record(FIRST, numbered(started(), surveyed("rig-001"), finished(entry("rig-001"))))
    before = catalog.nodes()
    change = msgspec.structs.replace(started(SECOND), action="exclude")
    ended = [
        finished(entry("rig-001"), result, stamp="")
        for result in (Result.DONE, Result.UNCHANGED, Result.UNVERIFIED)
    ]
    catalog.record(SECOND, numbered(change, *ended, minute=5))
    assert catalog.nodes() == before
    later = numbered(started(THIRD), surveyed("rig-001"), finished(entry("rig-001")), minute=10)
    catalog.record(THIRD, later)
    assert [node.rollout for node in catalog.nodes()] == [THIRD]
    assert [record.action for record in catalog.rollouts()] == ["enroll", "exclude", "enroll"]


def test_machines_are_kept_as_last_surveyed(catalog: Catalog) -> None:
    """By name and machine-id, whichever rollout is folded last; a machine without an id, or of an older journal, is left out."""
    old = events.HostSurveyed(
        host=HostName("rig-002"), os="", architecture="", gpus_seen=None, machine_id="m-2", node_id=None
    )
    late = numbered(
        started(SECOND), surveyed("rig-001", host_key="SHA256:k2"), surveyed("rig-002", None), old, minute=10
    )
    catalog.record(SECOND, late)
    catalog.record(FIRST, numbered(started(), surveyed("rig-001"), surveyed("rig-001", "m-3")))
    found = {key: identity.host_key for key, identity in catalog.identities().items()}
    assert found == {("rig-001", "m-1"): "SHA256:k2", ("rig-001", "m-3"): "SHA256:k1"}


CLOSING = events.KeyClosing(
    host=HostName("rig-001"), account="miner", key="ssh-ed25519 AAAA", files=("/h/.ssh/authorized_keys",)
)
CLOSED = events.KeyClosed(host=HostName("rig-001"), account="miner", fingerprint="SHA256:abc")
OPENED = events.SshOpened(host=HostName("rig-001"), cause="rebootstrap", message="a key was put back")


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ((), None),
        ((CLOSING,), "closing"),
        ((CLOSING, CLOSED), "closed"),
        ((CLOSING, OPENED), None),
        ((CLOSING, CLOSED, OPENED, CLOSING, CLOSED), "closed"),
    ],
)
def test_closed_hosts_are_known(catalog: Catalog, told: tuple[AnyEvent, ...], state: str | None) -> None:
    """By the latest that happened there, with the account."""
    catalog.record(FIRST, numbered(started(), *told))
    assert [(one.host, one.address, one.state, one.account) for one in catalog.closures()] == (
        [("rig-001", entry("rig-001").address, state, "miner")] if state else []
    )


def test_closed_hosts_are_the_same_in_whatever_order_rollouts_are_folded(catalog: Catalog) -> None:
    """The times of the events decide, not the order in which they came."""
    later = numbered(started(SECOND), OPENED, minute=5)
    catalog.record(SECOND, later)
    catalog.record(FIRST, numbered(started(), CLOSING, CLOSED))
    assert catalog.closures() == ()


def test_region_that_never_answered_is_not_kept(catalog: Catalog) -> None:
    """A rollout, or a preflight, with another address does not repoint the catalog; what answered does."""
    answered, dead = region_entry(capacity=1), region_entry(capacity=2)
    checked = events.RegionChecked(region=EU, server_version="2.0.5", enforcement=None, entry=answered)
    warned = events.Warned(code="region_unreachable", message="region eu-north: nobody answers")
    catalog.record(FIRST, numbered(started(regions=()), checked))
    catalog.record(SECOND, numbered(started(SECOND, regions=()), warned, minute=10))
    assert catalog.regions() == (answered,)
    moved = events.RegionChecked(region=EU, server_version="2.0.5", enforcement=None, entry=dead)
    catalog.record(THIRD, numbered(started(THIRD, regions=()), moved, minute=20))
    assert catalog.regions() == (dead,)


def test_nodes_are_sorted(catalog: Catalog) -> None:
    """Nodes come by region, datacenter, rack and name, those without a rack first."""
    hosts = [entry("b"), replace_entry(entry("a"), rack=None), entry("a", US), entry("c")]
    ends = [
        HostFinished(
            host=host.name,
            outcome=replace(finished(host, node_id=f"node-{n}").outcome),
            rack=host.rack,
        )
        for n, host in enumerate(hosts)
    ]
    for n, (host, end) in enumerate(zip(hosts, ends, strict=True)):
        rollout = RolloutId(f"r{n}")
        catalog.record(rollout, numbered(started(rollout, [host]), end))
    assert [(node.region, node.name) for node in catalog.nodes()] == [
        (EU, "a"),
        (EU, "b"),
        (EU, "c"),
        (US, "a"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"host": ["rig_1"]}, ["Rig_1"]),
        ({"host": ["rig_*"]}, ["Rig_1"]),
        ({"host": ["?ig-1", "none"]}, ["rig-1"]),
        ({"host": ["rig-1"], "region": ["us-east"]}, ["rig-1", "rig-2"]),
        ({"rack": ["a0*"], "host": ["x"] * 1001}, ["Rig_1", "rig-1", "rig-2"]),
        ({"host": ["rig-ä"]}, ["Rig_1", "rig-1", "rig-2"]),
        ({"tag": ["fast"]}, ["Rig_1", "rig-1", "rig-2"]),
    ],
)
def test_nodes_are_looked_for_by_words(
    catalog: Catalog, words: dict[str, list[str]], expected: list[str]
) -> None:
    """The database looks, by word or pattern and without regard to case; where it cannot tell, every node comes."""
    for n, host in enumerate((entry("rig-1"), entry("Rig_1"), entry("rig-2", US))):
        rollout = RolloutId(f"r{n}")
        catalog.record(rollout, numbered(started(rollout, [host]), finished(host, node_id=f"node-{n}")))
    assert sorted(node.name for node in catalog.nodes(words)) == expected


def replace_entry(host: HostEntry, rack: str | None) -> HostEntry:
    return HostEntry(
        host.name,
        host.address,
        host.region,
        host.datacenter,
        rack,
        host.node_pool,
        host.gpus_expected,
        host.gpu_model,
    )


def test_regions_as_last_described(catalog: Catalog) -> None:
    """The latest rollout's word on a region stands, whichever is folded last."""
    late = numbered(started(SECOND, regions=[region_entry(capacity=5)]), minute=10)
    early = numbered(started(FIRST, regions=[region_entry(capacity=4), region_entry(US)]))
    catalog.record(SECOND, late)
    catalog.record(FIRST, early)
    assert catalog.regions() == (region_entry(capacity=5), region_entry(US))


def test_seen_nodes_are_marked(catalog: Catalog) -> None:
    """What a region shows moves the time forward, never back."""
    second = entry("rig-002", address="10.0.0.2")
    catalog.record(FIRST, numbered(started(), finished(entry("rig-001")), finished(second, node_id="node-2")))
    catalog.mark_seen(EU, [HostName("rig-001"), HostName("unknown")], at(30))
    catalog.mark_seen(EU, [HostName("rig-002")], at(0))
    assert [node.last_seen_at for node in catalog.nodes()] == [at(30), at(2)]


def test_unknown_rollout(catalog: Catalog) -> None:
    """A rollout that is none is a mistake in the command line."""
    with pytest.raises(UsageError) as caught:
        catalog.rollout("none")
    assert (caught.value.code, catalog.hosts("none")) == ("rollout_unknown", ())


# --- the same catalog however it came about --------------------------------------------------------------------------


def story() -> dict[RolloutId, list[Envelope]]:
    """Two rollouts that overlap: the first is resumed after the second touched one of its hosts."""
    one, two = entry("rig-001"), entry("rig-002", address="10.0.0.2")
    moved = entry("rig-002", US, "10.0.0.2")
    first = numbered(started(), surveyed("rig-001"), finished(one), finished(two, node_id="node-2"))
    second = numbered(
        started(SECOND, [one, moved], [region_entry(capacity=7), region_entry(US)]),
        surveyed("rig-001", host_key="SHA256:k2"),
        finished(one, Result.UNCHANGED),
        finished(moved, node_id="node-2", stamp="s3"),
        events.RolloutFinished(exit_code=0),
        minute=10,
    )
    first += numbered(
        events.RolloutResumed(owner="bob@ops", done=1),
        finished(one, Result.UNVERIFIED, "node-1", "s4", PROBLEM),
        finished(two, Result.UNREACHABLE, None, "", PROBLEM),
        events.RolloutFinished(exit_code=8),
        first=5,
        minute=30,
    )
    return {FIRST: first, SECOND: second}


def as_it_happened(catalog: Catalog) -> None:
    tagged = [(e.time, rollout, e) for rollout, envelopes in story().items() for e in envelopes]
    for _, rollout, envelope in sorted(tagged, key=lambda each: (each[0], each[1], each[2].seq)):
        catalog.record(rollout, [envelope])


def first_then_second(catalog: Catalog) -> None:
    for rollout, envelopes in story().items():
        catalog.record(rollout, envelopes)


def second_then_first(catalog: Catalog) -> None:
    for rollout, envelopes in reversed(story().items()):
        catalog.record(rollout, envelopes)


def everything_twice(catalog: Catalog) -> None:
    for _ in range(2):
        first_then_second(catalog)
    for rollout, envelopes in story().items():
        catalog.record(rollout, envelopes[2:])


@pytest.mark.parametrize("tell", [first_then_second, second_then_first, everything_twice])
def test_order_of_folding_does_not_matter(
    catalog: Catalog, tmp_path: Path, clock: ManualClock, tell: Callable[[Catalog], None]
) -> None:
    """A catalog that is made again, in any order, is the one that grew as things happened."""
    as_it_happened(catalog)
    with Catalog.open(tmp_path / "again.sqlite", clock) as again:
        tell(again)
        assert snapshot(again) == snapshot(catalog)


ENDINGS = st.lists(
    st.tuples(
        st.sampled_from([FIRST, SECOND]),
        st.sampled_from([EU, US]),
        st.sampled_from(["rig-001", "rig-002", "rig-003"]),
        st.sampled_from(["node-1", "node-2", None]),
        st.sampled_from([Result.ENROLLED, Result.UNCHANGED, Result.UNVERIFIED, Result.FAILED]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(endings=ENDINGS, chance=st.randoms(use_true_random=False))
def test_any_interleaving_gives_the_same_nodes(
    endings: list[tuple[RolloutId, RegionName, str, str | None, Result]], chance: random.Random
) -> None:
    """However two rollouts' events are interleaved and cut into batches, the nodes are the same."""
    told = {FIRST: numbered(started()), SECOND: numbered(started(SECOND))}
    for minute, (rollout, region, name, node_id, result) in enumerate(endings, start=1):
        event = finished(entry(name, region), result, node_id, f"stamp-{minute}")
        told[rollout].append(Envelope(len(told[rollout]) + 1, at(minute), event))
    snapshots = []
    for _ in range(2):
        with Catalog.open("sqlite://", ManualClock()) as catalog:
            rest = {rollout: list(envelopes) for rollout, envelopes in told.items()}
            while any(rest.values()):
                rollout = chance.choice([each for each, envelopes in rest.items() if envelopes])
                size = chance.randint(1, 4)
                catalog.record(rollout, rest[rollout][:size])
                rest[rollout] = rest[rollout][size:]
            snapshots.append(snapshot(catalog))
    assert snapshots[0] == snapshots[1]


def test_long_journals_are_folded_in_pieces(catalog: Catalog, tmp_path: Path, clock: ManualClock) -> None:
    """A journal of any length is folded in bounded batches."""
    envelopes = streams.Rollout(hosts=200).play()
    with Catalog.open(tmp_path / "b", clock, [Recorded(streams.ROLLOUT, envelopes)]) as caught_up:
        catalog.record(streams.ROLLOUT, envelopes)
        assert (len(envelopes) > 2048, snapshot(caught_up)) == (True, snapshot(catalog))


def test_gap_is_refused(catalog: Catalog) -> None:
    """Events out of the middle are not folded onto nothing."""
    catalog.record(FIRST, numbered(started()))
    before = snapshot(catalog)
    with pytest.raises(ConfigurationError) as caught:
        catalog.record(FIRST, numbered(finished(entry("rig-001")), first=3))
    assert (caught.value.code, snapshot(catalog)) == ("catalog_behind", before)


@pytest.mark.parametrize(
    "first",
    [
        events.Warned(code="x", message="y"),
        started(SECOND),
        msgspec.structs.replace(started(FIRST), hosts=2 * (entry("rig-001"),)),
    ],
    ids=["no-start", "another-rollout", "host-twice"],
)
def test_rollout_without_beginning(catalog: Catalog, first: AnyEvent) -> None:
    """A rollout's record begins with its own start."""
    with pytest.raises(ConfigurationError) as caught:
        catalog.record(FIRST, numbered(first))
    assert (caught.value.code, catalog.rollouts()) == ("rollout_malformed", ())


def test_batch_is_all_or_nothing(catalog: Catalog) -> None:
    """A batch that cannot be folded leaves nothing of itself behind."""
    ended = finished(entry("rig-001"))
    endless = msgspec.structs.replace(ended, outcome=replace(ended.outcome, gpus_seen=1 << 70))
    with pytest.raises(ConfigurationError) as caught:
        catalog.record(FIRST, numbered(started(FIRST), endless))
    assert (caught.value.code, catalog.rollouts()) == ("rollout_malformed", ())


# --- opening, catching up, rebuilding --------------------------------------------------------------------------------


def journals() -> list[Recorded]:
    return [Recorded(rollout, envelopes) for rollout, envelopes in story().items()]


def test_opening_without_a_file_rebuilds(catalog: Catalog, tmp_path: Path, clock: ManualClock) -> None:
    """Where the catalog was removed, the journals bring it back."""
    as_it_happened(catalog)
    with Catalog.open(
        tmp_path / "again.sqlite", clock, [*journals(), Recorded(RolloutId("empty"), [])]
    ) as again:
        assert snapshot(again) == snapshot(catalog)


@pytest.mark.parametrize("known", range(8))
def test_opening_catches_up(catalog: Catalog, path: Path, clock: ManualClock, known: int) -> None:
    """A process killed between journal and catalog, after any event, leaves a catalog that is made good on opening."""
    catalog.record(SECOND, story()[SECOND])
    catalog.record(FIRST, story()[FIRST][:known])
    with (
        Catalog.open(path, clock, journals()) as opened,
        Catalog.open(path.with_name("b"), clock) as expected,
    ):
        as_it_happened(expected)
        assert (snapshot(opened), opened.problems) == (snapshot(expected), ())


def test_damaged_journal_keeps_no_other_out(tmp_path: Path, clock: ManualClock) -> None:
    """A journal that cannot be read is reported; what stood before the damage and all others are folded."""
    error = ConfigurationError("journal_corrupt", "x.ndjson:9: not an event")
    damaged = Recorded(FIRST, story()[FIRST][:3], error)
    with Catalog.open(tmp_path / "c", clock, [damaged, Recorded(SECOND, story()[SECOND])]) as catalog:
        last = {rollout.id: rollout.last_seq for rollout in catalog.rollouts()}
        assert (catalog.problems, last) == ((error,), {FIRST: 3, SECOND: 5})


def test_rebuilding_forgets_what_no_journal_says(path: Path, catalog: Catalog, clock: ManualClock) -> None:
    """A rebuilt catalog is what its journals say, and keeps the leases, which they do not know."""
    as_it_happened(catalog)
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    with Catalog.rebuild(path, clock, journals()[:1]) as rebuilt:
        assert [rollout.id for rollout in rebuilt.rollouts()] == [FIRST]
        with pytest.raises(LockedError):
            rebuilt.claim([host("rig-001")], SECOND, "bob@ops", at(1))


def test_digests_of_journals_are_kept(path: Path, catalog: Catalog, clock: ManualClock) -> None:
    """The last one of each, also when the catalog is made again; none of a process that was overtaken by another."""
    as_it_happened(catalog)
    last = {rollout.id: rollout.last_seq for rollout in catalog.rollouts()}
    catalog.keep_digest(FIRST, Digest("aa"), last[FIRST])
    catalog.keep_digest(SECOND, Digest("cc"), last[SECOND] - 1)
    with Catalog.rebuild(path, clock, journals()) as rebuilt:
        kept = {rollout.id: rollout.journal_digest for rollout in rebuilt.rollouts()}
    assert kept == {FIRST: "aa", SECOND: None}


def test_interrupted_rebuild_changes_nothing(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """A rebuild that is cut off leaves the catalog as it was."""
    as_it_happened(catalog)
    before = snapshot(catalog)
    with pytest.raises(KeyboardInterrupt):
        Catalog.rebuild(path, clock, [Recorded(FIRST, story()[FIRST], KeyboardInterrupt())])  # type: ignore[arg-type]
    assert snapshot(catalog) == before


DAMAGE = [
    pytest.param(lambda _: b"not a database, but long enough to be one" * 30, id="other-file"),
    pytest.param(lambda text: text[:5000] + bytes(9000) + text[14_000:], id="zeros-inside"),
    pytest.param(lambda text: text[:8192] + b"\xff" * 10 + text[8202:], id="page"),
    pytest.param(lambda text: text[: len(text) // 2], id="cut"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_corrupt_catalog(path: Path, clock: ManualClock, damage: Callable[[bytes], bytes]) -> None:
    """A damaged file is refused with the way to mend it, and mended by that way; the damaged one is kept."""
    with Catalog.open(path, clock, journals()) as catalog:
        expected = snapshot(catalog)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationError) as caught:
        Catalog.open(path, clock)
    assert (caught.value.code, caught.value.exit_code, "rollouts rebuild" in caught.value.hint) == (
        "catalog_corrupt",
        3,
        True,
    )
    with Catalog.rebuild(path, clock, journals()) as rebuilt:
        assert snapshot(rebuilt) == expected
    assert path.with_name("catalog.sqlite.corrupt").exists()


@pytest.mark.parametrize(
    ("table", "whole_bytes", "expected"),
    [("nodes", 0, True), ("outcomes", 0, False), ("outcomes", 1 << 30, True)],
)
def test_past_of_a_large_catalog_is_not_read_at_its_opening(
    path: Path, clock: ManualClock, table: str, whole_bytes: int, *, expected: bool
) -> None:
    """What is read before a rollout starts is checked in any case; a million hosts of the past are not."""
    Catalog.open(path, clock, journals()).close()
    with closing(sqlite3.connect(path)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table])
        [(page_bytes,)] = connection.execute("PRAGMA page_size")
    content = bytearray(path.read_bytes())
    content[(page - 1) * page_bytes : page * page_bytes] = b"\xff" * page_bytes
    path.write_bytes(content)
    engine = database.make_engine(database.parse_location(path))
    try:
        database.check_integrity(engine, PRESENT, whole_bytes)
        is_found = False
    except ConfigurationError as error:
        is_found = error.code == "catalog_corrupt"
    finally:
        engine.dispose()
    assert is_found is expected


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE nodes", "DROP TABLE machines", "DELETE FROM schema_version", "DROP TABLE schema_version"],
)
def test_catalog_that_lacks_tables(path: Path, clock: ManualClock, statement: str) -> None:
    """A database that is only half a catalog is a damaged one."""
    Catalog.open(path, clock).close()
    execute(path, statement)
    with pytest.raises(ConfigurationError) as caught:
        Catalog.open(path, clock)
    assert caught.value.code == "catalog_corrupt"


@pytest.mark.parametrize("opening", [Catalog.open, Catalog.rebuild])
def test_newer_catalog(path: Path, clock: ManualClock, opening: Callable[..., Catalog]) -> None:
    """What a newer ionetctl wrote is neither used nor overwritten."""
    Catalog.open(path, clock).close()
    execute(path, "UPDATE schema_version SET version = 99")
    with pytest.raises(ConfigurationError) as caught:
        opening(path, clock, [])
    assert (caught.value.code, caught.value.exit_code) == ("catalog_newer", 3)


def test_catalog_where_none_can_be(tmp_path: Path, clock: ManualClock) -> None:
    """A place that cannot hold a catalog is named."""
    (tmp_path / "file").write_text("")
    codes = []
    for place in (tmp_path / "file" / "catalog", tmp_path):
        with pytest.raises(ConfigurationError) as caught:
            Catalog.open(place, clock)
        codes.append(caught.value.code)
    assert codes == ["catalog_unwritable", "catalog_unwritable"]


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Writes beyond ``size_bytes`` fail (EFBIG), as they do on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_found_before_any_host(catalog: Catalog) -> None:
    """The claim on the hosts is a write, so a full disk shows before the first of them is touched."""
    many = [host(f"rig-{n:04d}") for n in range(3000)]
    with file_size_limit(200_000), pytest.raises(ConfigurationError) as caught:
        catalog.claim(many, FIRST, "ada@ops", at(0))
    assert (caught.value.code, caught.value.exit_code) == ("catalog_unwritable", 3)


def test_full_disk_leaves_the_catalog_whole(catalog: Catalog) -> None:
    """After a write that failed, the catalog is what it was, and works again when there is room."""
    catalog.record(FIRST, numbered(started()))
    before = snapshot(catalog)
    many = started(SECOND, [entry(f"rig-{n:04d}") for n in range(3000)])
    with file_size_limit(300_000), pytest.raises(ConfigurationError):
        catalog.record(SECOND, numbered(many))
    assert snapshot(catalog) == before
    catalog.record(SECOND, numbered(many))
    assert catalog.rollout(SECOND).host_count == 3000


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://ada:s3cr3t@db.example/ionet", "no driver for postgresql"),
        ("nosuchbase://ada:s3cr3t@db.example/ionet", "no driver for nosuchbase"),
        ("://ada:s3cr3t@db.example", "malformed"),
    ],
)
def test_database_url_is_refused_without_its_password(clock: ManualClock, url: str, message: str) -> None:
    """A database that cannot be used is told of, its password is not."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Catalog.open(url, clock)
    assert (caught.value.code, "s3cr3t" in f"{caught.value!r}{caught.value.__cause__!r}") == (
        "catalog_invalid",
        False,
    )


def test_sqlite_url(tmp_path: Path, clock: ManualClock) -> None:
    """A URL does as well as a path, and a catalog shows where it is."""
    with Catalog.open(f"sqlite:///{tmp_path}/c.db", clock, journals()) as catalog:
        assert (repr(catalog), len(catalog.rollouts())) == (f"Catalog('{tmp_path}/c.db')", 2)


def test_catalog_in_memory(clock: ManualClock) -> None:
    """A catalog needs no file, and one that is none cannot be damaged."""
    with Catalog.rebuild("sqlite://", clock, journals()) as catalog:
        assert len(catalog.rollouts()) == 2


async def test_catalog_behind_a_recorder(tmp_path: Path, clock: ManualClock) -> None:
    """Fed by the recorder, and built from the journal's file, it is the same catalog."""
    told = [envelope.event for envelope in story()[FIRST]]
    with Catalog.open(tmp_path / "live", clock) as live:
        journal = Journal.create(tmp_path / "rollouts", FIRST)
        async with Recorder(journal, clock, [live.sink(FIRST)]) as emit:
            for event in told:
                await emit(event)
                clock.advance(0.4)
        with Catalog.open(tmp_path / "again", clock, list_journals(tmp_path / "rollouts")) as again:
            assert (len(told), await asyncio.to_thread(snapshot, again)) == (
                again.rollout(FIRST).last_seq,
                snapshot(live),
            )


async def test_sink_keeps_back_what_can_wait(catalog: Catalog, clock: ManualClock) -> None:
    """A host's end may wait a second for company; a rollout's start and end are folded at once."""
    sink = catalog.sink(FIRST)
    seen = []
    for minute, event in enumerate(
        [started(), finished(entry("rig-001")), surveyed("rig-002"), surveyed("rig-001")]
    ):
        await sink.take(numbered(event, first=minute + 1, minute=minute))
        seen.append(catalog.rollout(FIRST).last_seq)
        clock.advance(0.6)
    await sink.close()
    assert [*seen, catalog.rollout(FIRST).last_seq] == [1, 1, 3, 3, 4]


async def test_sink_with_nothing_left(catalog: Catalog) -> None:
    """Closing a sink that holds nothing writes nothing."""
    await catalog.sink(FIRST).close()
    assert catalog.rollouts() == ()


# --- leases ----------------------------------------------------------------------------------------------------------


def host(name: str, address: str = "10.0.0.1") -> Host:
    return Host(HostName(name), address, EU, "rey1")


def test_second_rollout_is_told_who_holds(catalog: Catalog) -> None:
    """A claim on hosts that another rollout holds names it, its owner and its start, and takes none of them."""
    catalog.claim([host("rig-001"), host("rig-002")], FIRST, "ada@ops", at(0))
    with pytest.raises(LockedError) as caught:
        catalog.claim([host("rig-002"), host("rig-003")], SECOND, "bob@ops", at(1))
    assert (caught.value.exit_code, caught.value.message) == (
        7,
        f"rollout {FIRST} of ada@ops, started {at(0)}, holds rig-002",
    )
    catalog.claim([host("rig-003")], RolloutId("third"), "eve@ops", at(2))


def test_several_held_hosts_are_counted(catalog: Catalog) -> None:
    """The message stays one line, however many hosts are held."""
    catalog.claim([host(f"rig-{n:03d}") for n in range(9)], FIRST, "ada@ops", at(0))
    with pytest.raises(LockedError, match="holds rig-000 and 8 more of these hosts"):
        catalog.claim([host(f"rig-{n:03d}") for n in range(20)], SECOND, "bob@ops", at(1))


def test_same_name_elsewhere_is_another_host(catalog: Catalog) -> None:
    """A lease is on name and address together: two sites may both have a rig-001."""
    catalog.claim([host("rig-001", "10.0.0.1")], FIRST, "ada@ops", at(0))
    catalog.claim([host("rig-001", "10.9.9.9")], SECOND, "bob@ops", at(0))


def test_claiming_again_and_releasing(catalog: Catalog) -> None:
    """A rollout may claim what it holds, and gives back what it does not need."""
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    catalog.release(FIRST)
    catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))
    catalog.claim([], RolloutId("none"), "bob@ops", at(1))


def claimed_by(path: Path, process: ProcessIdentity) -> None:
    """Make the standing lease one of ``process``."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE leases SET machine = ?, boot_id = ?, pid = ?, process_started = ?",
            (process.machine, process.boot_id, process.pid, process.started),
        )


HERE = ProcessIdentity.current()
LIVING = [pytest.param(replace(HERE, machine="elsewhere/1"), 599, id="other-machine")]
DEAD = [
    pytest.param(replace(HERE, boot_id="another"), 0, id="another-boot"),
    pytest.param(replace(HERE, started="1"), 0, id="pid-used-again"),
    pytest.param(replace(HERE, pid=2**22 + 1), 0, id="no-such-process"),
    pytest.param(replace(HERE, machine="elsewhere/1"), 601, id="other-machine-expired"),
]


@pytest.mark.parametrize(("process", "later_s"), DEAD)
def test_lease_of_a_dead_process_is_void(
    catalog: Catalog, path: Path, clock: ManualClock, process: ProcessIdentity, later_s: int
) -> None:
    """What a process held that is gone, or not heard of for long, can be taken."""
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    claimed_by(path, process)
    clock.advance(later_s)
    catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))


@pytest.mark.parametrize(("process", "later_s"), [*LIVING, pytest.param(HERE, 10_000, id="this-machine")])
def test_lease_of_a_living_process_holds(
    catalog: Catalog, path: Path, clock: ManualClock, process: ProcessIdentity, later_s: int
) -> None:
    """A process that lives keeps its hosts, however long it takes; one elsewhere until its lease expires."""
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    claimed_by(path, process)
    clock.advance(later_s)
    with pytest.raises(LockedError):
        catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))


def test_renewed_lease_holds_longer(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """A renewal counts from when it is made."""
    number = catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    clock.advance(500)
    assert catalog.renew([host("rig-001")], number) is None
    claimed_by(path, replace(HERE, machine="elsewhere/1"))
    clock.advance(500)
    with pytest.raises(LockedError):
        catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))


async def slept(clock: ManualClock, times: int) -> None:
    """Let the others run until somebody has slept so often."""
    while len(clock.slept) < times:  # noqa: ASYNC110  the clock is moved by those who sleep
        await asyncio.sleep(0)


async def test_lease_is_renewed_and_given_back(catalog: Catalog, clock: ManualClock) -> None:
    """For the length of a block the hosts are held; afterwards they are free."""
    async with catalog.lease([host("rig-001")], FIRST, "ada@ops", never_lost):
        with pytest.raises(LockedError):
            catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))
        await slept(clock, 2)
    catalog.claim([host("rig-001")], SECOND, "bob@ops", at(1))
    assert clock.slept[:2] == [60, 60]


async def test_lease_outlives_a_broken_catalog(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """A catalog that breaks while a rollout runs does not stop it, as long as the lease lasts."""
    lost: list[LockedError] = []
    async with catalog.lease([host("rig-001")], FIRST, "ada@ops", lost.append) as lease:
        await asyncio.to_thread(execute, path, "DROP TABLE leases")
        await slept(clock, 9)
        await lease.check()
        assert lost == []
        await slept(clock, 10)
        while not lost:  # noqa: ASYNC110  it is told by another thread's answer
            await asyncio.sleep(0)
        [error] = lost
        assert (error.code, "could not be renewed: the catalog" in error.message) == ("lease_lost", True)
    with pytest.raises(ConfigurationError):
        catalog.release(FIRST)


async def test_lease_that_is_refused(catalog: Catalog) -> None:
    """A block whose hosts are held by another is not entered."""
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    with pytest.raises(LockedError):
        async with catalog.lease([host("rig-001")], SECOND, "bob@ops", never_lost):
            raise AssertionError


def taken_over(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """Let another rollout take what a process on another machine held that slept."""
    claimed_by(path, replace(HERE, machine="elsewhere/1"))
    clock.advance(601)
    catalog.claim([host("rig-001"), host("rig-002")], SECOND, "bob@ops", at(9))


def test_claims_have_numbers_that_grow(path: Path, clock: ManualClock) -> None:
    """Also after all leases are gone, and in a catalog that was put back from a copy of before; each catalog has a name of its own."""
    numbers = []
    for _ in range(3):
        with Catalog.open(path, clock) as catalog:
            numbers.append(catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0)))
            catalog.release(FIRST)
    assert [number.number - numbers[0].number for number in numbers] == [0, 1, 2]
    clock.advance(100)
    execute(path, "UPDATE fencing SET number = 1")
    with Catalog.open(path, clock) as catalog:
        later = catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    with Catalog.open(path.with_name("other.sqlite"), clock) as other:
        foreign = other.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    assert later.number > numbers[-1].number
    assert {each.catalog for each in numbers} == {later.catalog} != {foreign.catalog}
    assert str(later) == f"{later.catalog}.{later.number}"


def test_lease_that_was_taken_over_is_lost(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """It names who has the hosts now, is not renewed, and takes nothing from the other."""
    mine = [host("rig-001"), host("rig-002"), host("rig-003")]
    number = catalog.claim(mine, FIRST, "ada@ops", at(0))
    assert catalog.loss(mine, number) is None
    taken_over(catalog, path, clock)
    for ask in (catalog.loss, catalog.renew):
        error = ask(mine, number)
        assert error is not None
        assert (error.code, error.exit_code) == ("lease_lost", 7)
        other = f"rollout {SECOND} of bob@ops, started {at(9)}"
        taken = "has taken over rig-001 and 1 more of these hosts, as the lease on them had run out"
        assert error.message == f"{other}, {taken}"
    with pytest.raises(LockedError, match="of bob@ops"):
        catalog.claim([host("rig-001")], FIRST, "ada@ops", at(10))


def test_lease_that_ran_out_is_lost(catalog: Catalog, clock: ManualClock) -> None:
    """Whether or not somebody had the hosts in between: who slept that long looks at them anew."""
    mine = [host("rig-001")]
    number = catalog.claim(mine, FIRST, "ada@ops", at(0))
    clock.advance(599)
    assert catalog.loss(mine, number) is None
    clock.advance(1)
    for ask in (catalog.loss, catalog.renew):
        error = ask(mine, number)
        assert error is not None
        assert (error.code, "nobody has them now" in error.message) == ("lease_lost", True)
    catalog.release(FIRST)
    assert catalog.loss(mine, number) is not None


def test_lease_that_was_taken_over_and_given_back_is_lost(
    catalog: Catalog, path: Path, clock: ManualClock
) -> None:
    """Who had the hosts meanwhile is named, by what the catalog has of rollouts since; not one that only looked."""
    mine = [host("rig-001"), host("rig-009")]
    number = catalog.claim(mine, FIRST, "ada@ops", at(0))
    claimed_by(path, replace(HERE, machine="elsewhere/1"))
    clock.advance(601)
    catalog.claim(mine, SECOND, "bob@ops", at(5))
    catalog.record(SECOND, numbered(started(SECOND), minute=5))
    catalog.record(THIRD, numbered(started(THIRD, is_check=True), minute=6))
    catalog.release(SECOND)
    error = catalog.loss(mine, number)
    assert error is not None
    assert error.message == (
        f"rollout {SECOND} of ada@ops, started {at(5)}, had rig-001 meanwhile, as the lease on them had run out; "
        "nobody has them now"
    )


class NoRenewal(ManualClock):
    """A clock by which no sleep ends."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.Event().wait()


async def test_lost_lease_is_told_when_it_is_looked_at(path: Path) -> None:
    """A process that slept finds it at the first look after; it is told once, and the other keeps the hosts."""
    lost: list[LockedError] = []
    clock = NoRenewal()
    catalog = Catalog.open(path, clock)
    async with catalog.lease([host("rig-001")], FIRST, "ada@ops", lost.append) as lease:
        assert lease.number.partition(".")[2].isdigit()
        await lease.require()
        await asyncio.to_thread(taken_over, catalog, path, clock)
        assert lost == []
        await lease.check()
        await lease.check()
        with pytest.raises(LockedError, match="of bob@ops") as caught:
            await lease.require()
        assert caught.value.code == "lease_lost"
    assert [error.message.split(",")[0] for error in lost] == [f"rollout {SECOND} of bob@ops"]
    with pytest.raises(LockedError, match="of bob@ops"):
        catalog.claim([host("rig-001")], RolloutId("third"), "eve@ops", at(10))
    catalog.close()


async def test_lost_lease_is_told_by_its_renewal(catalog: Catalog, path: Path, clock: ManualClock) -> None:
    """Without any host that is begun, too; it is not renewed any more then."""
    lost: list[LockedError] = []
    async with catalog.lease([host("rig-001")], FIRST, "ada@ops", lost.append):
        await asyncio.to_thread(taken_over, catalog, path, clock)
        while not lost:  # noqa: ASYNC110  the clock is moved by those who sleep
            await asyncio.sleep(0)
        sleeps = len(clock.slept)
        for _ in range(20):
            await asyncio.sleep(0.001)
    assert (len(lost), len(clock.slept)) == (1, sleeps)


def never_lost(error: LockedError) -> None:
    raise AssertionError(error)


CLAIM = """
import sys
from pathlib import Path
from ionetctl.history.catalog import Catalog
from ionetctl.core.errors import LockedError
from ionetctl.core.model.host import Host
from tests.support import streams
from tests.support.clock import ManualClock
catalog = Catalog.open(Path(sys.argv[1]), ManualClock())
sys.stdin.readline()
try:
    catalog.claim([Host(f"rig-{n:03d}", "10.0.0.1", "eu", "d") for n in range(500)], sys.argv[2], "ada@ops", "t")
    print("held", flush=True)
except LockedError:
    print("locked", flush=True)
sys.stdin.read()
"""


def test_two_processes_claim_the_same_hosts(path: Path, clock: ManualClock) -> None:
    """Of processes that claim at once exactly one gets the hosts; when it is killed, they are free."""
    command = [sys.executable, "-c", CLAIM, str(path)]
    rivals = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two", "three")
    ]
    try:
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        answers = [rival.stdout.readline() for rival in rivals if rival.stdout is not None]
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()
    with Catalog.open(path, clock) as catalog:
        catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    assert sorted(answers) == ["held\n", "locked\n", "locked\n"]


def test_claims_at_once_have_numbers_of_their_own(path: Path, clock: ManualClock) -> None:
    """Of other hosts, too: where one has hosts of another's expired lease, the lower number must be refused."""
    Catalog.open(path, clock).close()

    def claim(number: int) -> Grant:
        with Catalog.open(path, clock) as catalog:
            return catalog.claim([host(f"rig-{number:03d}")], RolloutId(f"r{number}"), "ada@ops", at(0))

    with ThreadPoolExecutor(8) as rivals:
        grants = list(rivals.map(claim, range(24)))
    assert len({grant.number for grant in grants}) == len(grants)
    assert len({grant.catalog for grant in grants}) == 1


def test_claim_is_the_only_one_where_writers_are_concurrent(catalog: Catalog) -> None:
    """SQLite has one writer; on PostgreSQL a claim locks a row before it reads anything, so that the next reads what it wrote."""
    said: list[str] = []
    dialect = sqlalchemy.make_url("postgresql://").get_dialect()()

    def note(_connection: object, statement: ClauseElement, *_: object) -> None:
        said.append(" ".join(str(statement.compile(dialect=dialect)).split()))

    sqlalchemy.event.listen(catalog._engine, "before_execute", note)
    catalog.claim([host("rig-001")], FIRST, "ada@ops", at(0))
    assert said[0] == "SELECT schema_version.version FROM schema_version FOR UPDATE"
    assert any(statement.startswith("SELECT fencing") for statement in said[1:])


def test_process_tells_itself_from_others() -> None:
    """This process lives, and one that never was does not."""
    assert (HERE.is_alive(), replace(HERE, pid=2**22 + 1).is_alive()) == (True, False)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another")
def test_process_of_another_user_lives() -> None:
    """A process that we may not signal is there all the same."""
    first = replace(HERE, pid=1, started=_started(1))
    os.seteuid(65534)
    try:
        is_alive = first.is_alive()
    finally:
        os.seteuid(0)
    assert is_alive is True


def installed(stamp: str, replaces: str | None = None, host: str = "rig-001") -> events.HostInstalled:
    found = Installed(files=(), links={}, architecture="x86_64", os_id=stamp)
    return events.HostInstalled(
        host=HostName(host), region=EU, stamp=stamp, replaces=replaces, installed=found
    )


RIG = EU, HostName("rig-001")


def lying(catalog: Catalog) -> list[str]:
    """The stamps by which it is known what lies on the host."""
    texts = catalog.installations({RIG}).texts.get(RIG, ())
    found = sorted(stamp for _, _, stamp in catalog.installed())
    assert found == sorted(texts)
    return found


def test_all_that_words_may_have_brought_is_kept_until_one_is_confirmed(catalog: Catalog) -> None:
    """A word may be carried out after its controller was killed and another was sent; the clock may have been set back meanwhile."""
    catalog.record(SECOND, numbered(started(SECOND), installed("a"), installed("b", "a"), minute=30))
    catalog.record(FIRST, numbered(started(FIRST), installed("c", "a")))
    assert lying(catalog) == ["a", "b", "c"]
    catalog.record(THIRD, numbered(started(THIRD), installed("c"), minute=-30))
    assert lying(catalog) == ["c"]


@pytest.mark.parametrize(("replaces", "kept"), [("a", "acdef"), ("e", "cdef")], ids=["first", "latest"])
def test_words_that_nobody_confirms_do_not_pile_up(catalog: Catalog, replaces: str, kept: str) -> None:
    """The last few are kept, and what the host had when the last was sent."""
    sent = [installed(stamp, "a") for stamp in "bcde"]
    catalog.record(FIRST, numbered(started(), installed("a"), *sent, installed("f", replaces)))
    assert lying(catalog) == list(kept)


def test_record_of_a_host_is_read_by_its_stamp(catalog: Catalog) -> None:
    """Nothing for another stamp or host; of one stamp the latest."""
    again = msgspec.structs.replace(
        installed("b", "b"), installed=Installed(files=(), links={}, architecture="x86_64", os_id="b2")
    )
    catalog.record(FIRST, numbered(started(), installed("a"), installed("b", "a"), again))
    found, rig = catalog.installations({RIG}), RIG[1]
    assert lying(catalog) == ["a", "b"]
    assert (found.knows(EU, rig), found.knows(US, rig)) == (True, False)
    kept = found.of(EU, rig, "b")
    assert kept is not None
    assert (kept.os_id, found.of(EU, rig, "c"), list(found.all_of(EU, rig))[1:]) == ("b2", None, [kept])


def test_only_the_chosen_hosts_are_kept_in_memory(catalog: Catalog) -> None:
    """A fleet's records are large, and an update may be of one host."""
    catalog.record(FIRST, numbered(started(), installed("a"), installed("b", host="rig-002")))
    assert [list(catalog.installations(chosen).texts) for chosen in ({RIG}, {(US, RIG[1])})] == [[RIG], []]


def test_node_has_the_stamp_of_its_update(catalog: Catalog) -> None:
    """Only of one that the region has confirmed: it runs with the new configuration."""
    catalog.record(
        FIRST, numbered(started(), surveyed("rig-001"), finished(entry("rig-001"), stamp="ab-one"))
    )
    update = msgspec.structs.replace(started(SECOND), action="update")
    lost = finished(entry("rig-001"), Result.UNVERIFIED, stamp="ab-two")
    catalog.record(SECOND, numbered(update, lost, minute=5))
    assert [node.stamp for node in catalog.nodes()] == ["ab-one"]
    again = msgspec.structs.replace(started(THIRD), action="update")
    done = finished(entry("rig-001"), Result.DONE, stamp="ab-three")
    catalog.record(THIRD, numbered(again, done, minute=10))
    assert [(node.stamp, node.machine_id) for node in catalog.nodes()] == [("ab-three", "m-1")]
