"""The apply conversation: who speaks when, and what each way of breaking off means."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import (
    ConfigurationError,
    HostError,
    HostFailedError,
    HostLockedError,
    HostUnreachableError,
    HostUnverifiedError,
    IonetctlError,
    RegionError,
)
from ionetctl.core.model.names import RolloutId
from ionetctl.core.model.plan import BundleFile, Kind
from ionetctl.core.ports import Completed
from ionetctl.facts.survey_output import AwaitToken, AwaitVerdict, Done
from ionetctl.host.apply_session import HINTS, LOG_LINES, Conversation, Opening, converse, last_words
from ionetctl.plan.bundle import sha256
from ionetctl.plan.payload import Payload
from tests.support.fakes import (
    FINISH,
    RECEIVE,
    START,
    TOKEN,
    VERDICT,
    WITH_TOKEN,
    WITHOUT_TOKEN,
    FakeHost,
    Line,
)
from tests.support.sample import NODE_ID, NOMAD

if TYPE_CHECKING:
    from collections.abc import Sequence

OPENING = Opening("# receive.sh\n", "abcdef", "r-1", "ops@ctl", "2026-11-23T01:00:00Z", 3600.0, 300.0)
CONTENT = b"plugin\n" * 30_000
PAYLOAD = Payload(
    RolloutId("r-1"),
    b"# apply.sh\n",
    files=(BundleFile("/etc/f", Kind.FILE, 0o644, restarts=True, content=CONTENT, digest=sha256(CONTENT)),),
)
UNREADABLE = Payload(
    RolloutId("r-1"),
    b"# apply.sh\n",
    programs=(BundleFile("/p", Kind.PROGRAM, 0o755, restarts=True, digest=NOMAD.digest, program=NOMAD),),
)
LOST = HostUnreachableError("connection_lost", "it went away", transient=True)


class Talk:
    """One conversation with a scripted host; ``steps`` are those that the host reported."""

    def __init__(
        self, *script: Line, payload: Payload = PAYLOAD, stderr: bytes = b"", status: int = 0
    ) -> None:
        self.host = FakeHost((), (script,), stderr=stderr, exit_status=status)
        self.payload = payload
        self.steps: list[str] = []
        self.talk: Conversation | None = None

    async def on_step(self, name: str) -> None:
        self.steps.append(name)

    async def confirm(self, talk: Conversation) -> str | None:
        """Lead the talk as it goes when all is well."""
        self.talk = talk
        await talk.until(AwaitVerdict)
        talk.answer("confirmed")
        await talk.until(Done)
        return talk.node_id

    async def run(self) -> str | None:
        return await converse(self.host, OPENING, self.payload, self.on_step, self.confirm)

    async def failure(self) -> IonetctlError:
        with pytest.raises(IonetctlError) as caught:
            await self.run()
        return caught.value


async def test_conversation_that_goes_well() -> None:
    """The host's node id comes back, and it heard the verdict alone."""
    talk = Talk(*WITHOUT_TOKEN)
    assert await talk.run() == NODE_ID
    assert (talk.host.heard, talk.steps[-1]) == (["confirmed"], "finish")


async def test_host_is_addressed_with_lock_and_size() -> None:
    """The command names who holds the lock and how many bytes will come."""
    talk = Talk(*WITHOUT_TOKEN)
    await talk.run()
    command = talk.host.commands[0]
    size = str(PAYLOAD.size_bytes)
    assert command.argv == (
        "sh",
        "-c",
        "# receive.sh\n",
        "sh",
        "abcdef",
        "r-1",
        "ops@ctl",
        "2026-11-23T01:00:00Z",
        size,
    )
    assert (command.timeout_s, command.idle_s) == (3600.0, 300.0)


async def test_payload_arrives_whole() -> None:
    """What the host received is the archive."""
    talk = Talk(*WITHOUT_TOKEN)
    await talk.run()
    assert talk.host.members["f/1"] == CONTENT


async def test_login_noise_is_passed_over() -> None:
    """A greeting before the protocol's first word does no harm."""
    assert await Talk("Welcome to rig 7!", "", *WITHOUT_TOKEN).run() == NODE_ID


async def test_payload_waits_for_the_nonce() -> None:
    """Nothing is sent to whoever answers with another nonce."""
    talk = Talk("ready\tffffff", "error\tapply_failed\tno payload came")
    assert (await talk.failure()).code == "apply_failed"
    assert talk.host.payloads == []


async def test_report_that_cannot_be_meant_ends_the_talk() -> None:
    """Nonsense ends it before anything is sent, and the host hears that nobody speaks any more."""
    talk = Talk("step\tselfdestruct", "ready\tNONCE", *START)
    failure = await talk.failure()
    assert (failure.code, talk.host.payloads) == ("report_malformed", [])


async def test_hanging_up_stops_the_payload() -> None:
    """A host that has said no is not sent the rest, however much that is."""
    conversation = Conversation("abcdef", PAYLOAD, Talk().on_step)
    conversation.hear(b"ready\tabcdef")
    speech = conversation.speech()
    first = await anext(speech)
    conversation.hang_up()
    assert (len(first), [block async for block in speech]) == (512, [])


