"""Which engine a rollout has, how its limits are divided, and what a worker may ask for."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ionetctl.app.open_engine import COMMAND, EngineNeeds, worker_count
from ionetctl.app.work_order import RevealedSecret, WorkersOrder, WorkOrder, divided
from ionetctl.core.errors import LockedError
from ionetctl.core.events import Warned
from ionetctl.core.garbage_collection import THRESHOLD
from ionetctl.core.model.host import SshSettings
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.plan import Form
from ionetctl.core.model.secret import SecretRef
from ionetctl.distribution.distributor import EVERYTHING_PUSHED
from ionetctl.distribution.exchange import Obtained, Request
from ionetctl.distribution.scheduler import PUSH
from ionetctl.host.dependencies import Deadlines
from ionetctl.rollout.concurrently import Slots
from ionetctl.rollout.engines.messages import Answer, Call
from ionetctl.rollout.engines.serve import Coordinator
from ionetctl.rollout.options import RolloutOptions
from ionetctl.ssh import TransportSettings
from tests.support.clock import ManualClock
from tests.support.fakes import Emitted, FakePacker, FakeRegion
from tests.support.sample import EU_NORTH, HOST, bundle
from tests.support.sites import site_of

if TYPE_CHECKING:
    from ionetctl.rollout.options import EngineName

OPTIONS = RolloutOptions("site.yaml")
PASSPHRASE = SecretRef("env", "PASSPHRASE")
WORK = WorkOrder(
    RolloutId("r"), "me", "now", "-", "as-written", False, False, Deadlines(), 21, Path("/c"), ()
)


@pytest.mark.parametrize(
    ("engine", "workers", "hosts", "cores", "expected"),
    [
        ("inline", None, 10_000, 8, 0),
        ("inline", 4, 10_000, 8, 0),
        ("processes", None, 10, 8, 8),
        ("processes", 3, 10, 8, 3),
        ("auto", 3, 10, 8, 3),
        ("auto", None, 1999, 8, 0),
        ("auto", None, 2000, 8, 2),
        ("auto", None, 10_000, 8, 8),
        ("auto", None, 10_000, 1, 0),
    ],
)
def test_workers_are_for_many_hosts(
    engine: EngineName, workers: int | None, hosts: int, cores: int, expected: int
) -> None:
    """As many as are asked for; otherwise as the hosts need and the cores allow, and none where one would do."""
    options = replace(OPTIONS, engine=engine, workers=workers)
    assert worker_count(options, hosts, cores) == expected


def test_worker_seldom_looks_for_garbage(tmp_path: Path) -> None:
    """From its start on, as the coordinator does; it ends with its socket."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, gc\natexit.register(lambda: print(gc.get_threshold()[0]))"
    )
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        argv = [*COMMAND, str(theirs.fileno())]
        environ = {"PYTHONPATH": str(tmp_path)}
        ended = subprocess.run(argv, env=environ, pass_fds=[theirs.fileno()], capture_output=True, check=True)
    assert ended.stdout == f"{THRESHOLD}\n".encode()


def test_limits_are_divided() -> None:
    """Together the workers have no more than the rollout, and each has something; retries too."""
    transport = TransportSettings(handshakes=256, transfers=3, handshakes_per_jump=1, bytes_per_s=1000)
    order = divided(WorkersOrder(WORK, transport, cast("Any", None), {}, {}), 4)
    limits = order.transport
    assert (limits.handshakes, limits.transfers, limits.handshakes_per_jump) == (64, 1, 1)
    assert (limits.bytes_per_s, order.work.retries) == (250, 6)


def test_rate_without_a_limit_has_none() -> None:
    """No rate is no rate, however many share it."""
    order = divided(WorkersOrder(WORK, TransportSettings(), cast("Any", None), {}, {}), 4)
    assert order.transport.bytes_per_s is None


async def lose() -> None:
    """``Dependencies.require_lease`` of a rollout whose lease was lost."""
    raise LockedError("lease_lost", "another one has the hosts")


def needs(emit: Emitted | None = None, pause: object = None) -> EngineNeeds:
    """What is behind the answers: one region, one host with a passphrase."""
    nobody = cast("Any", None)
    host = replace(HOST, ssh=SshSettings(passphrase=PASSPHRASE))
    secrets = cast("Any", SimpleNamespace(reveal=lambda reference: f"secret of {reference}"))
    site = replace(site_of(FakeRegion(), "auto"), hosts=(host,), secrets=secrets)
    dependencies = cast(
        "Any",
        SimpleNamespace(
            distributor=EVERYTHING_PUSHED, retry=SimpleNamespace(pause=pause), require_lease=lose
        ),
    )
    return EngineNeeds(site, WORK, TransportSettings(), dependencies, emit or Emitted(), nobody)


