"""The live display on a terminal: one redrawn block, of the same size for five hosts and for five thousand.

Taking events does not draw the block; a task redraws at most four times a second, and less often when nothing happens.
Texts are never interpreted as markup.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.text import Text

from ionetctl.core.events import HostFinished, RolloutResumed
from ionetctl.core.model.outcome import ENROLL
from ionetctl.summary.grouping import Causes
from ionetctl.summary.live_progress import Phase, ProgressFold, Stage
from ionetctl.ui import phrases
from ionetctl.ui.live.plain import describe
from ionetctl.ui.live.stop_notice import StopNotice
from ionetctl.ui.summary import STYLES, named_lines, short_cause_lines
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from ionetctl.core.events import Envelope
    from ionetctl.summary.grouping import Cause
    from ionetctl.summary.live_progress import Progress, Retry, Slow, Wave

INTERVAL_S: Final = 0.25
IDLE_TICKS: Final = 4
"""Without events the block is redrawn every this many intervals, for its clock."""
BAR_WIDTHS: Final = (30, 10)
"""The width of the bar, and that on a narrow terminal."""
STAGE_STYLES: Final[dict[Stage, str]] = {
    Stage.WAITING: "dim",
    Stage.SURVEY: "cyan",
    Stage.PLANNED: "dim",
    Stage.APPLY: "blue",
    Stage.CONFIRM: "magenta",
}


class LiveScreen:
    """A sink that keeps the block up to date, with lines above it for what is to stay on the screen.

    What is drawn goes to ``write``, which may wait for a terminal that has stopped: nothing is drawn meanwhile, and then
    what is the case by then. ``stop`` removes the block.
    """

    def __init__(
        self,
        console: Console,
        write: Callable[[str], Awaitable[None]],
        verbosity: Verbosity = Verbosity.NORMAL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        has_past: bool = False,
    ) -> None:
        self._has_past = has_past
        self._console = console
        self._write = write
        self._verbosity = verbosity
        self._now = now
        self._lines: list[str] = []
        # From -v on every event has its line already.
        of_reason = None if verbosity >= Verbosity.VERBOSE else verbosity
        self.notice = StopNotice(self._lines.append, of_reason, has_past=has_past)
        self._progress = ProgressFold()
        self._causes = Causes()
        self._is_stale = False
        self._live: Live | None = None
        self._removal = ""
        self._ticker: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def take(self, envelopes: Sequence[Envelope]) -> None:
        """Take the events into account; the next redraw shows them. A resumed rollout's first batch is its history."""
        is_past, self._has_past = self._has_past, False
        for envelope in envelopes:
            self._progress.take(envelope)
            if isinstance(envelope.event, HostFinished):
                self._causes.put(envelope.event.outcome)
            elif isinstance(envelope.event, RolloutResumed):
                self._causes = Causes()
            if self._verbosity >= Verbosity.VERBOSE and not is_past:
                self._add_line(envelope)
        await self.notice.take(envelopes)
        self._is_stale = self._is_stale or bool(envelopes)
        if self._ticker is None and envelopes:
            self._ticker = asyncio.create_task(self._tick(), name="live display")
        if self._lines:
            await self._draw()

    async def close(self) -> None:
        """Remove the block."""
        await self.stop()

    async def stop(self) -> None:
        """Remove the block and restore the terminal, so that a prompt can follow. The next event shows the block again."""
        async with self._writing:
            if self._ticker is not None:
                self._ticker.cancel()
                self._ticker = None
            if removal := self.removal():
                await self._write(removal)
                self._removal = ""

    def removal(self) -> str:
        """What restores the terminal, until ``stop`` has written it: for an end without."""
        if self._live is not None:
            self._removal = self._drawn(self._live.stop)
            self._live = None
        return self._removal

    async def _tick(self) -> None:
        idle = 0
        while True:
            if self._is_stale or idle >= IDLE_TICKS:
                idle = 0
                await self._draw()
            idle += 1
            await asyncio.sleep(INTERVAL_S)

    async def _draw(self) -> None:
        async with self._writing:
            await self._write(self._drawn(self._redraw))

    def _drawn(self, draw: Callable[[], None]) -> str:
        with self._console.capture() as captured:
            draw()
        return captured.get()

    def _redraw(self) -> None:
        self._is_stale = False
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
        for line in self._lines:
            self._console.print(Text(line), soft_wrap=True)
        self._lines.clear()
        self._live.update(Block(self._progress.snapshot(self._now()), self._causes.causes()), refresh=True)

    def _add_line(self, envelope: Envelope) -> None:
        line = describe(envelope.event, self._verbosity)
        if line is not None:
            self._lines.append(line)


class Block:
    """One drawing of a rollout, cut to the space that there is."""

    def __init__(self, progress: Progress, causes: Sequence[Cause]) -> None:
        self._progress = progress
        self._causes = causes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, (options.height or console.height) - 1)
        for _, line in zip(range(room), self._lines(options.max_width, room), strict=False):
            line.truncate(options.max_width, overflow="ellipsis")
            line.no_wrap = True
            yield line

    def _lines(self, width: int, room: int) -> Iterator[Text]:
        progress = self._progress
        head = [_head_line(progress, width), _rate_line(progress, width)]
        head += [_stalled_line(progress.stalled, width)] if progress.stalled else []
        head += _counts_lines(
            [(stage, count, STAGE_STYLES[stage]) for stage, count in progress.stages.items()], width
        )
        head += _counts_lines(
            [(result, count, STYLES[result]) for result, count in progress.results.items()], width
        )
        head += [_wave_line(wave, width) for wave in current_waves(progress.waves)]
        yield from head
        yield from _problem_lines(progress, self._causes, width, room - len(head))


