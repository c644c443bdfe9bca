"""What was asked for: the options of one rollout, and the strategy by which it proceeds."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core.errors import UsageError
from ionetctl.core.model.outcome import ENROLL

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import Distribution

_RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([KMG]?)")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,7})(%?)")
_WHOLE: Final = 100

EngineName = Literal["auto", "inline", "processes"]


def parse_rate(text: str) -> int:
    """The bytes a second that ``--bwlimit`` means: ``500K``, ``50M``, ``1.5G``, in units of 1024 as rsync's.

    Raises ``UsageError`` (``rate_invalid``), for less than a byte a second too.
    """
    match = _RATE.fullmatch(text.strip().upper())
    rate = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if rate == 0:
        hint = "use bytes a second, or a number with K, M or G, like 50M"
        raise UsageError("rate_invalid", f"--bwlimit is {text!r}", hint)
    return rate


@dataclass(frozen=True, slots=True)
class Size:
    """A number of hosts, or a percentage of them."""

    value: int
    is_percentage: bool

    @classmethod
    def parse(cls, text: str, option: str) -> Size:
        """The size that ``text`` means (``12`` or ``10%``).

        Raises ``UsageError`` (``size_invalid``), naming ``option``.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None or (match[2] and int(match[1]) > _WHOLE):
            raise UsageError(
                "size_invalid", f"{option} is {text!r}", "use a number of hosts, or a percentage like 10%"
            )
        return cls(int(match[1]), bool(match[2]))

    def of(self, hosts: int) -> int:
        """How many of ``hosts`` that is; a percentage is rounded up, so that 5 % of a small fleet is not none."""
        return math.ceil(hosts * self.value / _WHOLE) if self.is_percentage else self.value

    def __str__(self) -> str:
        return f"{self.value}{'%' if self.is_percentage else ''}"


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a rollout proceeds. ``canary`` hosts go first, alone; 0 leaves them out."""

    canary: int = 1
    batch_size: Size = Size(10, is_percentage=True)
    max_failures: Size = Size(5, is_percentage=True)

    @classmethod
    def parse(cls, canary: int, batch_size: str, max_failures: str) -> Strategy:
        """The strategy of a command line. Raises ``UsageError`` (``size_invalid``)."""
        return cls(canary, Size.parse(batch_size, "--batch-size"), Size.parse(max_failures, "--max-failures"))


class Goal(StrEnum):
    """How far a rollout goes."""

    ENROLL = "enroll"
    """To its end: hosts are enrolled, or changed as its action says."""
    PLAN = "plan"
    """Up to the plan (``enroll --check``): nothing is changed."""
    SURVEY = "survey"
    """Up to the survey and its findings (``preflight``)."""


class RetryFailed(StrEnum):
    """What a resumed rollout does with the hosts that failed before."""

    LAST = "last"
    """They go after the others, and none of them as the canary."""
    ONLY = "only"
    """Only they are tried again (``--retry-failed``)."""
    NEVER = "never"
    """They are left out (``--skip-failed``)."""

    @classmethod
    def parse(cls, *, resume: bool, only: bool, never: bool) -> RetryFailed:
        """What a command line asks for. Raises ``UsageError`` (``options_exclusive``, ``failed_without_resume``)."""
        if only and never:
            message = "--retry-failed and --skip-failed exclude each other"
            raise UsageError(
                "options_exclusive", message, "give one of them, or none to try those hosts last"
            )
        if (only or never) and not resume:
            message = "--retry-failed and --skip-failed are about the hosts of an earlier run"
            raise UsageError("failed_without_resume", message, "add --resume")
        if only:
            return cls.ONLY
        return cls.NEVER if never else cls.LAST


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """The options of one rollout; ``command`` is the command line after the program's name, but for what names the rollout.

    ``workers`` processes do the work on hosts with the engine ``processes``; ``auto`` takes it for many hosts, and as many
    workers as there are cores. ``timeout_s`` bounds each step on a host, connecting to it included; ``bytes_per_s`` what is sent to all hosts together.
    """

    inventory: str
    limit: str | None = None
    goal: Goal = Goal.ENROLL
    with_diffs: bool = False
    strategy: Strategy = field(default_factory=Strategy)
    concurrency: int = 100
    engine: EngineName = "auto"
    workers: int | None = None
    bytes_per_s: int | None = None
    timeout_s: float = 120.0
    resume: bool = False
    rollout: str | None = None
    retry_failed: RetryFailed = RetryFailed.LAST
    takeover: bool = False
    lose_jobs: bool = False
    """Whether hosts are changed whose jobs are lost by it."""
    accept_new: bool = False
    rebootstrap: bool = False
    """Whether hosts whose SSH was closed are connected to."""
    artifacts: str | None = None
    distribution: Distribution | None = None
    """Instead of the inventory's."""
    action: str = ENROLL
    """What is done with the hosts."""
    details: tuple[str, ...] | None = None
    """Of a change of nodes what it does, as ``RolloutStarted`` has it."""
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ``UsageError`` (``rollout_without_resume``)."""
        if self.rollout is not None and not self.resume:
            raise UsageError("rollout_without_resume", "--rollout names what to resume", "add --resume")

    @property
    def changes_hosts(self) -> bool:
        """Whether hosts may be changed."""
        return self.goal is Goal.ENROLL
