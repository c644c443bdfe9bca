"""The sink that keeps the live block up to date."""

from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from ionetctl.core.events import RolloutResumed, RolloutStopped
from ionetctl.ui.live.terminal import LiveScreen
from ionetctl.ui.verbosity import Verbosity
from tests.support.streams import GPU_MISSING, START, Rollout, Stream

STREAM = Rollout(hosts=20, problems={3: GPU_MISSING}).play()


class Terminal(Console):
    """A terminal that can be stopped, as by Ctrl-S: what is written then is there when it goes on."""

    def __init__(self) -> None:
        super().__init__(file=io.StringIO(), force_terminal=True, width=100, height=24, markup=False)
        self.written = ""
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def take(self, text: str) -> None:
        await self.going_on.wait()
        self.written += text


def screen(
    terminal: Terminal, verbosity: Verbosity = Verbosity.NORMAL, *, has_past: bool = False
) -> LiveScreen:
    return LiveScreen(terminal, terminal.take, verbosity, lambda: START, has_past=has_past)


async def test_block_appears_and_goes() -> None:
    """The first events bring the block, the end takes it away and shows the cursor."""
    terminal = Terminal()
    live = screen(terminal)
    await live.take(STREAM)
    await asyncio.sleep(0)
    assert "enrolling 20 hosts" in terminal.written
    await live.close()
    assert terminal.written.endswith("\x1b[2K")
    assert terminal.written.count("\x1b[?25l") == terminal.written.count("\x1b[?25h") == 1


async def test_drawing_does_not_follow_every_event() -> None:
    """However many batches come at once, the block is drawn once for all of them."""
    terminal = Terminal()
    live = screen(terminal)
    for envelope in STREAM:
        await live.take([envelope])
        await asyncio.sleep(0)
    await live.close()
    assert terminal.written.count("hosts") < 5


async def test_nothing_is_drawn_before_the_first_event() -> None:
    """An empty past brings no block."""
    terminal = Terminal()
    live = screen(terminal, has_past=True)
    await live.take([])
    await live.close()
    assert terminal.written == ""


async def test_stopped_block_comes_back_with_the_next_event() -> None:
    """After a prompt the block is drawn again."""
    terminal = Terminal()
    live = screen(terminal)
    await live.take(STREAM[:10])
    await asyncio.sleep(0)
    await live.stop()
    await live.stop()
    before = len(terminal.written)
    await live.take(STREAM[10:])
    await asyncio.sleep(0)
    assert "enrolling" in terminal.written[before:]
    await live.close()


async def test_resumed_rollout_shows_no_cause_of_the_earlier_run() -> None:
    """What failed before is tried again; until it ends anew nothing is said against it."""
    shown = []
    for events in (STREAM, [*STREAM, Stream(now=START).say(RolloutResumed(owner="ops", done=19))]):
        terminal = Terminal()
        live = screen(terminal)
        await live.take(events)
        await asyncio.sleep(0)
        await live.close()
        shown.append("gpu_count_mismatch" in terminal.written)
    assert shown == [True, False]


async def test_verbose_lines_stand_above_the_block() -> None:
    """With -v each host's end is a line of its own, but not what a resumed rollout did before."""
    terminal = Terminal()
    live = screen(terminal, Verbosity.VERBOSE, has_past=True)
    await live.take(STREAM[:-30])
    await live.take(STREAM[-30:])
    await live.close()
    assert ("enrolled rey1-a01-g01" in terminal.written, "enrolled rey1-a02-g04" in terminal.written) == (
        False,
        True,
    )


async def test_stopped_terminal_holds_nobody_up() -> None:
    """Events are taken while it stands; what it has to show then is the drawing that waited, and what removes it."""
    terminal = Terminal()
    live = screen(terminal)
    await live.take(STREAM[:10])
    terminal.going_on.clear()
    await asyncio.sleep(0)
    for envelope in STREAM[10:]:
        await live.take([envelope])
        await asyncio.sleep(0)
    assert terminal.written == ""
    terminal.going_on.set()
    await live.close()
    assert terminal.written.count("rollout 2026") == 2


async def test_stop_does_not_outlast_who_asks_for_it() -> None:
    """Whoever no longer waits for a terminal that stands leaves what restores it for an end without."""
    terminal = Terminal()
    live = screen(terminal)
    await live.take(STREAM)
    await asyncio.sleep(0)
    terminal.going_on.clear()
    stopping = asyncio.create_task(live.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    assert "\x1b[?25h" in live.removal()
    terminal.going_on.set()
    await live.stop()
    assert ("\x1b[?25h" in terminal.written, live.removal()) == (True, "")


async def test_stop_of_the_rollout_is_told_above_the_block() -> None:
    """At once, with its reason and what is finished by then; but not that of an earlier run."""
    stop = Stream(now=START).say(RolloutStopped(code="interrupted", message="SIGINT: no other host is begun"))
    shown = []
    for has_past in (False, True):
        terminal = Terminal()
        live = screen(terminal, has_past=has_past)
        await live.take([*STREAM, stop])
        shown.append("20 hosts finished, none at work" in terminal.written)
        await live.close()
    assert shown == [True, False]


@pytest.mark.parametrize("verbosity", [Verbosity.NORMAL, Verbosity.VERBOSE])
async def test_reason_of_a_stop_is_told_once(verbosity: Verbosity) -> None:
    """With -v every event has a line of its own already."""
    terminal = Terminal()
    live = screen(terminal, verbosity)
    stop = Stream(now=START).say(RolloutStopped(code="interrupted", message="SIGINT: no other host is begun"))
    await live.take([*STREAM, stop])
    await live.close()
    assert terminal.written.count("SIGINT") == 1
