"""Whose turn it is to shake hands, and what counts against the limit."""

from __future__ import annotations

import asyncio

import pytest

from ionetctl.ssh.limits.adaptive_limit import AdaptiveLimit
from ionetctl.ssh.limits.handshakes import Handshakes

FOREVER_S = 1000.0


def limited_to(value: int, outer: Handshakes | None = None, dial_s: float = FOREVER_S) -> Handshakes:
    return Handshakes(AdaptiveLimit(value, 1, value, slow_s=5.0), outer, dial_s)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Hosts:
    """Hosts that take their turns one after the other; each keeps it until it is let go."""

    def __init__(self, handshakes: Handshakes, number: int) -> None:
        self.begun: list[int] = []
        self.gates = [asyncio.Event() for _ in range(number)]
        self.tasks = [asyncio.create_task(self._take(handshakes, host)) for host in range(number)]

    async def _take(self, handshakes: Handshakes, host: int) -> None:
        async with handshakes.turn():
            self.begun.append(host)
            await self.gates[host].wait()

    async def end(self, *hosts: int) -> list[int]:
        for host in hosts:
            self.gates[host].set()
        await settle()
        return self.begun


async def test_turns_come_in_order() -> None:
    """No more than the limit are under way; who came first goes first."""
    hosts = Hosts(limited_to(2), 5)
    assert await hosts.end() == [0, 1]
    assert await hosts.end(1) == [0, 1, 2]
    assert await hosts.end(0, 2, 3, 4) == [0, 1, 2, 3, 4]


async def test_raised_limit_is_used() -> None:
    """When the limit has grown, one that ends lets several begin."""
    handshakes = limited_to(1)
    hosts = Hosts(handshakes, 4)
    await settle()
    handshakes.limit.value = 3
    assert await hosts.end(0) == [0, 1, 2, 3]
    await hosts.end(1, 2, 3)


async def test_cancelled_host_leaves_no_gap() -> None:
    """One that was waiting holds up nobody."""
    hosts = Hosts(limited_to(1), 3)
    await settle()
    hosts.tasks[1].cancel()
    assert await hosts.end(0, 2) == [0, 2]


async def test_host_cancelled_when_it_was_called_passes_its_turn_on() -> None:
    """A place that was given to it is not lost."""
    handshakes = limited_to(1)
    await handshakes.enter()
    called, next_one = (asyncio.create_task(handshakes.enter()) for _ in range(2))
    await settle()
    handshakes.leave()
    called.cancel()
    await settle()
    assert (called.cancelled(), next_one.done(), handshakes.under_way) == (True, True, 1)


async def test_host_that_does_not_answer_gives_its_place_away() -> None:
    """Where TCP is not up soon, the next begins; the first goes on, and counts again when it is connected."""
    handshakes = limited_to(1, dial_s=0.01)
    async with asyncio.timeout(40), handshakes.turn() as silent:
        async with handshakes.turn() as quick:
            quick.connected()
            assert handshakes.under_way == 1
            silent.connected()
            assert handshakes.under_way == 2
        assert handshakes.under_way == 1
    assert handshakes.under_way == 0


async def test_turn_through_a_jump_host_counts_twice() -> None:
    """The jump host's limit comes first, so that who waits for it keeps nobody else waiting."""
    over_all = limited_to(2)
    through_one, through_other = limited_to(1, over_all), limited_to(1, over_all)
    hosts = [Hosts(through_one, 2), Hosts(through_other, 2)]
    await settle()
    assert [each.begun for each in hosts] == [[0], [0]]
    assert (over_all.under_way, through_one.under_way, through_other.under_way) == (2, 1, 1)
    for each in hosts:
        await each.end(0, 1)
    assert ([each.begun for each in hosts], over_all.under_way) == ([[0, 1], [0, 1]], 0)


@pytest.mark.parametrize(("succeeds", "value"), [(True, 2), (False, 1)])
async def test_limits_learn_how_it_ended(*, succeeds: bool, value: int) -> None:
    """Both limits do, the jump host's and that over all hosts."""
    over_all = Handshakes(AdaptiveLimit(1, 1, 9, slow_s=5.0))
    through = Handshakes(AdaptiveLimit(1, 1, 9, slow_s=5.0), over_all)
    async with through.turn() as turn:
        turn.connected()
        (turn.succeeded if succeeds else turn.refused)()
    assert (over_all.limit.value, through.limit.value) == (value, value)
