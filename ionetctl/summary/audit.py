"""What an auditor asks of a rollout: who ran what, whom it trusted, what it brought to which hosts. Events in, records out; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from ionetctl.core import host_paths
from ionetctl.core.events import (
    HostConfirmed,
    HostFinished,
    HostKeyAccepted,
    HostPlanned,
    HostPrepared,
    HostRebooting,
    KeyClosed,
    KeyClosing,
    RolloutFinished,
    RolloutResumed,
    RolloutStarted,
    SshOpened,
    StepFinished,
    StepStarted,
    TokenMinted,
)
from ionetctl.core.model.outcome import ENROLL, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.events import AnyEvent, Envelope
    from ionetctl.core.model.names import Digest, HostName, NodeId, RolloutId
    from ionetctl.core.model.outcome import Outcome, Problem
    from ionetctl.core.model.plan import Change

_PROGRAM_DIRS = (f"{host_paths.RELEASES_DIR}/", f"{host_paths.PLUGIN_DIR}/")
_INSTALLING = frozenset({"install", "switch", "start", "node"})
"""Parts of an apply, as the host reports them, in which its files and its service are changed."""
NOTHING_CHANGED = frozenset(
    {"abandoned", "config_invalid", "disk_full", "no_exec", "payload_corrupt", "read_only"}
    | {"wrong_architecture", "wrong_version"}
)
"""Errors by which a host says that it ended an apply; before it installs, nothing was changed then."""


class Extent(StrEnum):
    """What applies and preparations came to on a host, by what it reported."""

    CHANGED = "changed"
    FAILED = "failed"
    """They failed when something was being changed: an apply puts the old files back, and its error says where it could not."""
    UNKNOWN = "unknown"
    """They were sent, and nothing more was heard: only the host can show what was done."""


@dataclass(slots=True)
class Run:
    """One process that worked on the rollout; ``finished_at`` and ``exit_code`` are ``None`` where it was killed, or runs.

    ``version`` and ``inventory_digest`` are empty where an older version resumed.
    """

    started_at: str
    user: str
    machine: str
    version: str
    command: tuple[str, ...]
    inventory_digest: str
    finished_at: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class AcceptedKey:
    """A host key that the rollout trusted without having known it before, and by what."""

    time: str
    host: HostName | None
    known_as: str
    fingerprint: str
    trust: str = "accept_new"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A program or a package that was brought to so many hosts; ``path`` is a package's file name."""

    path: str
    digest: Digest
    hosts: int


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One change of a host's last plan; ``digest`` is that of the new file, where it was recorded."""

    action: str
    path: str
    reason: str
    digest: Digest | None


@dataclass(slots=True)
class ChangedHost:
    """A host that was changed, or may have been; ``began_at`` is when it first reported to be at it.

    ``changes`` are its plan, of which the host alone can show what was carried out, unless it was ``CHANGED`` and has no ``error``.
    ``tokens`` are the expiry times of the introduction tokens that were minted for it.
    """

    name: HostName
    address: str = ""
    region: str = ""
    began_at: str | None = None
    finished_at: str | None = None
    outcome: Result | None = None
    node_id: NodeId | None = None
    stamp: str = ""
    changes: tuple[PlannedChange, ...] = ()
    preparations: list[str] = field(default_factory=list)
    reboots: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    extent: Extent | None = None
    error: Problem | None = None
    access: list[str] = field(default_factory=list)
    """What became of its SSH, in order."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A rollout for its auditor; ``hosts`` are those that were changed or may have been, in the inventory's order."""

    rollout: RolloutId | None
    inventory: str
    is_check: bool
    runs: tuple[Run, ...]
    host_keys: tuple[AcceptedKey, ...]
    artifacts: tuple[Artifact, ...]
    hosts: tuple[ChangedHost, ...]


def audit(envelopes: Iterable[Envelope]) -> Audit:
    """The audit of a rollout's events."""
    fold = _Fold()
    for envelope in envelopes:
        fold.take(envelope)
    return fold.audit()


