"""Bytes a second over all streams."""

from __future__ import annotations

import asyncio

import pytest

from ionetctl.ssh.limits.uplink import BURST_S, Uplink
from tests.support.clock import ManualClock


def uplink(bytes_per_s: float | None = 1000) -> tuple[Uplink, ManualClock]:
    clock = ManualClock()
    clock.advance(60)
    return Uplink(bytes_per_s, clock.monotonic, clock.sleep), clock


async def test_rate_is_kept() -> None:
    """Ten times as much as goes in a second takes ten, but for the burst that it begins with."""
    limited, clock = uplink()
    for _ in range(21):
        await limited.take(500)
    assert sum(clock.slept) == pytest.approx(10 - BURST_S)


async def test_pause_saves_up_no_more_than_a_burst() -> None:
    """An hour without a byte allows no more at once than a moment."""
    limited, clock = uplink()
    await limited.take(1000)
    clock.advance(3600)
    await limited.take(1000)
    await limited.take(1000)
    assert clock.slept == [pytest.approx(1 - BURST_S)]


async def test_streams_share_it_in_order() -> None:
    """Whoever asks first is served first, and all together keep the rate."""
    now, waits = 60.0, []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    limited = Uplink(1000, lambda: now, sleep)
    await asyncio.gather(*(limited.take(1000) for _ in range(4)))
    assert waits == pytest.approx([1 - BURST_S, 2 - BURST_S, 3 - BURST_S])


async def test_small_messages_are_counted_and_never_wait() -> None:
    """What is spent without asking delays the next stream, not the spender."""
    limited, clock = uplink()
    limited.spend(3000)
    assert clock.slept == []
    await limited.take(1)
    assert clock.slept == [pytest.approx(3 - BURST_S)]


async def test_without_a_rate_nobody_waits() -> None:
    """The default."""
    unlimited, clock = uplink(None)
    await unlimited.take(1 << 40)
    assert (clock.slept, unlimited.is_unlimited, uplink()[0].is_unlimited) == ([], True, False)
