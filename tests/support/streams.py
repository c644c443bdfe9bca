"""Recorded-looking event streams: what a rollout of any size says, with the endings that a test asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ionetctl.core import events
from ionetctl.core.events import AnyEvent, Envelope, HostEntry
from ionetctl.core.model.names import HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.core.model.plan import Action, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROLLOUT = RolloutId("20260301T120000Z-7f3a")
REGION = RegionName("eu-north")
STAMP = "b1946ac9-1"
CHANGES = (
    Change(Action.CREATE, "/etc/nomad.d/nomad.hcl", "not there"),
    Change(Action.CREATE, "/opt/nomad/releases/2.0.5/nomad", "not there"),
    Change(Action.RESTART, "nomad.service", "its configuration changes"),
)

GPU_MISSING = Problem(
    "gpu_count_mismatch", "survey", "7 GPUs seen, 8 promised", "reseat the card or correct the inventory", 5
)
TIMEOUT = Problem(
    "connect_timeout", "survey", "10.20.1.14:22 did not answer within 10 s", "is it switched on?", 4
)
UNCONFIRMED = Problem("node_not_confirmed", "confirm", "the region does not show the node", "see its log", 8)
FOREIGN_KEY = Problem(
    "host_key_changed", "survey", "another host key than the one pinned", "check the host", 6
)


def host_name(index: int) -> HostName:
    """The name of the ``index``-th host, counted from 0: 16 to a rack."""
    return HostName(f"rey1-a{index // 16 + 1:02d}-g{index % 16 + 1:02d}")


def entry(index: int, name: HostName | None = None) -> HostEntry:
    """The ``index``-th host as a rollout's first event lists it."""
    return HostEntry(
        name=name or host_name(index),
        address=f"10.20.{index // 200}.{index % 200 + 10}",
        region=REGION,
        datacenter="rey1",
        rack=f"a{index // 16 + 1:02d}",
        node_pool="gpu",
        gpus_expected=8,
        gpu_model="rtx-4090",
    )


def outcome(host: HostEntry, result: Result = Result.ENROLLED, problem: Problem | None = None) -> Outcome:
    """How ``host`` ended."""
    is_there = result in {Result.ENROLLED, Result.UNCHANGED}
    return Outcome(
        host=host.name,
        address=host.address,
        region=host.region,
        datacenter=host.datacenter,
        result=result,
        node_id=NodeId(f"node-{host.name}") if is_there else None,
        gpus_expected=host.gpus_expected,
        gpus_seen=8 if is_there else 7,
        duration_s=4.25,
        attempts=1,
        problem=problem,
    )


@dataclass
class Stream:
    """Numbers and times events, ``step_s`` apart."""

    step_s: float = 0.05
    now: datetime = START
    seq: int = 0

    def say(self, event: AnyEvent, after_s: float | None = None) -> Envelope:
        """The event in its envelope, ``after_s`` seconds after the one before."""
        self.now += timedelta(seconds=self.step_s if after_s is None else after_s)
        self.seq += 1
        return Envelope(self.seq, self.now.isoformat().replace("+00:00", "Z"), event)


