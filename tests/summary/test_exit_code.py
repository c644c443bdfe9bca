"""The exit code that outcomes and stops add up to."""

from __future__ import annotations

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.outcome import Problem, Result
from ionetctl.summary.exit_code import decide_exit_code
from tests.support import streams
from tests.support.streams import FOREIGN_KEY, GPU_MISSING, TIMEOUT, UNCONFIRMED


@pytest.mark.parametrize(
    ("problems", "stop", "changes", "expected"),
    [
        ([], None, False, ExitCode.OK),
        ([], None, True, ExitCode.CHANGES),
        ([TIMEOUT], None, True, ExitCode.UNREACHABLE),
        ([TIMEOUT, UNCONFIRMED], None, False, ExitCode.UNVERIFIED),
        ([UNCONFIRMED, GPU_MISSING], None, False, ExitCode.FAILED),
        ([GPU_MISSING], "too_many_failures", False, ExitCode.STOPPED),
        ([GPU_MISSING, FOREIGN_KEY], "too_many_failures", False, ExitCode.TRUST),
        ([GPU_MISSING], "something_new", False, ExitCode.STOPPED),
        ([GPU_MISSING], "journal_broken", False, ExitCode.UNWRITABLE),
        ([GPU_MISSING, FOREIGN_KEY], "journal_broken", False, ExitCode.TRUST),
        ([UNCONFIRMED], "canary_unverified", False, ExitCode.UNVERIFIED),
        ([FOREIGN_KEY], "interrupted", False, ExitCode.INTERRUPTED),
        ([], "terminated", False, ExitCode.TERMINATED),
        ([], "hangup", False, ExitCode.HANGUP),
        ([], "declined", False, ExitCode.USAGE),
    ],
)
def test_exit_code_is_the_worst_one(
    problems: list[Problem], stop: str | None, *, changes: bool, expected: ExitCode
) -> None:
    """The order is the contract's: 6, 11, 10, 7, 5, 8, 4, then 9 for a check; a signal outranks them all."""
    outcomes = [streams.outcome(streams.entry(0), Result.FAILED, problem) for problem in problems]
    assert decide_exit_code(outcomes, stop, has_planned_changes=changes) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result.FAILED, ExitCode.FAILED),
        (Result.UNREACHABLE, ExitCode.UNREACHABLE),
        (Result.UNVERIFIED, ExitCode.UNVERIFIED),
        (Result.SKIPPED, ExitCode.OK),
    ],
)
def test_failure_without_a_reason_is_no_success(result: Result, expected: ExitCode) -> None:
    """A host that did not make it earns its code even where nobody said why."""
    outcome = streams.outcome(streams.entry(0), result)
    assert decide_exit_code([outcome], None, has_planned_changes=False) == expected
