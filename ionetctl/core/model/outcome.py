"""Findings of checks, and the outcome of a host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName, NodeId, RegionName


class Severity(StrEnum):
    """The severity of a finding."""

    WAIVED = "waived"
    """Waived in the inventory, with a reason."""
    INFO = "info"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's result that an admin should know; with ``BLOCK`` the host is not changed.

    ``exit_code`` is that of a host with the finding, where it blocks. Where the inventory changed the severity,
    ``declared`` is the check's own and ``reason`` the inventory's reason.
    """

    code: str
    severity: Severity
    message: str
    hint: str
    exit_code: int = 5
    declared: Severity | None = None
    reason: str = ""


class Result(StrEnum):
    """The outcomes that the contract names."""

    ENROLLED = "enrolled"
    DONE = "done"
    """As ``ENROLLED``, of a change of a node that is no enrolment."""
    UNCHANGED = "unchanged"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"
    SKIPPED = "skipped"


ENROLL: Final = "enroll"
"""The action of a rollout that enrols hosts; others change nodes through Nomad."""
UPDATE: Final = "update"
"""The action of one that changes enrolled hosts through Nomad as an enrolment would."""


def results_of(action: str) -> tuple[Result, ...]:
    """The results that a host of such a rollout can have, in the contract's order."""
    other = Result.DONE if action == ENROLL else Result.ENROLLED
    return tuple(result for result in Result if result is not other)


REGION_STEP: Final = "region"
"""The step of a problem that is the region's, not the host's."""
SURVEYED: Final = "surveyed"
"""The code under which a preflight skips a host that nothing keeps from being enrolled."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a host was not enrolled, and in which step. ``exit_code`` is that of the host."""

    code: str
    step: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one host. Durations in seconds.

    ``gpus_seen`` are the GPUs that the region shows, ``gpus_probed`` those that the latest probe found on the host;
    ``None`` where unknown.
    """

    host: HostName
    address: str
    region: RegionName
    datacenter: str
    result: Result
    node_id: NodeId | None = None
    gpus_expected: int | None = None
    gpus_seen: int | None = None
    duration_s: float = 0.0
    attempts: int = 0
    problem: Problem | None = None
    stamp: str = ""
    """The stamp with which the node's agent runs, as soon as that is known, confirmed or not."""
    gpus_probed: int | None = None

    @property
    def gpus_counted(self) -> int | None:
        """The region's number of GPUs, or the probe's where the region has not shown any yet."""
        return self.gpus_probed if self.gpus_seen is None else self.gpus_seen

    @property
    def is_regions_fault(self) -> bool:
        """Whether the host is not done because its region cannot be worked with: that says nothing of the host."""
        return self.problem is not None and self.problem.step == REGION_STEP

    @property
    def is_no_verdict(self) -> bool:
        """Whether it says nothing of the plan: the region cannot be worked with, or another rollout has the host."""
        is_anothers = self.problem is not None and self.problem.exit_code == ExitCode.LOCKED
        return self.is_regions_fault or is_anothers