class _Fold:
    def __init__(self) -> None:
        self._started: RolloutStarted | None = None
        self._runs: list[Run] = []
        self._keys: list[AcceptedKey] = []
        self._hosts: dict[HostName, ChangedHost] = {}
        self._traces: dict[HostName, _Trace] = {}
        self._packages: dict[tuple[HostName, str, str], Digest] = {}

    def take(self, envelope: Envelope) -> None:
        match envelope.event:
            case RolloutStarted() as event:
                self._started = event
                self._begin(envelope.time, event)
                for entry in event.hosts:
                    self._hosts[entry.name] = ChangedHost(entry.name, entry.address, entry.region)
            case RolloutResumed() as event:
                self._begin(envelope.time, event)
            case RolloutFinished(exit_code=exit_code) if self._runs:
                self._runs[-1].finished_at, self._runs[-1].exit_code = envelope.time, exit_code
            case HostKeyAccepted(host=name, known_as=known_as, fingerprint=fingerprint):
                self._keys.append(AcceptedKey(envelope.time, name, known_as, fingerprint))
            case _:
                self._take_of_host(envelope)

    def _begin(self, time: str, event: RolloutStarted | RolloutResumed) -> None:
        user, _, machine = event.owner.partition("@")
        self._runs.append(Run(time, user, machine, event.version, event.command, event.inventory_digest))

    def _take_of_host(self, envelope: Envelope) -> None:
        name = envelope.event.host
        if name is None:
            return
        host = self._hosts.setdefault(name, ChangedHost(name))
        trace = self._traces.setdefault(name, _Trace(self._started is None or self._started.action == ENROLL))
        trace.take(envelope.event)
        if trace.is_open:
            host.began_at = host.began_at or envelope.time
        match envelope.event:
            case HostPlanned(changes=changes, digests=digests):
                host.changes = tuple(_planned(change, digests) for change in changes)
            case HostPrepared(preparation=preparation, detail=detail, digests=digests):
                self._packages.update(
                    {(name, preparation, package): digest for package, digest in digests.items()}
                )
                host.preparations.append(f"{preparation}: {detail}" if detail else preparation)
            case HostRebooting(reason=reason):
                host.reboots.append(reason)
            case TokenMinted(expires_at=expires_at):
                host.tokens.append(expires_at)
            case KeyClosing() | KeyClosed() | SshOpened():
                host.began_at = host.began_at or envelope.time
                host.access.append(_access(envelope.event))
            case HostConfirmed(stamp=stamp):
                host.stamp = stamp
            case HostFinished(outcome=outcome):
                host.finished_at, host.outcome, host.node_id = envelope.time, outcome.result, outcome.node_id
                host.region, host.error = outcome.region, outcome.problem
            case _:
                pass

    def audit(self) -> Audit:
        for name, trace in self._traces.items():
            self._hosts[name].extent = trace.extent
        hosts = tuple(host for host in self._hosts.values() if host.extent is not None)
        programs = Counter(
            (change.path, change.digest)
            for host in hosts
            for change in host.changes
            if change.digest is not None and change.path.startswith(_PROGRAM_DIRS)
        )
        programs.update((package, digest) for (_, _, package), digest in self._packages.items())
        started = self._started
        return Audit(
            rollout=started.rollout if started else None,
            inventory=started.inventory if started else "",
            is_check=bool(started and started.is_check),
            runs=tuple(self._runs),
            host_keys=tuple(self._keys),
            artifacts=tuple(Artifact(path, digest, n) for (path, digest), n in sorted(programs.items())),
            hosts=hosts,
        )


@dataclass(slots=True)
class _Trace:
    """What one host has reported of its applies and preparations.

    One is open from when the host has what it needs until its end is known; what was left open when another attempt began is
    ``lost``. A host that awaits its token changes nothing until it has one. Where nothing is enrolled, a node is changed by a call or
    two of its region's API as soon as the apply begins.
    """

    enrols: bool
    is_open: bool = False
    is_changing: bool = False
    was_changed: bool = False
    has_failed: bool = False
    is_lost: bool = False
    is_closing: bool = False
    """A key may have been taken away, from one file at least: no login has shown it."""

    def take(self, event: AnyEvent) -> None:
        match event:
            case StepStarted(step="apply", detail=""):
                self._close(is_lost=self.is_open)
                self.is_open = self.is_changing = not self.enrols
            case StepStarted(step="apply", detail="compress"):
                pass
            case StepStarted(step="apply", detail="receive"):
                self.is_open, self.is_changing = True, False
            case StepStarted(step="apply", detail=detail):
                self.is_open = detail != "token"
                self.is_changing = self.is_changing or detail in _INSTALLING
                self.was_changed = self.was_changed or detail == "finish"
            case StepStarted(step="prepare", detail=detail):
                self.is_open, self.is_changing = True, detail != "receive"
            case TokenMinted():
                self.is_open = True
            case HostPrepared() | HostRebooting():
                self.was_changed = True
            case StepFinished(step="apply"):
                self._close()
            case HostFinished(outcome=outcome):
                self._end(outcome)
            case _:
                self._take_closing(event)

    def _take_closing(self, event: AnyEvent) -> None:
        match event:
            case KeyClosing():
                self.is_closing = True
            case KeyClosed() | SshOpened(cause="still_open"):
                self.was_changed, self.is_closing = True, False
            case _:
                pass

    def _end(self, outcome: Outcome) -> None:
        code = outcome.problem.code if outcome.problem else ""
        if outcome.result is Result.DONE:
            self.was_changed = True
        elif outcome.result is Result.ENROLLED:
            self.was_changed = self.was_changed or self.is_open or self.is_lost
        elif outcome.result is Result.UNVERIFIED and self.is_changing:
            self.was_changed = True
        elif outcome.result is Result.FAILED and self.is_changing:
            self.has_failed = True
        else:
            self.is_lost = self.is_lost or (self.is_open and code not in NOTHING_CHANGED)
        self._close()

    def _close(self, *, is_lost: bool = False) -> None:
        self.is_lost = self.is_lost or is_lost
        self.is_open = self.is_changing = False

    @property
    def extent(self) -> Extent | None:
        if self.was_changed:
            return Extent.CHANGED
        if self.is_lost or self.is_open or self.is_closing:
            return Extent.UNKNOWN
        return Extent.FAILED if self.has_failed else None


def _access(event: KeyClosing | KeyClosed | SshOpened) -> str:
    if isinstance(event, KeyClosing):
        return f"the key of {event.account} is taken out of {', '.join(event.files)}"
    if isinstance(event, KeyClosed):
        return f"{event.fingerprint} is refused as {event.account}"
    return f"open, {event.cause}: {event.message}"


def _planned(change: Change, digests: dict[str, Digest]) -> PlannedChange:
    return PlannedChange(change.action.value, change.path, change.reason, digests.get(change.path))
