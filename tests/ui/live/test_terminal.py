"""The sink that keeps the live block up to date."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from ionetctl.core.events import RolloutResumed
from ionetctl.ui.live.terminal import LiveScreen
from ionetctl.ui.verbosity import Verbosity
from tests.support.streams import GPU_MISSING, START, Rollout, Stream

STREAM = Rollout(hosts=20, problems={3: GPU_MISSING}).play()


def terminal() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=100, height=24, markup=False), written


def screen(
    console: Console, verbosity: Verbosity = Verbosity.NORMAL, *, has_past: bool = False
) -> LiveScreen:
    return LiveScreen(console, verbosity, lambda: START, has_past=has_past)


async def test_block_appears_and_goes() -> None:
    """The first events bring the block, the end takes it away and shows the cursor."""
    console, written = terminal()
    live = screen(console)
    await live.take(STREAM)
    await asyncio.sleep(0)
    assert "enrolling 20 hosts" in written.getvalue()
    await live.close()
    assert written.getvalue().endswith("\x1b[2K")
    assert written.getvalue().count("\x1b[?25l") == written.getvalue().count("\x1b[?25h") == 1


async def test_drawing_does_not_follow_every_event() -> None:
    """However many batches come at once, the block is drawn once for all of them."""
    console, written = terminal()
    live = screen(console)
    for envelope in STREAM:
        await live.take([envelope])
        await asyncio.sleep(0)
    await live.close()
    assert written.getvalue().count("hosts") < 5


async def test_nothing_is_drawn_before_the_first_event() -> None:
    """An empty past brings no block."""
    console, written = terminal()
    live = screen(console, has_past=True)
    await live.take([])
    await live.close()
    assert written.getvalue() == ""


async def test_stopped_block_comes_back_with_the_next_event() -> None:
    """After a prompt the block is drawn again."""
    console, written = terminal()
    live = screen(console)
    await live.take(STREAM[:10])
    await asyncio.sleep(0)
    live.stop()
    live.stop()
    before = len(written.getvalue())
    await live.take(STREAM[10:])
    await asyncio.sleep(0)
    assert "enrolling" in written.getvalue()[before:]
    await live.close()


async def test_resumed_rollout_shows_no_cause_of_the_earlier_run() -> None:
    """What failed before is tried again; until it ends anew nothing is said against it."""
    shown = []
    for events in (STREAM, [*STREAM, Stream(now=START).say(RolloutResumed(owner="ops", done=19))]):
        console, written = terminal()
        live = screen(console)
        await live.take(events)
        await asyncio.sleep(0)
        await live.close()
        shown.append("gpu_count_mismatch" in written.getvalue())
    assert shown == [True, False]


async def test_verbose_lines_stand_above_the_block() -> None:
    """With -v each host's end is a line of its own, but not what a resumed rollout did before."""
    console, written = terminal()
    live = screen(console, Verbosity.VERBOSE, has_past=True)
    await live.take(STREAM[:-30])
    await live.take(STREAM[-30:])
    await live.close()
    assert ("enrolled rey1-a01-g01" in written.getvalue(), "enrolled rey1-a02-g04" in written.getvalue()) == (
        False,
        True,
    )
