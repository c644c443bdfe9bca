"""The live display on a terminal: one redrawn block, of the same size for five hosts and for five thousand.

Taking events does not draw; a task redraws at most four times a second, and less often when nothing happens. Texts are
never interpreted as markup.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.text import Text

from ionetctl.core.events import HostFinished
from ionetctl.summary.grouping import Causes
from ionetctl.summary.live_progress import Phase, ProgressFold, Stage
from ionetctl.ui import phrases
from ionetctl.ui.live.plain import describe
from ionetctl.ui.summary import STYLES
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from ionetctl.core.events import Envelope
    from ionetctl.summary.grouping import Cause
    from ionetctl.summary.live_progress import Progress, Wave

INTERVAL_S: Final = 0.25
IDLE_TICKS: Final = 4
"""Without events the block is redrawn every this many intervals, for its clock."""
BAR_WIDTH: Final = 30
FOLDED_WIDTH: Final = 60
SAMPLE: Final = 200
"""The most hosts of a cause that are folded for its line: more do not fit and would cost time at every redraw."""
STAGE_STYLES: Final[dict[Stage, str]] = {
    Stage.WAITING: "dim",
    Stage.SURVEY: "cyan",
    Stage.PLANNED: "dim",
    Stage.APPLY: "blue",
    Stage.CONFIRM: "magenta",
}


class LiveScreen:
    """A sink that keeps the block up to date; ``stop`` removes it, also after an error."""

    def __init__(
        self,
        console: Console,
        verbosity: Verbosity = Verbosity.NORMAL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        has_past: bool = False,
    ) -> None:
        self._has_past = has_past
        self._console = console
        self._verbosity = verbosity
        self._now = now
        self._progress = ProgressFold()
        self._causes = Causes()
        self._is_stale = False
        self._live: Live | None = None
        self._ticker: asyncio.Task[None] | None = None

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Take the events into account; the next redraw shows them. A resumed rollout's first batch is its history."""
        is_past, self._has_past = self._has_past, False
        for envelope in envelopes:
            self._progress.take(envelope)
            if isinstance(envelope.event, HostFinished):
                self._causes.put(envelope.event.outcome)
            if self._verbosity >= Verbosity.VERBOSE and not is_past:
                self._print_line(envelope)
        self._is_stale = self._is_stale or bool(envelopes)
        if self._ticker is None and envelopes:
            self._start()

    async def close(self) -> None:
        """Remove the block."""
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
            self._ticker = None
        self.stop()

    def stop(self) -> None:
        """Remove the block and restore the terminal, so that a prompt can follow. The next event shows the block again."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    def _start(self) -> None:
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()
        self._ticker = asyncio.create_task(self._tick(self._live), name="live display")

    async def _tick(self, live: Live) -> None:
        idle = 0
        while True:
            if self._is_stale or idle >= IDLE_TICKS:
                self._is_stale = False
                idle = 0
                live.update(Block(self._progress.snapshot(self._now()), self._causes.causes()), refresh=True)
            idle += 1
            await asyncio.sleep(INTERVAL_S)

    def _print_line(self, envelope: Envelope) -> None:
        line = describe(envelope.event, self._verbosity)
        if line is not None:
            self._console.print(Text(line), soft_wrap=True)


class Block:
    """One drawing of a rollout, cut to the space that there is."""

    def __init__(self, progress: Progress, causes: Sequence[Cause]) -> None:
        self._progress = progress
        self._causes = causes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, (options.height or console.height) - 1)
        for _, line in zip(range(room), self._lines(room), strict=False):
            line.truncate(options.max_width, overflow="ellipsis")
            line.no_wrap = True
            yield line

    def _lines(self, room: int) -> Iterator[Text]:
        head = [
            _head_line(self._progress),
            _rate_line(self._progress),
            _stage_line(self._progress),
            _result_line(self._progress),
        ]
        head += [_wave_line(wave) for wave in current_waves(self._progress.waves)]
        yield from head
        yield from _problem_lines(self._progress, self._causes, room - len(head))


def current_waves(waves: Sequence[Wave]) -> list[Wave]:
    """The waves to be shown: the last two that are running, else the last one."""
    return [wave for wave in waves if not wave.is_through][-2:] or list(waves[-1:])


def _head_line(progress: Progress) -> Text:
    what = "surveying" if progress.phase is Phase.SURVEY else "enrolling"
    line = Text.assemble((f"{what} {phrases.hosts(progress.total)}", "bold"))
    line.append(f"  {phrases.duration(progress.elapsed_s)}", style="dim")
    if progress.rollout is not None:
        line.append(f"  rollout {phrases.plain(progress.rollout)}", style="dim")
    return line


def _rate_line(progress: Progress) -> Text:
    line = bar(progress.done, progress.total)
    line.append(f" {progress.done:,}/{progress.total:,}")
    if progress.per_minute is not None:
        line.append(f"  {phrases.rate(progress.per_minute)}")
    if progress.remaining_s:
        line.append(f"  about {phrases.duration(progress.remaining_s)} left", style="dim")
    return line


def bar(done: int, total: int) -> Text:
    """A bar of fixed width; full only when everything is done."""
    filled = BAR_WIDTH * done // total if total else 0
    return Text.assemble(("━" * filled, "green"), ("━" * (BAR_WIDTH - filled), "bright_black"))


def _stage_line(progress: Progress) -> Text:
    return _counts_line(
        [(stage.value, count, STAGE_STYLES[stage]) for stage, count in progress.stages.items()]
    )


def _result_line(progress: Progress) -> Text:
    return _counts_line([(result.value, count, STYLES[result]) for result, count in progress.results.items()])


def _counts_line(counts: Sequence[tuple[str, int, str]]) -> Text:
    line = Text()
    for index, (name, count, style) in enumerate(counts):
        line.append(" · " if index else "", style="dim")
        line.append(f"{name} {count:,}", style=style if count else "dim")
    return line


def _wave_line(wave: Wave) -> Text:
    line = Text(f"wave {wave.index} of {wave.of}{' (canary)' if wave.is_canary else ''}  ")
    line.append(f"{wave.finished:,}/{wave.hosts:,}", style="bold")
    if wave.failed:
        line.append(f", {wave.failed:,} failed", style="red")
    if wave.is_through:
        line.append(", through", style="dim")
    return line


def _problem_lines(progress: Progress, causes: Sequence[Cause], room: int) -> Iterator[Text]:
    """The causes of failed hosts, then retries, then slow hosts; the last line has the number of lines that do not fit."""
    total = len(causes) + len(progress.retries) + len(progress.slow)
    shown = total if total <= room else max(0, room - 1)
    for _, line in zip(range(shown), _all_problems(progress, causes), strict=False):
        yield line
    if shown < total:
        yield Text(f"and {total - shown:,} more", style="dim")


def _all_problems(progress: Progress, causes: Sequence[Cause]) -> Iterator[Text]:
    for cause in causes:
        names = phrases.folded(cause.hosts[:SAMPLE], FOLDED_WIDTH)
        yield Text.assemble(
            (cause.result.value, STYLES[cause.result]),
            f" {len(cause.hosts):,}  {cause.code}  ",
            (names, "cyan"),
            (f"  {phrases.plain(cause.message)}", "dim"),
        )
    for retry in progress.retries:
        what = f" {phrases.plain(retry.host)}  {retry.step}: {phrases.plain(retry.message)}"
        yield Text.assemble(("retry", "yellow"), what)
    for slow in progress.slow:
        step = f"{slow.step} {phrases.plain(slow.detail)}".rstrip()
        what = f" {phrases.plain(slow.host)}  {step} for {phrases.duration(slow.seconds)}"
        yield Text.assemble(("slow", "yellow"), what)
