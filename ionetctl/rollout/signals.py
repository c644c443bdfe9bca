"""Signals: the first asks for an orderly end, the second ends at once. Knows the loop and a Stop, nothing else."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final, Self

from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from ionetctl.rollout.stop import Stop

ENDINGS: Final = {
    signal.SIGINT: ("interrupted", ExitCode.INTERRUPTED),
    signal.SIGTERM: ("terminated", ExitCode.TERMINATED),
    signal.SIGHUP: ("hangup", ExitCode.HANGUP),
}
"""Per signal: the reason that the rollout records, and the exit code."""


class StoppingSignals:
    """Within its block a signal requests ``stop``; another one cancels the task that entered the block."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._task: asyncio.Task[object] | None = None
        self._is_next_last = False
        self.is_repeated = False
        """Whether a cancellation of the block is ours."""

    def nothing_left(self) -> None:
        """Say that no host is under way any more, so that the next signal ends the block at once, be it the first."""
        self._is_next_last = True

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for number in ENDINGS:
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in ENDINGS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _receive(self, number: signal.Signals) -> None:
        if self._is_next_last:
            self.is_repeated = True
            if self._task is not None:
                self._task.cancel()
        self._is_next_last = True
        code, exit_code = ENDINGS[number]
        message = f"{number.name}: no other host is begun, those under way are finished (again: stop now)"
        self.stop.request(code, message, exit_code)
