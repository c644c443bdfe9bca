"""The apply dialogue: who sends what when, and what each way of breaking off means."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
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
from ionetctl.facts.report_lines import AwaitToken, AwaitVerdict, Done
from ionetctl.host.apply_dialogue import HINTS, LOG_LINES, ApplyDialogue, apply_payload
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
    Emitted,
    FakeConnector,
    FakeHost,
    FakeIssuer,
    FakeRegion,
    Line,
    dependencies,
)
from tests.support.sample import NODE_ID, NOMAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.ports import Completed

DEPENDENCIES = dependencies(RolloutId("r-1"), FakeConnector({}), FakeRegion(), FakeIssuer(), Emitted())
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


class Apply:
    """One apply on a scripted host; ``steps`` are those that the host reported."""

    def __init__(
        self, *script: Line, payload: Payload = PAYLOAD, stderr: bytes = b"", status: int = 0
    ) -> None:
        self.host = FakeHost((), (script,), stderr=stderr, exit_status=status)
        self.payload = payload
        self.steps: list[str] = []
        self.dialogue: ApplyDialogue | None = None

    async def on_step(self, name: str) -> None:
        self.steps.append(name)

    async def confirm(self, dialogue: ApplyDialogue) -> str | None:
        """Lead the dialogue as it goes when all is well."""
        self.dialogue = dialogue
        await dialogue.until(AwaitVerdict)
        dialogue.answer("confirmed")
        await dialogue.until(Done)
        return dialogue.node_id

    async def run(self) -> str | None:
        return await apply_payload(self.host, DEPENDENCIES, self.payload, self.on_step, self.confirm)

    async def failure(self) -> IonetctlError:
        with pytest.raises(IonetctlError) as caught:
            await self.run()
        return caught.value


async def test_apply_that_goes_well_returns_the_node_id() -> None:
    """The id that the host reports comes back after the last step."""
    apply = Apply(*WITHOUT_TOKEN)
    assert await apply.run() == NODE_ID
    assert apply.steps[-1] == "finish"


async def test_host_that_needs_no_token_receives_the_verdict_alone() -> None:
    """Nothing else is written to its input after the archive."""
    apply = Apply(*WITHOUT_TOKEN)
    await apply.run()
    assert apply.host.heard == ["confirmed"]


async def test_host_is_addressed_with_lock_and_programs() -> None:
    """The command names who holds the lock and the programs of which something may lie there."""
    apply = Apply("error\tread_only\tx", payload=replace(UNREADABLE, fence=7))
    await apply.failure()
    (command,) = apply.host.commands
    identity = ("r-1", "ops@ctl", "2026-11-23T01:12:26+00:00", "7", "-", NOMAD.packed_digest)
    assert command.argv == ("sh", "-c", "# receive.sh\n", "sh", command.argv[4], *identity)


async def test_apply_is_bounded() -> None:
    """An hour, five minutes of silence and 1 MiB of output are the limits."""
    apply = Apply(*WITHOUT_TOKEN)
    await apply.run()
    (command,) = apply.host.commands
    assert (command.timeout_s, command.idle_s, command.limit_bytes) == (3600.0, 300.0, 1024 * 1024)


async def test_payload_arrives_whole() -> None:
    """What the host received is the archive."""
    apply = Apply(*WITHOUT_TOKEN)
    await apply.run()
    assert apply.host.members["f/1"] == CONTENT


async def test_login_noise_is_passed_over() -> None:
    """A greeting before the first report does no harm."""
    assert await Apply("Welcome to rig 7!", "", *WITHOUT_TOKEN).run() == NODE_ID


async def test_payload_waits_for_the_nonce() -> None:
    """Nothing is sent to whoever answers with another nonce."""
    apply = Apply("ready\tffffff", "error\tapply_failed\tno payload came")
    assert (await apply.failure()).code == "apply_failed"
    assert apply.host.payloads == []


async def test_malformed_report_is_an_error() -> None:
    """A step that no script has is not taken for progress."""
    assert (await Apply("step\tselfdestruct", "ready\tNONCE", *START).failure()).code == "report_malformed"


async def test_malformed_report_ends_the_dialogue() -> None:
    """It ends before anything is sent."""
    apply = Apply("step\tselfdestruct", "ready\tNONCE", *START)
    await apply.failure()
    assert apply.host.payloads == []


@pytest.mark.parametrize(
    ("line", "kind", "code", "message"),
    [
        ("error\tdisk_full\tNo space left", HostFailedError, "disk_full", "No space left"),
        (
            "error\tlocked\tr-2 eve@ctl 2026",
            HostLockedError,
            "host_locked",
            "r-2 eve@ctl 2026 is at work on this host",
        ),
        (
            "error\tchanged\tr-2 eve@ctl 2026",
            HostLockedError,
            "host_changed",
            "r-2 eve@ctl 2026 has been at work on this host since it was surveyed here",
        ),
        (
            "error\tchanged\t",
            HostLockedError,
            "host_changed",
            "another rollout has been at work on this host since it was surveyed here",
        ),
        ("error\tnew_code\t\x1b[31mred", HostFailedError, "new_code", "red"),
    ],
)
async def test_error_of_the_host_is_raised(line: str, kind: type[HostError], code: str, message: str) -> None:
    """What the host reports comes out as an error with a hint, not to be tried again."""
    failure = await Apply("ready\tNONCE", line).failure()
    assert (type(failure), failure.code, failure.message) == (kind, code, message)
    assert failure.hint == HINTS.get(code.removeprefix("host_"), HINTS["apply_failed"])
    assert isinstance(failure, HostError)
    assert not failure.transient


def test_hints_hold_where_nothing_was_installed_before() -> None:
    """A fresh host has no old version, and a mirror with another release under a name is no fault of the host's memory."""
    assert [code for code, hint in HINTS.items() if re.search(r"\bold\b", hint)] == []
    assert "memory" not in HINTS["wrong_version"]
    assert "mirror" in HINTS["wrong_version"]