async def test_worker_asks_a_region() -> None:
    """By region, part and method; the answer is the region's."""
    token = await needs().answer(Call(1, (EU_NORTH, "api", "introduce"), ("rig-001", "gpu", 300)))
    assert type(token).__name__ == "IntroductionToken"


async def test_worker_records_an_event() -> None:
    """It is in the record when the answer comes."""
    emit = Emitted()
    assert await needs(emit).answer(Call(1, ("emit",), (Warned(code="c", message="m"),))) is None
    assert emit.events == [Warned(code="c", message="m")]


async def test_worker_is_told_the_secrets_of_hosts() -> None:
    """Those that its connections need."""
    assert await needs().answer(Call(1, ("reveal",), (PASSPHRASE,))) == RevealedSecret(
        "secret of env:PASSPHRASE"
    )


async def test_no_log_of_asyncio_has_a_secret_of_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Its debug mode logs futures and tasks with their results: that of a call has a mask. The control: a plain text shows."""
    loop, sent = asyncio.get_running_loop(), list[Call]()
    coordinator = Coordinator(cast("Any", SimpleNamespace(send=sent.append)))
    loop.set_debug(enabled=True)
    loop.slow_callback_duration = 0

    async def logged(answer: object) -> str:
        """What is logged while a worker gets this answer, to a call that is a task as where a thread makes it."""
        caplog.clear()
        asked = asyncio.create_task(coordinator.call("reveal", arguments=(PASSPHRASE,)))
        await asyncio.sleep(0)
        coordinator.take(Answer(sent[-1].number, answer))
        assert await asked == answer
        await asyncio.sleep(0)
        return caplog.text

    masked, plain = await logged(RevealedSecret("hunter2")), await logged("hunter2")
    loop.set_debug(enabled=False)
    assert "finished" in masked
    assert ("hunter2" in masked, "hunter2" in plain) == (False, True)


async def test_worker_is_told_where_a_host_gets_its_files() -> None:
    """By the coordinator, who alone knows all hosts; it hears what came of it too."""
    request = Request(HOST.name, "rey1/a01", frozenset(), can_serve=True)
    assert await needs().answer(Call(1, ("distributor", "acquire"), (request,))) == PUSH
    settled = Call(2, ("distributor", "settle"), (HOST.name, Obtained(is_whole=True)))
    assert await needs().answer(settled) is None


async def test_worker_hears_that_the_lease_was_lost() -> None:
    """The coordinator has it."""
    with pytest.raises(LockedError):
        await needs().answer(Call(1, ("require_lease",)))


async def test_host_of_a_worker_pauses_without_its_slot() -> None:
    """It waits in the coordinator, where the slots are."""
    clock = ManualClock()
    slots = Slots(1, clock)
    await slots.acquire()
    assert await needs(pause=slots.pause).answer(Call(1, ("pause",), (2.5,))) is None
    assert (clock.slept, slots.locked()) == ([2.5], True)


async def test_worker_has_programs_packed() -> None:
    """Once for all workers, in the coordinator's cache."""
    packer = FakePacker()
    program = next(file.program for file in bundle().files if file.program is not None)
    behind = needs()
    behind.site.artifacts = cast("Any", packer)
    assert await behind.answer(Call(1, ("packer", "pack"), (program, Form.ZSTD))) == await packer.pack(
        program, Form.ZSTD
    )


@pytest.mark.parametrize(
    "call",
    [
        Call(1, ("packer", "emit")),
        Call(1, ("distributor", "seeds")),
        Call(1, ("reveal",), (SecretRef("env", "REGION_TOKEN"),)),
        Call(1, (EU_NORTH, "api", "nodes")),
        Call(1, (EU_NORTH, "api", "__class__")),
        Call(1, (EU_NORTH, "issuer", "_key")),
        Call(1, (EU_NORTH, "settings", "token")),
        Call(1, ("anything",)),
    ],
    ids=lambda call: ".".join(call.path),
)
async def test_worker_is_refused_what_it_need_not_know(call: Call) -> None:
    """The token of a region, the CA's key, anything that is not listed: hosts speak to workers first."""
    with pytest.raises(PermissionError):
        await needs().answer(call)
