"""The worker's side: carries out the jobs that it is given until the coordinator closes the channel, or is gone.

Knows messages and jobs; how what jobs need is opened from an order is told by whoever starts it.
"""

from __future__ import annotations

import asyncio
import traceback
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from ionetctl.core.errors import IonetctlError
from ionetctl.core.events import announces_change
from ionetctl.rollout.engines.messages import Answer, Begin, Call, Do, Done, Share, Stop, Tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from ionetctl.core.events import AnyEvent
    from ionetctl.rollout.engines.jobs import HostSteps, Job
    from ionetctl.rollout.engines.messages import Channel, Message


class Workplace(Protocol):
    """What a worker has opened for its jobs."""

    @property
    def steps(self) -> HostSteps:
        """What jobs are carried out with."""
        ...

    def take(self, shared: object) -> None:
        """Take what the coordinator shares."""
        ...


class Coordinator:
    """The coordinator as a worker sees it."""

    def __init__(self, channel: Channel) -> None:
        self.is_stopping = False
        self._channel = channel
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}

    async def call(self, *path: str, arguments: tuple[object, ...] = (), **keywords: object) -> Any:  # noqa: ANN401  (whatever is called there returns)
        """What the coordinator's ``path`` returns. Raises what it raises."""
        number = next(self._numbers)
        self._calls[number] = asyncio.get_running_loop().create_future()
        self._channel.send(Call(number, path, arguments, keywords))
        try:
            return await self._calls[number]
        finally:
            del self._calls[number]

    async def emit(self, event: AnyEvent) -> None:
        """``ports.Emit``: waits only where the event must be on disk before what follows it."""
        if announces_change(event):
            await self.call("emit", arguments=(event,))
        else:
            self._channel.send(Tell(event))
            await asyncio.sleep(0)

    def take(self, answer: Answer) -> None:
        """Give a call its answer; nobody may wait for it any more."""
        future = self._calls.get(answer.number)
        if future is None or future.done():
            return
        if answer.error is None:
            future.set_result(answer.value)
        else:
            future.set_exception(answer.error)


async def serve(
    channel: Channel,
    open_workplace: Callable[[object, Coordinator], AbstractAsyncContextManager[Workplace]],
) -> None:
    """Carry out jobs until the channel ends; what is under way then is cancelled, so that hosts tidy up."""
    coordinator = Coordinator(channel)
    messages = channel.received()
    first = await anext(messages, None)
    if not isinstance(first, Begin):
        return
    async with open_workplace(first.order, coordinator) as workplace:
        jobs: set[asyncio.Task[None]] = set()
        try:
            async for message in messages:
                if isinstance(message, Do):
                    task = asyncio.create_task(
                        _carry_out(channel, message.number, message.job, workplace.steps)
                    )
                    jobs.add(task)
                    task.add_done_callback(jobs.discard)
                else:
                    _note(message, coordinator, workplace)
        finally:
            for task in jobs:
                task.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)


def _note(message: Message, coordinator: Coordinator, workplace: Workplace) -> None:
    match message:
        case Answer():
            coordinator.take(message)
        case Share(value=value):
            workplace.take(value)
        case Stop():
            coordinator.is_stopping = True
        case _:
            raise RuntimeError(f"not for a worker: {message!r}")


async def _carry_out(channel: Channel, number: int, job: Job[Any], steps: HostSteps) -> None:
    try:
        done = Done(number, await job.run(steps))
    except IonetctlError as error:
        done = Done(number, error=error)
    except Exception:  # noqa: BLE001  a bug, which the coordinator raises
        done = Done(number, bug=traceback.format_exc())
    channel.send(done)
