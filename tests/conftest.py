"""What all tests share: their order, limits of generated cases, and closing lines that name what was not tested here, and why."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hypothesis
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter
    from xdist.remote import Producer

# How long a generated case takes says how busy the machine is.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

LONGEST_FIRST: Final = (
    *("e2e/test_mining.py", "e2e/test_bare_machine.py", "e2e/test_enrolment.py", "e2e"),
    *("rehearsal/test_modelled.py", "rehearsal", "lab", "remote", "ssh", "cli", "nomad"),
)
"""Files and folders by the time that a file takes, those that wait longest at the very beginning; all others take seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: a long file that begins last would keep one worker busy when all others have ended."""
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    place = path.relative_to(Path(__file__).parent)
    return next(
        (rank for rank, part in enumerate(LONGEST_FIRST) if place.is_relative_to(part)), len(LONGEST_FIRST)
    )


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole files to workers, and all that boot guests to one: a guest takes a dozen inotify instances, and a user has 128."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        is_guests = file.startswith("tests/e2e/") and not file.endswith("test_bare_machine.py")
        return "tests/e2e" if is_guests else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """See ``ByFile``."""
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how many tests were skipped for which reason: a skipped test proves nothing."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"NOT TESTED HERE: {count} tests: {reason}", yellow=True)
    if not reasons:
        terminalreporter.write_line("no test was skipped", green=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    return where[2].removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)
