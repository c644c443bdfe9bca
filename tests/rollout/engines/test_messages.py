"""The seam between coordinator and worker: every job and result passes a socket, and nothing but records of ours does."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.events import StepStarted
from ionetctl.core.model.outcome import Result
from ionetctl.host import outcomes
from ionetctl.host.pipeline import Blocked
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.survey import Surveyed
from ionetctl.plan.difference import PlanContext, make_plan
from ionetctl.rollout.engines.jobs import AnnounceJob, EnrollJob, Job, SurveyJob
from ionetctl.rollout.engines.messages import (
    LIMIT_BYTES,
    Answer,
    Begin,
    Call,
    Channel,
    Do,
    Done,
    Message,
    Share,
    Stop,
    Tell,
    loaded,
)
from tests.support.sample import HOST, bundle, drifted

if TYPE_CHECKING:
    from collections.abc import Callable

BUNDLE = bundle()
FACTS = drifted(BUNDLE)
SURVEYED = Surveyed(HOST, HOST.name, FACTS, ())
PLANNED = PlannedHost(
    SURVEYED, BUNDLE, make_plan(BUNDLE, FACTS, PlanContext("f" * 12, None, is_known=False)), Mark.NEW
)
FAILED = outcomes.failed(HOST, "apply", HostFailedError("apply_failed", "it broke", "mend it"), FACTS)
MESSAGES: tuple[Message, ...] = (
    Begin(("anything", {1: b"plain"})),
    Share({}),
    Do(1, SurveyJob(HOST)),
    Do(2, AnnounceJob(PLANNED)),
    Do(3, EnrollJob(PLANNED, "0123456789ab")),
    Stop(),
    Done(1, SURVEYED),
    Done(1, Blocked(SURVEYED, FAILED)),
    Done(3, FAILED),
    Call(4, ("eu-north", "api", "introduce"), ("name", "pool", 300), {}),
    Answer(4, "jwt"),
    Tell(StepStarted(host=HOST.name, step="survey", attempt=1)),
)


async def passed(*messages: Message) -> list[Message]:
    """The messages as they come out of a socket that closes after them."""
    near, far = [Channel(*await asyncio.open_connection(sock=end)) for end in socket.socketpair()]
    for message in messages:
        near.send(message)
    near.close()
    received = [message async for message in far.received()]
    far.close()
    await asyncio.gather(near.wait_closed(), far.wait_closed())
    return received


async def test_every_message_passes_a_socket() -> None:
    """What arrives equals what was sent, in order, until the other side closes."""
    assert await passed(*MESSAGES) == list(MESSAGES)


async def test_events_travel_with_what_follows_them() -> None:
    """Alone they wait a moment for others; the order stays."""
    ours, theirs = socket.socketpair()
    near = Channel(*await asyncio.open_connection(sock=ours))
    reader, writer = await asyncio.open_connection(sock=theirs)
    first, second = (Tell(StepStarted(host=HOST.name, step=step, attempt=1)) for step in ("survey", "plan"))
    for message in (first, Stop(), second, first):
        near.send(message)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    near.close()
    sent = []
    for _ in range(2):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        sent.append(loaded(await reader.readexactly(length)))
    writer.close()
    await asyncio.gather(near.wait_closed(), writer.wait_closed())
    assert sent == [(first, Stop()), (second, first)]


async def test_message_that_cannot_be_sent_ends_the_channel() -> None:
    """A bug of ours is raised, and the other side sees the end: it waits for nothing, whatever is handed over later."""
    ours, theirs = socket.socketpair()
    near = Channel(*await asyncio.open_connection(sock=ours))
    far = Channel(*await asyncio.open_connection(sock=theirs))
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context.get("exception")))
    near.send(Share(lambda: None))
    async with asyncio.timeout(10):
        received = [message async for message in far.received()]
    near.send(Stop())
    near.close()
    far.close()
    await asyncio.gather(near.wait_closed(), far.wait_closed())
    assert (received, len(bugs)) == ([], 1)


async def test_channel_is_closed_whatever_cannot_be_sent() -> None:
    """What was handed over last is at fault."""
    ours, theirs = socket.socketpair()
    near = Channel(*await asyncio.open_connection(sock=ours))
    far = Channel(*await asyncio.open_connection(sock=theirs))
    near.send(Share(lambda: None))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        near.close()
    async with asyncio.timeout(10):
        assert [message async for message in far.received()] == []
    near.close()
    far.close()
    await asyncio.gather(near.wait_closed(), far.wait_closed())


async def test_error_passes_a_socket() -> None:
    """With its code, its step, and whether a retry may help."""
    error = HostUnreachableError("connection_lost", "gone", "run again", transient=True)
    error.step = "prepare"
    (done,) = await passed(Done(1, error=error))
    assert isinstance(done, Done)
    back = done.error
    assert isinstance(back, HostUnreachableError)
    assert (back.code, back.step, back.transient, back.hint) == (
        "connection_lost",
        "prepare",
        True,
        "run again",
    )


@pytest.mark.parametrize(
    "value",
    [os.system, exec, asyncio.sleep, struct.Struct, socket.socket, print],
    ids=lambda value: value.__name__,
)
def test_nothing_that_acts_is_taken(value: Callable[..., object]) -> None:
    """A worker reads what hosts say: what it sends may name records and plain values alone."""
    with pytest.raises(pickle.UnpicklingError, match="is no record"):
        loaded(pickle.dumps((Done(1, value),)))


def test_function_of_ours_is_not_taken_either() -> None:
    """Only classes are."""
    with pytest.raises(pickle.UnpicklingError, match=r"outcomes\.failed is no record"):
        loaded(pickle.dumps((Done(1, outcomes.failed),)))


class _ByName:
    """Pickled as an attribute that is looked up by its name."""

    def __init__(self, kind: type, name: str) -> None:
        self.looked_up = kind, name

    def __reduce__(self) -> tuple[Callable[..., object], tuple[type, str]]:
        return getattr, self.looked_up


def test_member_of_an_enumeration_is_taken_by_its_name() -> None:
    """As some releases of Python write it."""
    assert loaded(pickle.dumps((Done(1, _ByName(Result, "FAILED")),))) == (Done(1, Result.FAILED),)


@pytest.mark.parametrize("kind", [SurveyJob, Path], ids=lambda kind: kind.__name__)
def test_attribute_of_anything_else_is_not(kind: type) -> None:
    """It could be a function."""
    with pytest.raises(pickle.UnpicklingError, match="is no member"):
        loaded(pickle.dumps((Done(1, _ByName(kind, "run")),)))


def test_what_is_no_message_is_refused() -> None:
    """Plain values alone are none."""
    for value in ("hello", ("hello",), Stop()):
        with pytest.raises(pickle.UnpicklingError, match="no messages"):
            loaded(pickle.dumps(value))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x05.",
        pickle.dumps(Stop())[:-3],
        b"cionetctl.nothing\nStop\n.",
        b"cionetctl.rollout.engines.messages\nNothing\n.",
        b"cionetctl.rollout.engines.messages\nDo\n(I1\ntR.",
    ],
)
def test_damaged_message_is_refused(data: bytes) -> None:
    """Whatever pickle makes of it, the caller sees one kind of error, for which a worker is ended."""
    with pytest.raises(pickle.UnpicklingError):
        loaded(data)


async def received(data: bytes) -> list[Message]:
    """What is taken of some bytes."""
    ends = socket.socketpair()
    channel = Channel(*await asyncio.open_connection(sock=ends[1]))
    ends[0].sendall(data)
    ends[0].close()
    try:
        return [message async for message in channel.received()]
    finally:
        channel.close()
        await channel.wait_closed()


async def test_oversized_message_is_refused_by_its_length() -> None:
    """Nothing of it is read."""
    with pytest.raises(pickle.UnpicklingError, match=f"{LIMIT_BYTES + 1} bytes"):
        await received(struct.pack(">I", LIMIT_BYTES + 1))


async def test_half_a_message_is_the_end() -> None:
    """Whoever sent it is gone."""
    assert await received(struct.pack(">I", 100) + b"half") == []


@pytest.mark.parametrize(
    "job", [SurveyJob(HOST), EnrollJob(PLANNED, "n"), AnnounceJob(PLANNED)], ids=lambda j: type(j).__name__
)
def test_job_knows_its_host(job: Job[object]) -> None:
    """Whoever gives it out goes by that."""
    assert job.host is HOST


def test_lost_job_has_a_result() -> None:
    """A host that nobody can say anything of is a failure, as is one whose plan nobody recorded."""
    error = HostUnreachableError("worker_lost", "twice", "again")
    for job in (SurveyJob(HOST), AnnounceJob(PLANNED), EnrollJob(PLANNED, "n")):
        problem = job.lost(error).problem
        assert problem is not None
        assert problem.code == "worker_lost"
