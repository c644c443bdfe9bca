"""Signals: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import asyncio
import signal

import pytest

from ionetctl.core.errors import ExitCode
from ionetctl.core.events import RolloutStopped
from ionetctl.rollout.signals import StoppingSignals
from ionetctl.rollout.stop import Stop
from tests.support.fakes import Emitted


async def heard(stop: Stop) -> RolloutStopped:
    """The reason, once the loop has seen the signal."""
    emit = Emitted()
    await stop.record_when_requested(emit)
    [reason] = emit.events
    assert isinstance(reason, RolloutStopped)
    return reason


@pytest.mark.parametrize(
    ("number", "code", "exit_code"),
    [
        (signal.SIGINT, "interrupted", ExitCode.INTERRUPTED),
        (signal.SIGTERM, "terminated", ExitCode.TERMINATED),
        (signal.SIGHUP, "hangup", ExitCode.HANGUP),
    ],
)
async def test_first_signal_asks_for_the_end(number: signal.Signals, code: str, exit_code: ExitCode) -> None:
    """Each signal has its reason and exit code."""
    stop = Stop()
    with StoppingSignals(stop) as signals:
        signal.raise_signal(number)
        reason = await heard(stop)
    assert (reason.code, stop.exit_code, signals.is_repeated) == (code, exit_code, False)
    assert reason.message.startswith(number.name)


async def test_second_signal_cancels_what_runs() -> None:
    """Whoever presses twice means now; the first reason stays."""
    stop = Stop()
    signals = StoppingSignals(stop)

    async def work() -> None:
        with signals:
            signal.raise_signal(signal.SIGTERM)
            await heard(stop)
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    assert (task.cancelled(), signals.is_repeated, stop.exit_code) == (True, True, ExitCode.TERMINATED)


async def test_first_signal_cancels_where_nothing_is_left() -> None:
    """When no host is under way any more there is nothing to wait for."""
    signals = StoppingSignals(Stop())

    async def work() -> None:
        with signals:
            signals.nothing_left()
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    assert (task.cancelled(), signals.is_repeated) == (True, True)


async def test_signals_are_let_go_of() -> None:
    """After the block a signal does again what it did before."""
    with StoppingSignals(Stop()):
        inside = signal.getsignal(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), inside != signal.SIG_DFL) == (signal.SIG_DFL, True)


def test_signal_without_a_task_cancels_nothing() -> None:
    """Signals before the block begins have nothing to cancel."""
    stop = Stop()
    signals = StoppingSignals(stop)
    signals._receive(signal.SIGINT)
    signals._receive(signal.SIGINT)
    assert (signals.is_repeated, stop.exit_code) == (True, ExitCode.INTERRUPTED)
