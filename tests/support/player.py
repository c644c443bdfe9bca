"""Plays a made-up rollout to the command line's own face, so that a terminal can be watched without any host."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import Common, Face
from ionetctl.cli.rollout_face import RolloutFace
from ionetctl.errors import ExitCode, RegionError
from ionetctl.events import WaveStarted
from ionetctl.settings import Settings
from ionetctl.ui.verbosity import Verbosity
from tests.support.streams import GPU_MISSING, TIMEOUT, Rollout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.events import Envelope
    from ionetctl.ports import Sink


async def play(
    stream: Sequence[Envelope],
    sinks: Sequence[Sink],
    confirm: Callable[[object], Awaitable[bool]],
    pause_s: float = 0.0,
    error: Exception | None = None,
) -> ExitCode:
    """Hand the stream to the sinks in batches; ask before the first wave; raise ``error`` instead of an end."""
    asked = False
    for start in range(0, len(stream), 64):
        batch = stream[start : start + 64]
        if not asked and any(isinstance(one.event, WaveStarted) for one in batch):
            asked = True
            if not await confirm(None):
                return ExitCode.USAGE
        for sink in sinks:
            await sink.take(batch)
        await asyncio.sleep(pause_s)
    for sink in sinks:
        await sink.close()
    if error is not None:
        raise error
    return ExitCode.FAILED


def main(output: str = "human", *, asks: bool = False, breaks: bool = False, hosts: int = 400) -> int:
    """A rollout of ``hosts`` hosts on this process's own streams; returns its exit code."""
    face = Face(Common(OutputFormat(output), Verbosity.NORMAL, ColorChoice.AUTO))
    problems = {3: GPU_MISSING, 4: GPU_MISSING, 9: TIMEOUT}
    stream = Rollout(hosts, problems, batch=100, step_s=0.001, start=datetime.now(UTC), exit_code=5).play()
    rollout = RolloutFace(face, Settings.load(), asks=asks)
    error = RegionError("region_silent", "no answer", "look") if breaks else None
    summary = rollout.run(play(stream, rollout.sinks, rollout.confirm, 0.05, error))
    face.show(rollout.result(summary))
    return int(summary.exit_code)


if __name__ == "__main__":
    options = set(sys.argv[1:])
    sys.exit(
        main(
            "ndjson" if "ndjson" in options else "json" if "json" in options else "human",
            asks="ask" in options,
            breaks="break" in options,
        )
    )
