"""All errors, as one tree, and the exit code of each kind.

    IonetctlError
    ├── UsageError                 exit 2   the command line cannot be carried out
    ├── ConfigurationError         exit 3   inventory, settings, templates, artifacts, catalog; no host touched
    ├── TrustError                 exit 6   a host key, certificate, signature or checksum does not match
    ├── RegionError                exit 8   a region's API refused or did not answer
    ├── LockedError                exit 7   another rollout holds these hosts
    ├── UnwritableError            exit 11  records, a report or standard output cannot be written any more
    └── HostError                           an error of one host; becomes an Outcome
        ├── HostUnreachableError   exit 4   no connection, or it was lost
        ├── HostFailedError        exit 5   the host refused, or a program on it failed
        ├── HostTrustError         exit 6   its key is unknown or another one
        ├── HostLockedError        exit 7   another rollout is changing it
        └── HostUnverifiedError    exit 8   installed, but the region does not confirm it

Adapters translate foreign exceptions into these, and nobody else does. A code is stable snake_case that users
may match in their own scripts; a message says what and where, a hint what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes that the contract fixes."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    FAILED = 5
    TRUST = 6
    LOCKED = 7
    UNVERIFIED = 8
    CHANGES = 9
    STOPPED = 10
    UNWRITABLE = 11
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def _missing_(cls, _: object) -> ExitCode:
        """A number in a record that is none of these counts as a bug."""
        return cls.BUG


WORST_FIRST: tuple[ExitCode, ...] = (
    ExitCode.TRUST,
    ExitCode.UNWRITABLE,
    ExitCode.STOPPED,
    ExitCode.LOCKED,
    ExitCode.FAILED,
    ExitCode.UNVERIFIED,
    ExitCode.UNREACHABLE,
)
"""The order in which a rollout takes its exit code from its hosts' (6, then 11, 10, 7, 5, 8, 4)."""


def worst(codes: set[ExitCode]) -> ExitCode:
    """The exit code for hosts with ``codes``; 0 where none of them is a failure."""
    return next((code for code in WORST_FIRST if code in codes), ExitCode.OK)


class IonetctlError(Exception):
    """An expected error with a code, as opposed to a bug in ionetctl."""

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[IonetctlError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.hint)


class UsageError(IonetctlError):
    """The command line asks for something that cannot be done."""

    exit_code = ExitCode.USAGE


class ConfigurationError(IonetctlError):
    """Inventory, settings, templates or artifacts are wrong; no host was changed."""

    exit_code = ExitCode.CONFIGURATION


class TrustError(IonetctlError):
    """A key, certificate, signature or digest does not match."""

    exit_code = ExitCode.TRUST


class RegionError(IonetctlError):
    """A region's API refused, gave an invalid answer, or did not answer within the retries."""

    exit_code = ExitCode.UNVERIFIED


class LockedError(IonetctlError):
    """Another rollout holds the hosts; the message names its owner and start."""

    exit_code = ExitCode.LOCKED


class UnwritableError(IonetctlError):
    """The records, a report or standard output can no longer be written; hosts may have been changed before."""

    exit_code = ExitCode.UNWRITABLE


class HostError(IonetctlError):
    """An error of one host.

    ``transient``: the step may succeed when it is retried; never set where authentication was refused. ``step`` is set
    where the error belongs to another step than the one that its caller carries out.
    """

    exit_code = ExitCode.FAILED
    step: str = ""

    def __init__(self, code: str, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(code, message, hint)
        self.transient = transient

    def __reduce__(self) -> tuple[type[HostError], tuple[str, str, str], dict[str, object]]:  # type: ignore[override]
        state = {"transient": self.transient, "step": self.step}
        return type(self), (self.code, self.message, self.hint), state


class HostUnreachableError(HostError):
    """The host could not be connected to, or the connection was lost."""

    exit_code = ExitCode.UNREACHABLE


class HostFailedError(HostError):
    """The host refused, or a program on it failed."""

    exit_code = ExitCode.FAILED


class HostTrustError(HostError):
    """The host's key is unknown, revoked, or not the pinned one."""

    exit_code = ExitCode.TRUST


class HostLockedError(HostError):
    """Another rollout is changing this host."""

    exit_code = ExitCode.LOCKED


class HostUnverifiedError(HostError):
    """Everything is installed, but the region does not confirm the node."""

    exit_code = ExitCode.UNVERIFIED


def most_serious(error: BaseException) -> BaseException:
    """The exception to report of a group: a bug before an ``IonetctlError``, since it may have caused the others."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [most_serious(each) for each in error.exceptions]
    return next((leaf for leaf in leaves if not isinstance(leaf, IonetctlError)), leaves[0])