def current_waves(waves: Sequence[Wave]) -> list[Wave]:
    """The waves to be shown: the last two that are running, else the last one."""
    return [wave for wave in waves if not wave.is_through][-2:] or list(waves[-1:])


def _fitting(width: int, *forms: Text) -> Text:
    """The first form that fits, else the last: from the longest to the one with the facts alone."""
    return next((form for form in forms if form.cell_len <= width), forms[-1])


def _head_line(progress: Progress, width: int) -> Text:
    looking = "surveying" if progress.action == ENROLL else "looking at"
    what = looking if progress.phase is Phase.SURVEY else phrases.doing(progress.action)
    line = Text.assemble((f"{what} {phrases.hosts(progress.total)}", "bold"))
    line.append(f"  {phrases.duration(progress.elapsed_s)}", style="dim")
    name = phrases.plain(progress.rollout or "")
    forms = [f"  rollout {name}", f"  {name}"] if name else []
    return _fitting(width, *(line.copy().append(form, style="dim") for form in forms), line)


def _rate_line(progress: Progress, width: int) -> Text:
    per_minute = (
        "" if progress.per_minute is None or progress.stalled else f"  {phrases.rate(progress.per_minute)}"
    )
    left = "" if progress.remaining_s is None else f"  about {phrases.duration(progress.remaining_s)} left"

    def line(bar_width: int, *parts: str) -> Text:
        counts = f" {progress.done:,}/{progress.total:,}"
        return bar(progress.done, progress.total, bar_width).append(counts + "".join(parts))

    return _fitting(
        width,
        *(line(bar_width, per_minute, left) for bar_width in BAR_WIDTHS),
        line(BAR_WIDTHS[-1], per_minute.replace(" hosts", ""), left.replace("about ", "")),
    )


def bar(done: int, total: int, width: int) -> Text:
    """A bar of ``width``, full only when everything is done; it can be read without colours too."""
    filled = width * done // total if total else 0
    return Text.assemble(("━" * filled, "green"), ("─" * (width - filled), "bright_black"))


def _stalled_line(stalled: Sequence[Slow], width: int) -> Text:
    """The host that has kept the rollout waiting for longest."""
    first = stalled[0]
    more = f" and {len(stalled) - 1:,} more" if len(stalled) > 1 else ""
    rest = f"{more}: {_step_name(first)}, {phrases.duration(first.seconds)}"
    host = phrases.shortened(phrases.plain(first.host), width - len("waiting for ") - len(rest))
    return Text.assemble(("waiting for ", "yellow"), host, rest)


def _step_name(slow: Slow) -> str:
    """What a host is at; a survey begins with the connection."""
    if slow.step == "survey" and not slow.detail:
        return "connect"
    return f"{slow.step} {phrases.plain(slow.detail)}".rstrip()


def _counts_lines(counts: Sequence[tuple[str, int, str]], width: int) -> list[Text]:
    """The counts in one line; on a narrow terminal those that are not 0, in as many lines as they need."""
    parts = [Text(f"{name} {count:,}", style=style if count else "dim") for name, count, style in counts]
    line = _joined(parts)
    if line.cell_len <= width:
        return [line]
    rows: list[list[Text]] = [[]]
    for part in (part for part, (_, count, _) in zip(parts, counts, strict=True) if count):
        if _joined([*rows[-1], part]).cell_len > width:
            rows.append([])
        rows[-1].append(part)
    return [_joined(row) for row in rows]


def _joined(parts: Sequence[Text]) -> Text:
    return Text(" · ", style="dim").join(parts)


def _wave_line(wave: Wave, width: int) -> Text:
    number = f"wave {wave.index} of {wave.of}"
    names = [f"{number} (canary)", "canary"] if wave.is_canary else [number]
    line = Text.assemble((f"  {wave.finished:,}/{wave.hosts:,}", "bold"))
    if wave.failed:
        line.append(f", {wave.failed:,} failed", style="red")
    if wave.is_through:
        line.append(", through", style="dim")
    return _fitting(width, *(Text(name).append_text(line) for name in names))


def _problem_lines(progress: Progress, causes: Sequence[Cause], width: int, room: int) -> Iterator[Text]:
    """The causes of failed hosts, then retries, then slow hosts; the last line has the number of those that do not fit."""
    slow = [each for each in progress.slow if each not in progress.stalled[:1]]
    total = len(causes) + len(progress.retries) + len(slow)
    shown = 0
    for problem in _all_problems(causes, progress.retries, slow, width):
        is_last = shown + 1 == total
        if len(problem) > room - (not is_last):
            break
        yield from problem
        room -= len(problem)
        shown += 1
    if shown < total and room > 0:
        yield Text(f"and {total - shown:,} more", style="dim")


def _all_problems(
    causes: Sequence[Cause], retries: Sequence[Retry], slow: Sequence[Slow], width: int
) -> Iterator[list[Text]]:
    yield from (short_cause_lines(cause, width) for cause in causes)
    for retry in retries:
        head = Text.assemble(("retry", "yellow"), " ")
        yield named_lines(head, [retry.host], f"{retry.step}: {phrases.plain(retry.message)}", width)
    for each in slow:
        head = Text.assemble(("slow", "yellow"), " ")
        yield named_lines(
            head, [each.host], f"{_step_name(each)} for {phrases.duration(each.seconds)}", width
        )