@pytest.mark.parametrize(
    ("said", "kind", "code", "message"),
    [
        ("error\tdisk_full\tNo space left", HostFailedError, "disk_full", "No space left"),
        (
            "error\tlocked\tr-2 eve@ctl 2026",
            HostLockedError,
            "host_locked",
            "r-2 eve@ctl 2026 is at work on this host",
        ),
        ("error\tnew_code\t\x1b[31mred", HostFailedError, "new_code", "red"),
    ],
)
async def test_error_of_the_host_is_raised(said: str, kind: type[HostError], code: str, message: str) -> None:
    """What the host reports comes out as an error with a hint, not to be tried again."""
    failure = await Talk("ready\tNONCE", said).failure()
    assert (type(failure), failure.code, failure.message) == (kind, code, message)
    assert failure.hint == HINTS.get(code.removeprefix("host_"), HINTS["apply_failed"])
    assert isinstance(failure, HostError)
    assert not failure.transient


@pytest.mark.parametrize("code", ["start_failed", "start_timeout"])
async def test_failed_start_is_told_with_the_logs_end(code: str) -> None:
    """The log's last line says what the exit status does not."""
    failure = await Talk(
        *RECEIVE, "log\tcannot bind", "log\tgiving up", f"error\t{code}\tit failed"
    ).failure()
    assert failure.message == "it failed; its log ends: giving up"


CGROUP = "==> Error starting agent: client setup failed: failed to create nomad cgroup"


@pytest.mark.parametrize(
    ("log", "words", "remedy"),
    [
        (
            (CGROUP, "nomad.service: Failed with result 'exit-code'.", "Failed to start Nomad."),
            CGROUP,
            "cgroup",
        ),
        (("Starting nomad.service - Nomad...",), "Starting nomad.service - Nomad...", HINTS["start_failed"]),
    ],
)
async def test_agents_own_words_count_for_more_than_systemds(
    log: tuple[str, ...], words: str, remedy: str
) -> None:
    """Every failure ends with the same lines of systemd; where the agent's name a cause, its remedy is told."""
    lines = [f"log\t{line}" for line in log]
    failure = await Talk(*RECEIVE, *lines, "error\tstart_failed\tit failed").failure()
    assert failure.message == f"it failed; its log ends: {words}"
    assert remedy in failure.hint


async def test_failed_start_without_a_log_stays_as_it_is() -> None:
    """Nothing is added where there is no log."""
    assert (await Talk(*RECEIVE, "error\tstart_failed\tit failed").failure()).message == "it failed"


async def test_log_keeps_its_end() -> None:
    """Of a log that is longer than agreed the last lines count."""
    lines = [f"log\tline {number}" for number in range(LOG_LINES + 5)]
    talk = Talk(*RECEIVE, *START, *lines, *VERDICT, *FINISH)
    await talk.run()
    assert talk.talk is not None
    assert (len(talk.talk.log), talk.talk.log[-1]) == (LOG_LINES, f"line {LOG_LINES + 4}")


async def test_lost_connection_is_raised_as_it_came() -> None:
    """That the connection went is for the retries to judge."""
    assert await Talk(*RECEIVE, LOST).failure() is LOST


async def test_loss_after_the_end_is_of_no_matter() -> None:
    """Once the host has said that all is done, how the connection ends changes nothing."""
    assert await Talk(*WITHOUT_TOKEN, LOST).run() == NODE_ID


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            b"sh: 1: oops\nsh: 2: Syntax \x1b[31merror\n",
            "the apply script ended with status 2: sh: 2: Syntax error",
        ),
        (b"", "the apply script ended with status 2: nothing on standard error"),
    ],
)
async def test_script_that_dies_is_told_by_its_last_words(stderr: bytes, message: str) -> None:
    """A script that ends without a word of the protocol failed, and its words are made harmless."""
    failure = await Talk(*RECEIVE, stderr=stderr, status=2).failure()
    assert (failure.code, failure.message) == ("apply_failed", message)


def test_last_words_are_bounded() -> None:
    """A host may say as much as it likes, and is quoted briefly."""
    assert len(last_words(Completed(1, b"", b"x" * 10_000))) == 200


@pytest.mark.parametrize(
    "error", [RegionError("region_silent", "no answer"), HostUnverifiedError("not_registered", "not there")]
)
async def test_host_tidies_up_before_the_error_goes_on(error: IonetctlError) -> None:
    """When this side gives up, the host hears the end and ends by itself; then the error comes out."""
    talk = Talk(*WITH_TOKEN)

    async def drive(conversation: Conversation) -> None:
        await conversation.until(AwaitToken)
        raise error

    with pytest.raises(IonetctlError) as caught:
        await converse(talk.host, OPENING, PAYLOAD, talk.on_step, drive)
    assert (caught.value, talk.host.heard) == (error, [None])


async def test_payload_that_cannot_be_read_fails_this_host_alone() -> None:
    """A release that vanished from the cache is an error like others, not the end of everything."""
    failure = await Talk("ready\tNONCE", *TOKEN, payload=UNREADABLE).failure()
    assert isinstance(failure, ConfigurationError)
    assert failure.code == "artifact_missing"


async def test_cancelled_conversation_lets_go_of_the_session() -> None:
    """Whoever is told to stop now does not leave the session running."""
    is_released = asyncio.Event()

    class Hanging(FakeHost):
        async def run(self, *_: object) -> Completed:
            try:
                await asyncio.Event().wait()
            finally:
                is_released.set()
            raise AssertionError

    talk = Talk()
    task = asyncio.create_task(converse(Hanging(()), OPENING, PAYLOAD, talk.on_step, talk.confirm))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_released.is_set()


async def test_steps_are_told_in_order() -> None:
    """Every step that the host reports is passed on."""
    talk = Talk(*WITHOUT_TOKEN)
    await talk.run()
    reported: Sequence[str] = [
        str(line).partition("\t")[2] for line in WITHOUT_TOKEN if str(line).startswith("step")
    ]
    assert talk.steps == reported
