"""The apply conversation with one host: what it reports, and what it is answered.

See docs/explanation/host-protocol.md. Knows the order of the talk and nothing of regions, plans or retries.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl.core.errors import HostError, HostFailedError, HostLockedError, IonetctlError
from ionetctl.core.ports import Command
from ionetctl.core.sanitize import harmless
from ionetctl.facts.survey_output import Failed, LogLine, NodeReported, Ready, Report, Step, parse_report_line
from ionetctl.verification.log_diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.ports import Completed, Session
    from ionetctl.plan.payload import Payload

LOG_LINES: Final = 40
"""As many as the host sends at most."""
LAST_WORDS_CHARS: Final = 200

HINTS: Final[dict[str, str]] = {
    "abandoned": "run the same command again",
    "apply_failed": "run again with -v; the message is the host's own",
    "config_invalid": "the host's Nomad refused the new configuration, and the old one is untouched; check meta and templates",
    "disk_full": "free some room on the host; the old version runs on",
    "locked": "wait for that rollout to end, or stop it where it runs",
    "no_exec": "mount the file system without noexec",
    "no_node_id": "look at the log on the host: journalctl -u nomad.service",
    "payload_corrupt": "run again; if it stays, look for bad memory or a failing disk in the host",
    "read_only": "remount the file system writable",
    "start_failed": "the host was put back as it was; the log's tail tells why",
    "start_timeout": "the host was put back as it was; look for a hanging driver (nvidia-smi) or a full disk",
    "wrong_architecture": "the program does not run there; check the architecture that the host reports",
}

_SYSTEMD_SAYS: Final = re.compile(r"nomad\.service: |(Starting|Started|Stopping|Stopped|Failed to start) ")

_Kind = TypeVar("_Kind", bound=Report)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Opening:
    """How the host is addressed: the script that takes the lock, who we are, and the deadlines in seconds."""

    receive_script: str
    nonce: str
    rollout: str
    owner: str
    started_at: str
    timeout_s: float
    idle_s: float


class Conversation:
    """One talk. ``until`` waits for what must come next, ``answer`` replies, ``hang_up`` ends it."""

    def __init__(self, nonce: str, payload: Payload, on_step: Callable[[str], Awaitable[None]]) -> None:
        self._nonce = nonce
        self._payload = payload
        self._on_step = on_step
        self._reports: asyncio.Queue[Report | IonetctlError] = asyncio.Queue()
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._may_speak = asyncio.Event()
        self._has_hung_up = False
        self.node_id: NodeId | None = None
        self.log: list[str] = []

    def hear(self, line: bytes) -> None:
        """Take one line of the host; one that cannot be meant ends the talk for whoever waits."""
        try:
            report = parse_report_line(line)
        except HostError as error:
            self._reports.put_nowait(error)
            return
        if isinstance(report, Ready) and report.nonce == self._nonce:
            self._may_speak.set()
        self._reports.put_nowait(report)

    def end(self, reason: IonetctlError) -> None:
        """Nothing more will be heard; whoever still waits for something hears ``reason``."""
        self._reports.put_nowait(reason)

    async def speech(self) -> AsyncIterator[bytes | memoryview]:
        """All that is sent, as it becomes due; it ends where the talk was hung up."""
        await self._may_speak.wait()
        for block in self._payload.blocks():
            if self._has_hung_up:
                return
            yield block
        while (answer := await self._answers.get()) is not None:
            yield answer

    def answer(self, text: str) -> None:
        """Reply to what the host awaits."""
        self._answers.put_nowait(text.encode() + b"\n")

    def hang_up(self) -> None:
        """Say no more: the host takes it for ``abandon`` where it still waits."""
        self._has_hung_up = True
        self._may_speak.set()
        self._answers.put_nowait(None)

    async def until(self, kind: type[_Kind]) -> _Kind:
        """The next report of that kind; steps, logs and the node id before it are taken note of.

        Raises the ``HostError`` that the host reported, or what ended the talk.
        """
        while True:
            report = await self._reports.get()
            if isinstance(report, IonetctlError):
                raise report
            if isinstance(report, kind):
                return report
            await self._note(report)

    async def _note(self, report: Report) -> None:
        match report:
            case Step(name=name):
                await self._on_step(name)
            case NodeReported(node_id=node_id):
                self.node_id = node_id
            case LogLine(text=text):
                self.log = [*self.log, text][-LOG_LINES:]
            case Failed(code=code, message=message):
                raise self._failure(code, message)
            case _:
                pass

    def _failure(self, code: str, message: str) -> HostError:
        if code == "locked":
            return HostLockedError("host_locked", f"{message} is at work on this host", HINTS["locked"])
        hint = HINTS.get(code, HINTS["apply_failed"])
        if code not in {"start_failed", "start_timeout"} or not self.log:
            return HostFailedError(code, message, hint)
        diagnosis = diagnose(self.log)
        said = f"{message}; its log ends: {_agents_last_words(self.log)}"
        return HostFailedError(code, said, f"{diagnosis.hint}; {hint}" if diagnosis else hint)


async def converse(
    session: Session,
    opening: Opening,
    payload: Payload,
    on_step: Callable[[str], Awaitable[None]],
    drive: Callable[[Conversation], Awaitable[_Result]],
) -> _Result:
    """What ``drive`` returns, having led the talk to its end.

    When it raises, the host is left to tidy up before the error goes on: it hears the end of input. Raises what
    ``drive``, the host or the connection raise.
    """
    talk = Conversation(opening.nonce, payload, on_step)
    outcome: _Result | IonetctlError
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_run(session, opening, payload, talk))
        try:
            outcome = await drive(talk)
        except IonetctlError as error:
            outcome = error
        finally:
            talk.hang_up()
    if isinstance(outcome, IonetctlError):
        raise outcome
    return outcome


async def _run(session: Session, opening: Opening, payload: Payload, talk: Conversation) -> None:
    identity = (opening.nonce, opening.rollout, opening.owner, opening.started_at, str(payload.size_bytes))
    argv = ("sh", "-c", opening.receive_script, "sh", *identity)
    command = Command(argv, timeout_s=opening.timeout_s, idle_s=opening.idle_s)
    try:
        completed = await session.run(command, talk.speech(), talk.hear)
    except IonetctlError as error:  # of the host, the connection, or the payload on this side
        talk.end(error)
        return
    tail = last_words(completed)
    message = f"the apply script ended with status {completed.exit_status}: {tail}"
    talk.end(HostFailedError("apply_failed", message, HINTS["apply_failed"]))


def _agents_last_words(log: Sequence[str]) -> str:
    """The last line that is not systemd's own: systemd ends every failure with the same words."""
    agents = [line for line in log if not _SYSTEMD_SAYS.match(line)]
    return (agents or log)[-1]


def last_words(completed: Completed) -> str:
    """The last line that a command wrote on standard error, fit to be shown."""
    lines = completed.stderr.decode(errors="replace").strip().splitlines()
    return harmless(lines[-1], LAST_WORDS_CHARS) if lines else "nothing on standard error"
