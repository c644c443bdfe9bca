"""Shows a rollout while it runs: its sinks, the prompt before hosts change, its result."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from ionetctl.cli.options import OutputFormat
from ionetctl.cli.output import CommandResult, failure_of
from ionetctl.core import event_loop
from ionetctl.core.errors import ExitCode, IonetctlError, UsageError
from ionetctl.core.events import encode
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.report.json import document
from ionetctl.summary.summary_fold import SummaryFold
from ionetctl.ui import phrases
from ionetctl.ui.console import can_redraw, print_lines
from ionetctl.ui.live.plain import PlainLines
from ionetctl.ui.live.stop_notice import StopNotice
from ionetctl.ui.live.terminal import LiveScreen
from ionetctl.ui.summary import (
    is_resumable,
    lines,
    overview_lines,
    placement_lines,
    plan_lines,
    resume_command,
)
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from rich.text import Text

    from ionetctl.cli.options import CommonOptions
    from ionetctl.cli.output import Display
    from ionetctl.core.events import Envelope
    from ionetctl.core.ports import Sink
    from ionetctl.core.settings import Settings
    from ionetctl.rollout.endings import PlanOverview
    from ionetctl.summary.rollout_summary import Summary


def can_ask(common: CommonOptions, settings: Settings) -> bool:
    """Whether a person can be asked: at a terminal, without ``--no-input``, not in CI."""
    streams = (sys.stdin, sys.stderr)
    is_attended = all(stream is not None and stream.isatty() for stream in streams)
    return is_attended and not (common.no_input or settings.is_ci)


def check_consent(common: CommonOptions, settings: Settings, inventory: str, limit: str | None) -> None:
    """Raise ``UsageError`` (``consent_needed``) if no person can be asked before hosts change.

    What is wrong with the inventory is raised first: consent to it would be of no use.
    """
    if inventory == "-" or not can_ask(common, settings):
        site = load_inventory(inventory)
        if limit is not None:
            select_hosts(site, limit)
        raise consent_needed()


def consent_needed() -> UsageError:
    """The error of a command that changes hosts where nobody can be asked."""
    return UsageError(
        "consent_needed",
        "this changes hosts, and nobody can be asked here",
        "add --yes to go ahead, or --check to see the plan alone",
    )


class SummarySink:
    """Folds a rollout's events into its summary."""

    def __init__(self) -> None:
        self.fold = SummaryFold()

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Add the events."""
        for envelope in envelopes:
            self.fold.take(envelope)

    async def close(self) -> None:
        """Do nothing: nothing is buffered."""


class NdjsonSink:
    """Streams events to standard output, one a line, as they happen.

    ``has_past`` says that the first batch is the past of a resumed rollout, which is not written again.
    """

    def __init__(self, display: Display, *, has_past: bool = False) -> None:
        self._display = display
        self._has_past = has_past

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Write the events; a slow reader holds up this sink alone."""
        is_past, self._has_past = self._has_past, False
        if is_past:
            return
        data = b"".join(encode(envelope) + b"\n" for envelope in envelopes)
        await self._display.write_aside(data)

    async def close(self) -> None:
        """Do nothing: nothing is buffered."""


