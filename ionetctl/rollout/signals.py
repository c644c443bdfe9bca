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

    def __init__(self, stop: Stop, resume_hint: str) -> None:
        self._stop = stop
        self._resume_hint = resume_hint
        self._task: asyncio.Task[object] | None = None
        self._received = 0

    @property
    def is_repeated(self) -> bool:
        """Whether a cancellation of the block is ours."""
        return self._received > 1

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for number in ENDINGS:
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in ENDINGS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _receive(self, number: signal.Signals) -> None:
        self._received += 1
        if self.is_repeated and self._task is not None:
            self._task.cancel()
        code, exit_code = ENDINGS[number]
        message = f"{number.name}: hosts under way are finished, no other is begun (again: stop now)"
        self._stop.request(code, f"{message}. {self._resume_hint}", exit_code)
