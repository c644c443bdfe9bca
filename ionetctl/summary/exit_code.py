"""The exit code of a rollout, from its hosts' outcomes and the reason why it stopped. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode, worst
from ionetctl.core.model.outcome import Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.model.outcome import Outcome

STOP_CODES: Final[dict[str, ExitCode]] = {
    "interrupted": ExitCode.INTERRUPTED,
    "terminated": ExitCode.TERMINATED,
    "hangup": ExitCode.HANGUP,
    "declined": ExitCode.USAGE,
    "lease_lost": ExitCode.LOCKED,
    "canary_unverified": ExitCode.UNVERIFIED,
    "too_many_unverified": ExitCode.UNVERIFIED,
    "journal_broken": ExitCode.UNWRITABLE,
}
"""The exit code for a ``RolloutStopped.code``, or for a journal that broke; ``ExitCode.STOPPED`` for any other."""

_OUTRANKING: Final = frozenset({ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.HANGUP, ExitCode.USAGE})
"""Stops whose exit code is used whatever the hosts' outcomes are."""

_RESULT_CODES: Final[dict[Result, ExitCode]] = {
    Result.FAILED: ExitCode.FAILED,
    Result.UNREACHABLE: ExitCode.UNREACHABLE,
    Result.UNVERIFIED: ExitCode.UNVERIFIED,
}


def decide_exit_code(
    outcomes: Iterable[Outcome], stop_code: str | None, *, has_planned_changes: bool
) -> ExitCode:
    """The exit code of the whole rollout: that of a signal, else the worst of hosts and stop, else 9 for a check with changes."""
    codes = {_exit_code(outcome) for outcome in outcomes}
    if stop_code is not None:
        stop = STOP_CODES.get(stop_code, ExitCode.STOPPED)
        if stop in _OUTRANKING:
            return stop
        codes.add(stop)
    code = worst(codes)
    if code is ExitCode.OK and has_planned_changes:
        return ExitCode.CHANGES
    return code


def _exit_code(outcome: Outcome) -> ExitCode:
    if outcome.problem is not None:
        return ExitCode(outcome.problem.exit_code)
    return _RESULT_CODES.get(outcome.result, ExitCode.OK)
