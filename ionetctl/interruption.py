"""Signals: the first asks for an orderly end, the second ends at once. Knows the loop and a Stop, nothing else."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ionetctl.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.rollout import Stop

ENDINGS: Final = {
    signal.SIGINT: ("interrupted", ExitCode.INTERRUPTED),
    signal.SIGTERM: ("terminated", ExitCode.TERMINATED),
    signal.SIGHUP: ("hangup", ExitCode.HANGUP),
}
"""Per signal: the reason that the rollout records, and the exit code."""


@contextmanager
def stopping_on_signals(stop: Stop, resume_hint: str) -> Iterator[None]:
    """Within the block a signal requests ``stop``; a second one cancels the running task."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    is_second = False

    def receive(number: signal.Signals) -> None:
        nonlocal is_second
        if is_second and task is not None:
            task.cancel()
        is_second = True
        message = (
            f"{number.name}: hosts under way are finished, no other is begun (again: stop now). {resume_hint}"
        )
        code, exit_code = ENDINGS[number]
        stop.request(code, message, exit_code)

    for number in ENDINGS:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in ENDINGS:
            loop.remove_signal_handler(number)
