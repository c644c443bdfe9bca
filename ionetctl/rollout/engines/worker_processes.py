"""Jobs in worker processes on this machine, each with an event loop of its own.

The coordinator gives out jobs and answers what only it can: records, regions, certificates, secrets. A host always has the
same worker, since host keys that one accepted are known to it. A worker that ends loses nothing: another takes its
place, and its jobs are begun again, which look at their hosts first.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Self

from ionetctl.core.errors import HostUnreachableError, IonetctlError, UnwritableError
from ionetctl.core.events import HostConfirmed, KeyClosing, Warned
from ionetctl.rollout.engines.messages import Answer, Begin, Call, Channel, Do, Done, Share, Stop, Tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName
    from ionetctl.core.ports import Emit
    from ionetctl.rollout.engines.jobs import Job, Result
    from ionetctl.rollout.engines.messages import Message

TRIES: Final = 2
"""How often a job is begun: what ends two workers would end a third."""
REPLACEMENTS: Final = 3
"""How many processes may take a worker's place."""
END_S: Final = 10.0
"""How long a worker may take to end: it closes its connections, and hosts tidy up."""


class WorkerLostError(Exception):
    """The process that carried out a job is gone."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How workers are started and what they are told first.

    The last argument of ``command`` is the number of the socket's descriptor; ``environ`` is all that is in the environment.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    order: object


@dataclass(slots=True)
class _Process:
    """A worker process that runs."""

    process: asyncio.subprocess.Process
    channel: Channel
    jobs: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    def fail(self, error: Exception) -> None:
        """Have all its jobs raise that."""
        for future in self.jobs.values():
            if not future.done():
                future.set_exception(error)


@dataclass(slots=True)
class _Worker:
    """The place of a worker: the process that fills it, and how many have so far."""

    number: int
    process: _Process | None = None
    started: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProcessEngine:
    """``jobs.Engine`` with so many ``workers``; use it as an asynchronous context manager.

    ``answer`` carries out what a worker calls.
    """

    def __init__(
        self,
        launch: Launch,
        answer: Callable[[Call], Awaitable[object]],
        emit: Emit,
        workers: int,
    ) -> None:
        self._launch = launch
        self._answer = answer
        self._emit = emit
        self._workers = [_Worker(number) for number in range(1, workers + 1)]
        self._numbers = count(1)
        self._shared: Share | None = None
        self._is_stopping = False
        self._is_closing = False
        self._listening: set[asyncio.Task[None]] = set()
        self._replying: set[asyncio.Task[None]] = set()
        self._told: dict[HostName, list[AnyEvent]] = {}
        """What a job that is begun again has to know of, by host."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the workers: each cancels what it is still at."""
        self._is_closing = True
        running = [worker.process for worker in self._workers if worker.process is not None]
        for each in running:
            each.channel.close()
        await asyncio.gather(*(_ended(each.process) for each in running))
        for task in self._replying:
            task.cancel()
        await asyncio.gather(*self._listening, *self._replying, return_exceptions=True)

    async def do(self, job: Job[Result]) -> Result:
        """The job's result; raises what the job raises, and ``RuntimeError`` for a bug in the worker."""
        for _ in range(TRIES):
            try:
                result: Result = await self._do_once(job)
            except WorkerLostError:
                job = job.again(self._told.pop(job.host.name, ()))
                continue
            self._told.pop(job.host.name, None)
            return result
        message = "the worker process that was at this host ended, twice"
        return job.lost(HostUnreachableError("worker_lost", message, "run the same command again"))

    def share(self, value: object) -> None:
        """Let all workers know something, those too that are started later."""
        self._shared = Share(value)
        self._send_all(self._shared)

    def stop(self) -> None:
        """Let all workers know that the end was asked for."""
        self._is_stopping = True
        self._send_all(Stop())

    def _send_all(self, message: Message) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.channel.send(message)

    async def _do_once(self, job: Job[Result]) -> Result:
        process = await self._process_for(job.host)
        number = next(self._numbers)
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        process.jobs[number] = future
        process.channel.send(Do(number, job))
        try:
            return await future
        finally:
            process.jobs.pop(number, None)

    async def _process_for(self, host: Host) -> _Process:
        """The process of the host's worker, started where there is none. Raises ``WorkerLostError`` where none lasts."""
        worker = self._workers[zlib.crc32(host.name.encode()) % len(self._workers)]
        async with worker.lock:
            if worker.process is None:
                if worker.started > REPLACEMENTS:
                    raise WorkerLostError
                worker.started += 1
                worker.process = await self._start(worker)
        return worker.process

    async def _start(self, worker: _Worker) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._launch.command,
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=dict(self._launch.environ),
                # Ctrl-C is for the coordinator, which lets the hosts under way finish.
                start_new_session=True,
            )
        channel = Channel(*await asyncio.open_connection(sock=ours))
        channel.send(Begin(self._launch.order))
        if self._shared is not None:
            channel.send(self._shared)
        if self._is_stopping:
            channel.send(Stop())
        started = _Process(process, channel)
        _keep(self._listen(worker, started), self._listening)
        return started

    async def _listen(self, worker: _Worker, running: _Process) -> None:
        """Take what a worker says until it is gone, then let its jobs know."""
        try:
            async for message in running.channel.received():
                await self._take(running, message)
        except pickle.UnpicklingError as error:  # a bug, or worse: it is not listened to any more
            running.process.kill()
            running.fail(error)
        finally:
            worker.process = None
            running.channel.close()
            running.fail(WorkerLostError())
        await running.channel.wait_closed()
        status = await running.process.wait()
        if not self._is_closing:
            what = f"signal {-status}" if status < 0 else f"status {status}"
            report = f"worker process {worker.number} ended with {what}; what it was at is begun again"
            hint = "look for the kernel's out-of-memory killer"
            await self._emit(Warned(code="worker_lost", message=report, hint=hint))

    async def _take(self, running: _Process, message: Message) -> None:
        match message:
            case Done(number=number):
                _settle(running.jobs.get(number), message)
            case Tell(event=event):
                self._note(event)
                with suppress(UnwritableError):  # whoever waits for the record hears of it
                    await self._emit(event)
            case Call(path=path, arguments=arguments):
                if path == ("emit",):
                    self._note(*arguments)
                _keep(self._reply(running, message), self._replying)
            case _:
                raise pickle.UnpicklingError(f"not for the coordinator: {type(message).__name__}")

    def _note(self, event: object) -> None:
        if isinstance(event, HostConfirmed | KeyClosing) and event.host is not None:
            self._told.setdefault(event.host, []).append(event)

    async def _reply(self, running: _Process, call: Call) -> None:
        try:
            answer = Answer(call.number, await self._answer(call))
        except IonetctlError as error:
            answer = Answer(call.number, error=error)
        except Exception as error:  # noqa: BLE001  a bug: those who wait for the worker's jobs raise it
            running.fail(error)
            return
        running.channel.send(answer)


def _keep(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Let it run, and be in ``tasks`` until it has ended."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def _settle(future: asyncio.Future[Any] | None, done: Done) -> None:
    if future is None or future.done():
        return
    if done.bug:
        future.set_exception(RuntimeError(f"in a worker process:\n{done.bug}"))
    elif done.error is not None:
        future.set_exception(done.error)
    else:
        future.set_result(done.result)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Return once the process has ended, which it is made to if it takes too long."""
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