@dataclass
class Rollout:
    """A rollout of ``hosts`` hosts that says what a real one does.

    ``problems`` (by host index) end hosts otherwise than well: in the survey where the problem's step says so, else
    in their wave. ``unchanged`` hosts end after the plan. ``names`` replace host names.
    """

    hosts: int = 20
    problems: Mapping[int, Problem] = field(default_factory=dict)
    unchanged: frozenset[int] = frozenset()
    names: Mapping[int, str] = field(default_factory=dict)
    batch: int = 10
    is_check: bool = False
    stop: events.RolloutStopped | None = None
    exit_code: int = 0
    findings: tuple[Finding, ...] = (
        Finding("xid_errors", Severity.WARN, "Xid 79 in the kernel log", "look"),
    )
    step_s: float = 0.05
    start: datetime = START

    def entries(self) -> list[HostEntry]:
        """The hosts as the first event lists them."""
        return [
            entry(index, HostName(self.names[index]) if index in self.names else None)
            for index in range(self.hosts)
        ]

    def play(self) -> list[Envelope]:
        """The whole stream."""
        return list(self.run())

    def run(self) -> Iterator[Envelope]:
        """The stream, event by event."""
        say = Stream(self.step_s, self.start).say
        entries = self.entries()
        yield say(self._started(entries))
        yield say(events.RegionChecked(region=REGION, server_version="2.0.5", enforcement="strict"))
        ready: list[int] = []
        for index, host in enumerate(entries):
            for event in self._survey(index, host, ready):
                yield say(event)
        if not self.is_check:
            yield from self._waves(say, entries, ready)
        if self.stop is not None:
            yield say(self.stop)
        yield say(events.RolloutFinished(exit_code=self.exit_code))

    def _started(self, entries: Sequence[HostEntry]) -> AnyEvent:
        return events.RolloutStarted(
            rollout=ROLLOUT,
            inventory="site/inventory.yaml",
            inventory_digest="0" * 64,
            owner="ops@controller",
            version="0.1.0",
            hosts=tuple(entries),
            regions=(),
            is_check=self.is_check,
        )

    def _survey(self, index: int, host: HostEntry, ready: list[int]) -> Iterator[AnyEvent]:
        problem = self.problems.get(index)
        yield events.StepStarted(host=host.name, step="survey", attempt=1)
        if problem is not None and problem.step == "survey":
            yield events.HostFinished(host=host.name, outcome=outcome(host, _result(problem), problem))
            return
        yield events.HostSurveyed(
            host=host.name,
            os="ubuntu 24.04",
            architecture="x86_64",
            gpus_seen=8,
            machine_id=f"machine-{index}",
            node_id=None,
            findings=self.findings,
        )
        yield events.StepFinished(host=host.name, step="survey", attempt=1, duration_s=0.8)
        changes = () if index in self.unchanged else CHANGES
        yield events.HostPlanned(host=host.name, changes=changes, stamp=STAMP)
        if index in self.unchanged:
            yield events.HostFinished(host=host.name, outcome=outcome(host, Result.UNCHANGED))
        elif self.is_check:
            yield events.HostFinished(host=host.name, outcome=outcome(host, Result.SKIPPED))
        else:
            ready.append(index)

    def _waves(
        self, say: Callable[[AnyEvent], Envelope], entries: Sequence[HostEntry], ready: Sequence[int]
    ) -> Iterator[Envelope]:
        waves = [ready[:1], *(ready[at : at + self.batch] for at in range(1, len(ready), self.batch))]
        for number, wave in enumerate(waves, start=1):
            names = tuple(entries[index].name for index in wave)
            yield say(events.WaveStarted(index=number, of=len(waves), hosts=names, is_canary=number == 1))
            failed = 0
            for index in wave:
                failed += index in self.problems
                for event in self._apply(index, entries[index]):
                    yield say(event)
            yield say(events.WaveFinished(index=number, of=len(waves), failed=failed))

    def _apply(self, index: int, host: HostEntry) -> Iterator[AnyEvent]:
        problem = self.problems.get(index)
        yield events.StepStarted(host=host.name, step="apply", attempt=1)
        yield events.StepStarted(host=host.name, step="apply", attempt=1, detail="install")
        if problem is not None and problem.step == "apply":
            yield events.HostFinished(host=host.name, outcome=outcome(host, _result(problem), problem))
            return
        yield events.StepFinished(host=host.name, step="apply", attempt=1, duration_s=2.5)
        yield events.StepStarted(host=host.name, step="confirm", attempt=1)
        if problem is not None:
            yield events.HostFinished(host=host.name, outcome=outcome(host, _result(problem), problem))
            return
        yield events.HostConfirmed(
            host=host.name, node_id=NodeId(f"node-{host.name}"), stamp=STAMP, gpus_seen=8
        )
        yield events.StepFinished(host=host.name, step="confirm", attempt=1, duration_s=1.0)
        yield events.HostFinished(host=host.name, outcome=outcome(host), rack=host.rack, stamp=STAMP)


def _result(problem: Problem) -> Result:
    return {4: Result.UNREACHABLE, 8: Result.UNVERIFIED}.get(problem.exit_code, Result.FAILED)