class LinesSink:
    """Writes what happens to standard error, line by line."""

    def __init__(self, display: Display, verbosity: Verbosity, *, has_past: bool) -> None:
        self._display = display
        self._lines: list[str] = []
        self._plain = PlainLines(self._lines.append, verbosity, has_past=has_past)
        self.notice = StopNotice(self._lines.append, has_past=has_past)

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Write the lines of the events; a slow reader holds up this sink alone."""
        await self._plain.take(envelopes)
        await self.notice.take(envelopes)
        if self._lines:
            lines = list(self._lines)
            self._lines.clear()
            await self._display.message_aside(lines)

    async def close(self) -> None:
        """Do nothing: nothing is buffered."""


class RolloutDisplay:
    """Shows one rollout through the event sinks in ``sinks``.

    ``asks`` says that a person confirms the plan, ``has_past`` that the first batch is the past of a resumed rollout.
    """

    def __init__(self, display: Display, settings: Settings, *, asks: bool, has_past: bool = False) -> None:
        self._display = display
        self._asks = asks
        self._summary = SummarySink()
        self._screen = _screen(display, settings, has_past=has_past)
        self.sinks: tuple[Sink, ...] = (self._summary, self._screen)
        if display.common.output is OutputFormat.NDJSON:
            self.sinks += (NdjsonSink(display, has_past=has_past),)

    def run(self, rollout: Coroutine[Any, Any, ExitCode]) -> Summary:
        """Run the rollout and return its summary, which includes an ``IonetctlError``; any other exception is raised."""
        fold = self._summary.fold
        try:
            exit_code = event_loop.run(rollout)
        except (IonetctlError, BaseExceptionGroup, KeyboardInterrupt) as error:
            failure, exit_code = failure_of(error)
            if exit_code is ExitCode.BUG:
                raise
            summary = fold.summary(failure, exit_code)
        else:
            summary = fold.summary(exit_code=exit_code)
        finally:
            if isinstance(self._screen, LiveScreen) and (removal := self._screen.removal()):
                self._display.show_at_last(removal)
        self._show_rest(summary)
        return summary

    def _show_rest(self, summary: Summary) -> None:
        """Say what the summary does not: which hosts were given up, and how to go on where no person reads the summary."""
        if at_work := self._screen.notice.at_work:
            names = f"{phrases.hosts(len(at_work))}: {phrases.folded(at_work)}"
            self._display.message(f"given up while at work on {names}; running again completes them")
        if self._display.common.output is not OutputFormat.HUMAN and is_resumable(summary):
            self._display.message(f"to go on: {resume_command(summary)}")

    async def confirm(self, overview: PlanOverview) -> bool:
        """Whether the plan may be carried out. Shows the plan, what is left out and why, and asks, if a person confirms it."""
        if not self._asks:
            return True
        if isinstance(self._screen, LiveScreen):
            await self._screen.stop()
        try:
            await self._display.show_aside(self._question(overview))
            return (await read_line()).strip().lower() in {"y", "yes"}
        except asyncio.CancelledError:
            self._display.show_at_last("\n")
            raise

    def _question(self, overview: PlanOverview) -> str:
        err, summary = self._display.err, self._summary.fold.summary()
        with err.capture() as captured:
            print_lines(err, placement_lines(summary.placements))
            print_lines(err, plan_lines(summary.plans))
            print_lines(err, overview_lines(summary, overview.changing, err.width))
        return f"{captured.get()}Change {phrases.hosts(overview.changing)}? [y/N] "

    def result(
        self,
        summary: Summary,
        view: Callable[[Summary], Iterable[Text | str]] = lines,
        make_document: Callable[[Summary], dict[str, Any]] = document,
    ) -> CommandResult:
        """The rollout's result: ``view`` makes what people see, ``make_document`` what ``-o json`` writes."""
        return CommandResult(
            document=make_document(summary),
            view=lambda: () if self._is_silent(summary) else view(summary),
            exit_code=summary.exit_code,
            failure=summary.error,
        )

    def _is_silent(self, summary: Summary) -> bool:
        is_success = summary.exit_code in {ExitCode.OK, ExitCode.CHANGES}
        return is_success and self._display.common.verbosity is Verbosity.QUIET


async def read_line() -> str:
    """A line from the terminal, empty at end of file. Uses no thread: one would keep running after a signal."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not answer.done():
            answer.set_result(os.read(descriptor, 1024).decode(errors="replace"))

    loop.add_reader(descriptor, read)
    try:
        return await answer
    finally:
        loop.remove_reader(descriptor)


def _screen(display: Display, settings: Settings, *, has_past: bool) -> LiveScreen | LinesSink:
    verbosity = display.common.verbosity
    if verbosity > Verbosity.QUIET and not settings.is_ci and can_redraw(display.err):
        return LiveScreen(display.err, display.show_aside, verbosity, has_past=has_past)
    return LinesSink(display, verbosity, has_past=has_past)
