"""What a check found on a host, and how a host ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ionetctl.core.model.names import HostName, NodeId, RegionName


class Severity(StrEnum):
    """How much a finding weighs."""

    WAIVED = "waived"
    """The site knows of it and said why it does not matter."""
    INFO = "info"
    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the survey shows that an admin should know; ``BLOCK`` keeps the host from being touched.

    ``exit_code`` is what a blocking finding earns its host. Where the inventory changed the severity, ``declared`` is
    the check's own and ``reason`` the site's words.
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
    UNCHANGED = "unchanged"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a host did not make it, and where it happened. ``exit_code`` is the one this problem earns."""

    code: str
    step: str
    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one host ended. Durations in seconds; ``gpus_seen`` ``None`` when nobody could say."""

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
    """The one that the region shows, where it confirmed the host."""
