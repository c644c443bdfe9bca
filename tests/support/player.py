"""Plays a made-up rollout through the command line's own display, so that a terminal can be watched without any host."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ionetctl.cli.options import CommonOptions, OutputFormat
from ionetctl.cli.output import Display
from ionetctl.cli.rollout_display import RolloutDisplay
from ionetctl.cli.streams import tolerant_streams
from ionetctl.core.errors import ExitCode, RegionError
from ionetctl.core.events import WaveStarted
from ionetctl.core.settings import Settings
from ionetctl.rollout.endings import PlanOverview
from tests.support.streams import GPU_MISSING, TIMEOUT, Rollout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.core.events import Envelope
    from ionetctl.core.ports import Sink


async def play(
    stream: Sequence[Envelope],
    sinks: Sequence[Sink],
    confirm: Callable[[PlanOverview], Awaitable[bool]],
    pause_s: float = 0.0,
    error: Exception | None = None,
) -> ExitCode:
    """Hand the stream to the sinks in batches; ask before the first wave; raise ``error`` instead of an end."""
    waves = next(place for place, one in enumerate(stream) if isinstance(one.event, WaveStarted))
    await hand_over(stream[:waves], sinks, pause_s)
    changing = {
        host for one in stream[waves:] if isinstance(one.event, WaveStarted) for host in one.event.hosts
    }
    if not await confirm(PlanOverview(len(changing), 0, 0)):
        return ExitCode.USAGE
    await hand_over(stream[waves:], sinks, pause_s)
    for sink in sinks:
        await sink.close()
    if error is not None:
        raise error
    return ExitCode.FAILED


async def hand_over(stream: Sequence[Envelope], sinks: Sequence[Sink], pause_s: float) -> None:
    """The stream in batches, with a pause after each."""
    for start in range(0, len(stream), 64):
        for sink in sinks:
            await sink.take(stream[start : start + 64])
        await asyncio.sleep(pause_s)


def main(output: str = "human", *, asks: bool = False, breaks: bool = False, hosts: int = 120) -> int:
    """A rollout of ``hosts`` hosts on this process's own streams; returns its exit code."""
    display = Display(CommonOptions(OutputFormat(output)))
    problems = {3: GPU_MISSING, 4: GPU_MISSING, 9: TIMEOUT}
    stream = Rollout(hosts, problems, batch=100, step_s=0.001, start=datetime.now(UTC), exit_code=5).play()
    rollout = RolloutDisplay(display, Settings.load(), asks=asks)
    error = RegionError("region_silent", "no answer", "look") if breaks else None
    summary = rollout.run(play(stream, rollout.sinks, rollout.confirm, 0.03, error))
    display.show(rollout.result(summary))
    return int(summary.exit_code)


if __name__ == "__main__":
    options = set(sys.argv[1:])
    output = next((name for name in ("ndjson", "json") if name in options), "human")
    with tolerant_streams():
        sys.exit(main(output, asks="ask" in options, breaks="break" in options))