@pytest.mark.parametrize("code", ["start_failed", "start_timeout"])
async def test_failed_start_is_reported_with_the_logs_end(code: str) -> None:
    """The log's last line says what the exit status does not."""
    failure = await Apply(
        *RECEIVE, "log\tcannot bind", "log\tgiving up", f"error\t{code}\tit failed"
    ).failure()
    assert failure.message == "it failed; its log ends: giving up"


CGROUP = "==> Error starting agent: client setup failed: failed to create nomad cgroup"


@pytest.mark.parametrize(
    ("log", "shown", "remedy"),
    [
        (
            (CGROUP, "nomad.service: Failed with result 'exit-code'.", "Failed to start Nomad."),
            CGROUP,
            "cgroup",
        ),
        (("Starting nomad.service - Nomad...",), "Starting nomad.service - Nomad...", HINTS["start_failed"]),
    ],
)
async def test_agents_own_lines_are_shown_before_systemds(
    log: tuple[str, ...], shown: str, remedy: str
) -> None:
    """Every failure ends with the same lines of systemd; where the agent's name a cause, the hint is its remedy."""
    lines = [f"log\t{line}" for line in log]
    failure = await Apply(*RECEIVE, *lines, "error\tstart_failed\tit failed").failure()
    assert failure.message == f"it failed; its log ends: {shown}"
    assert remedy in failure.hint


async def test_failed_start_without_a_log_stays_as_it_is() -> None:
    """Nothing is added where there is no log."""
    assert (await Apply(*RECEIVE, "error\tstart_failed\tit failed").failure()).message == "it failed"


async def test_log_keeps_its_end() -> None:
    """Of a log that is longer than agreed the last lines count."""
    lines = [f"log\tline {number}" for number in range(LOG_LINES + 5)]
    apply = Apply(*RECEIVE, *START, *lines, *VERDICT, *FINISH)
    await apply.run()
    assert apply.dialogue is not None
    assert (len(apply.dialogue.log), apply.dialogue.log[-1]) == (LOG_LINES, f"line {LOG_LINES + 4}")


async def test_lost_connection_is_raised_as_it_came() -> None:
    """That the connection went is for the retries to judge."""
    assert await Apply(*RECEIVE, LOST).failure() is LOST


async def test_loss_after_the_end_is_of_no_matter() -> None:
    """Once the host has reported that all is done, how the connection ends changes nothing."""
    assert await Apply(*WITHOUT_TOKEN, LOST).run() == NODE_ID


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
async def test_script_that_dies_is_reported_by_its_last_line(stderr: bytes, message: str) -> None:
    """A script that ends without a report failed, and its standard error is made harmless."""
    failure = await Apply(*RECEIVE, stderr=stderr, status=2).failure()
    assert (failure.code, failure.message) == ("apply_failed", message)


@pytest.mark.parametrize(
    "error", [RegionError("region_silent", "no answer"), HostUnverifiedError("not_registered", "not there")]
)
async def test_host_tidies_up_before_the_error_goes_on(error: IonetctlError) -> None:
    """When this side gives up, the host's input ends and it ends by itself; then the error comes out."""
    apply = Apply(*WITH_TOKEN)

    async def lead(dialogue: ApplyDialogue) -> None:
        await dialogue.until(AwaitToken)
        raise error

    with pytest.raises(IonetctlError) as caught:
        await apply_payload(apply.host, DEPENDENCIES, PAYLOAD, apply.on_step, lead)
    assert (caught.value, apply.host.heard) == (error, [None])


async def test_payload_that_cannot_be_read_fails_this_host_alone() -> None:
    """A release that vanished from the cache is an error like others, not the end of everything."""
    failure = await Apply("ready\tNONCE", *TOKEN, payload=UNREADABLE).failure()
    assert isinstance(failure, ConfigurationError)
    assert failure.code == "artifact_missing"


async def test_cancelled_apply_ends_its_run() -> None:
    """Whoever is told to stop now does not leave the session running."""
    is_released = asyncio.Event()

    class Hanging(FakeHost):
        async def run(self, *_: object) -> Completed:
            try:
                await asyncio.Event().wait()
            finally:
                is_released.set()
            raise AssertionError

    apply = Apply()
    task = asyncio.create_task(
        apply_payload(Hanging(()), DEPENDENCIES, PAYLOAD, apply.on_step, apply.confirm)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_released.is_set()


async def test_steps_are_passed_on_in_order() -> None:
    """Every step that the host reports is passed on."""
    apply = Apply(*WITHOUT_TOKEN)
    await apply.run()
    reported: Sequence[str] = [
        str(line).partition("\t")[2] for line in WITHOUT_TOKEN if str(line).startswith("step")
    ]
    assert apply.steps == reported
