"""One dialogue with a host: an exec of ``receive.sh``, the archive on its standard input, reports on its standard output.

See docs/explanation/host-protocol.md. Knows what an apply and a preparation have in common on the wire, and neither of the two.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ionetctl.core.errors import (
    HostError,
    HostFailedError,
    HostLockedError,
    HostUnreachableError,
    IonetctlError,
)
from ionetctl.core.ports import Command
from ionetctl.core.sanitize import harmless
from ionetctl.facts.report_lines import Have, Ready, Report, ReportTable, parse_report_line
from ionetctl.host.dependencies import NONCE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from ionetctl.core.model.names import Digest, RolloutId
    from ionetctl.core.ports import Completed, Session
    from ionetctl.host.dependencies import Deadlines, Dependencies

ERROR_LINE_CHARS: Final = 200

_Result = TypeVar("_Result")


class Archive(Protocol):
    """What is sent: a tar archive, made block by block, without what lies on the host already."""

    @property
    def fence(self) -> int:
        """How often the host's lock had been taken when the host was surveyed for it."""
        ...

    @property
    def packed_digests(self) -> tuple[Digest, ...]:
        """Of the files of which the host may have a part."""
        ...

    def size_bytes(self, present: Mapping[Digest, int]) -> int:
        """The size of the archive for a host on which so many bytes of each file lie."""
        ...

    def blocks(self, present: Mapping[Digest, int]) -> Iterator[bytes | memoryview]:
        """The archive in blocks of at most 64 KiB; raises ``IonetctlError`` where a file has changed since."""
        ...


@dataclass(frozen=True, slots=True)
class DialogueKind:
    """What is not the same in an apply and a preparation: reports, hints, and whether the host awaits answers.

    ``code`` stands for a failure that has no code of its own, ``idle_s`` is how long the host may be silent. A host that awaits answers is given the time to tidy up
    when the controller fails; one that awaits none has its input closed after the archive, and is left at once.
    """

    title: str
    code: str
    reports: ReportTable
    hints: Mapping[str, str]
    awaits_answers: bool
    idle_s: Callable[[Deadlines], float]
    limit_bytes: int

    def failure(self, code: str, message: str, rollout: RolloutId) -> HostError:
        """The error for a failure that the host reports to ``rollout``.

        Where it is the rollout's own earlier attempt that holds the host, or was at it since, another attempt looks again.
        """
        if code in {"locked", "changed"} and message.partition(" ")[0] == rollout:
            return apply_still_running()
        if code == "changed":
            message = (
                f"{message or 'another rollout'} has been at work on this host since it was surveyed here"
            )
            return HostLockedError("host_changed", message, self.hints[code])
        if code == "locked":
            return HostLockedError("host_locked", f"{message} is at work on this host", self.hints[code])
        return HostFailedError(code, message, self.hints.get(code, self.hints[self.code]))


def apply_still_running() -> HostUnreachableError:
    """The error where an earlier attempt of the same rollout is, or was a moment ago, at work on the host."""
    message = "the apply of a connection that broke off is still at work there"
    return HostUnreachableError("apply_still_running", message, "it ends by itself", transient=True)


class HostDialogue:
    """What passes between the controller and one host until one of them ends it."""

    def __init__(self, kind: DialogueKind, nonce: str, archive: Archive, rollout: RolloutId) -> None:
        self._kind = kind
        self._nonce = nonce
        self._rollout = rollout
        self._archive = archive
        self._reports: asyncio.Queue[Report | IonetctlError] = asyncio.Queue()
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._present: dict[Digest, int] = {}
        self._may_send = asyncio.Event()
        self._is_closed = False

    @property
    def is_resumed(self) -> bool:
        """Whether the host reported to have something of what is sent, from an upload that broke off."""
        return bool(self._present)

    def failure(self, code: str, message: str) -> HostError:
        """The error for a failure that the host reports."""
        return self._kind.failure(code, message, self._rollout)

    async def next_report(self) -> Report:
        """The next report of the host; raises what ended the dialogue where there is none."""
        report = await self._reports.get()
        if isinstance(report, IonetctlError):
            raise report
        return report

    def answer(self, text: str) -> None:
        """Reply to what the host awaits."""
        self._answers.put_nowait(text.encode() + b"\n")

    def close_input(self) -> None:
        """Send nothing more. Where the host still waits, it takes the end of its input for ``abandon``."""
        self._is_closed = True
        self._may_send.set()
        self._answers.put_nowait(None)

    async def stdin(self) -> AsyncIterator[bytes | memoryview]:
        """All that is sent: the archive's size and the archive once the host is ready, then each answer as it is given."""
        await self._may_send.wait()
        present = dict(self._present)
        for block in chain([b"%d\n" % self._archive.size_bytes(present)], self._archive.blocks(present)):
            if self._is_closed:
                return
            yield block
        while self._kind.awaits_answers and (answer := await self._answers.get()) is not None:
            yield answer

    def take_line(self, line: bytes) -> None:
        """Take one line of the host's standard output; a malformed one ends the dialogue."""
        try:
            report = parse_report_line(line, self._kind.reports)
        except HostError as error:
            self.end(error)
            return
        if isinstance(report, Have) and report.packed_digest in self._archive.packed_digests:
            self._present.setdefault(report.packed_digest, report.size_bytes)
        if isinstance(report, Ready) and report.nonce == self._nonce:
            self._may_send.set()
        self._reports.put_nowait(report)

    def end(self, reason: IonetctlError) -> None:
        """No report will come any more; ``next_report`` raises ``reason`` after the last one."""
        self._reports.put_nowait(reason)


async def hold_dialogue(
    session: Session,
    dependencies: Dependencies,
    kind: DialogueKind,
    archive: Archive,
    lead: Callable[[HostDialogue], Awaitable[_Result]],
) -> _Result:
    """What ``lead`` returns, having led the dialogue to its end. Raises what ``lead``, the host or the connection raise."""
    nonce = secrets.token_hex(NONCE_BYTES)
    dialogue = HostDialogue(kind, nonce, archive, dependencies.rollout)
    identity = (nonce, dependencies.rollout, dependencies.owner, dependencies.started_at)
    fences = (str(archive.fence), dependencies.lease)
    argv = ("sh", "-c", dependencies.scripts.receive, "sh", *identity, *fences)
    limits = dependencies.deadlines
    command = Command((*argv, *archive.packed_digests), limits.apply_s, kind.idle_s(limits), kind.limit_bytes)
    outcome: _Result | IonetctlError
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_run(session, command, kind, dialogue))
        try:
            outcome = await lead(dialogue)
        except IonetctlError as error:
            outcome = error
            if not kind.awaits_answers:
                running.cancel()
        finally:
            dialogue.close_input()
    if isinstance(outcome, IonetctlError):
        raise outcome
    return outcome


async def _run(session: Session, command: Command, kind: DialogueKind, dialogue: HostDialogue) -> None:
    try:
        completed = await session.run(command, dialogue.stdin(), dialogue.take_line)
    except IonetctlError as error:  # of the host, the connection, or the archive on this side
        dialogue.end(error)
        return
    message = f"{kind.title} ended with status {completed.exit_status}: {last_error_line(completed)}"
    dialogue.end(HostFailedError(kind.code, message, kind.hints[kind.code]))


def last_error_line(completed: Completed) -> str:
    """The last line that a command wrote on standard error, fit to be shown."""
    lines = completed.stderr.decode(errors="replace").strip().splitlines()
    return harmless(lines[-1], ERROR_LINE_CHARS) if lines else "nothing on standard error"
