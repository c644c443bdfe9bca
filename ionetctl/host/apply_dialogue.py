"""The apply dialogue with one host: what it reports, and what it is answered.

See docs/explanation/host-protocol.md. Knows its reports and their errors; what is answered when is for ``confirm_node`` to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl.core.errors import HostError, HostFailedError
from ionetctl.facts.report_lines import APPLY_REPORTS, Failed, LogLine, NodeReported, Report, Step
from ionetctl.host.dialogue import DialogueKind, HostDialogue, hold_dialogue
from ionetctl.verification.log_diagnosis import diagnose

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.core.model.names import NodeId
    from ionetctl.core.ports import Session
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.plan.payload import Payload

LOG_LINES: Final = 40
"""As many as the host sends at most."""

HINTS: Final[dict[str, str]] = {
    "abandoned": "run the same command again",
    "certificate_mismatch": "run again; if it stays, look for bad memory or a failing disk in the host",
    "apply_failed": "run again with -v; the message is the host's own",
    "changed": "nothing was changed by this one; run the same command again, and let only one rollout at a time have the host",
    "config_invalid": "Nomad refuses the new configuration, and nothing was changed on the host; check meta and templates",
    "disk_full": "free some room on the host, and run again",
    "locked": "wait for that rollout to end, or stop it where it runs",
    "no_exec": "mount the file system without noexec",
    "no_node_id": "look at the log on the host: journalctl -u nomad.service",
    "payload_corrupt": "run again; if it stays, look for bad memory or a failing disk in the host",
    "read_only": "remount the file system writable",
    "start_failed": "the host was put back as it was; the log's tail tells why",
    "start_timeout": "the host was put back as it was; look for a hanging driver (nvidia-smi) or a full disk",
    "wrong_version": "the mirror has another release under this name: correct the mirror, or nomad.version in the inventory",
    "wrong_architecture": "the program does not run there; check the architecture that the host reports",
}
KIND: Final = DialogueKind(
    title="the apply script",
    code="apply_failed",
    reports=APPLY_REPORTS,
    hints=HINTS,
    awaits_answers=True,
    idle_s=lambda limits: limits.idle_s + 2 * limits.step_s,  # while the region is asked
    limit_bytes=1024 * 1024,
)

_SYSTEMD_LINE: Final = re.compile(r"nomad\.service: |(Starting|Started|Stopping|Stopped|Failed to start) ")

_Kind = TypeVar("_Kind", bound=Report)
_Result = TypeVar("_Result")


class ApplyDialogue:
    """The dialogue of one apply, with the node id and the log's end as the host has reported them so far."""

    def __init__(self, dialogue: HostDialogue, on_step: Callable[[str], Awaitable[None]]) -> None:
        self._dialogue = dialogue
        self._on_step = on_step
        self.node_id: NodeId | None = None
        self.log: list[str] = []

    def answer(self, text: str) -> None:
        """Reply to what the host awaits."""
        self._dialogue.answer(text)

    async def until(self, kind: type[_Kind]) -> _Kind:
        """The next report of that kind; steps, logs and the node id before it are taken note of.

        Raises the ``HostError`` that the host reported, or what ended the dialogue.
        """
        while not isinstance(report := await self._dialogue.next_report(), kind):
            await self._note(report)
        return report

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
        failure = self._dialogue.failure(code, message)
        if code == "payload_corrupt":
            # The host has removed what lay there: all of it is sent again.
            failure.transient = self._dialogue.is_resumed
        if code not in {"start_failed", "start_timeout"} or not self.log:
            return failure
        diagnosis = diagnose(self.log)
        explained = f"{message}; its log ends: {_last_agent_line(self.log)}"
        hint = f"{diagnosis.hint}; {failure.hint}" if diagnosis else failure.hint
        return HostFailedError(code, explained, hint)


async def apply_payload(
    session: Session,
    dependencies: Dependencies,
    payload: Payload,
    on_step: Callable[[str], Awaitable[None]],
    lead: Callable[[ApplyDialogue], Awaitable[_Result]],
) -> _Result:
    """What ``lead`` returns, having led the dialogue to its end.

    When it raises, the error goes on once the host has tidied up: its input ends, and it is waited for. Raises what
    ``lead``, the host or the connection raise.
    """
    return await hold_dialogue(
        session, dependencies, KIND, payload, lambda dialogue: lead(ApplyDialogue(dialogue, on_step))
    )


def _last_agent_line(log: Sequence[str]) -> str:
    """The last line that is not systemd's own: systemd ends every failure with the same lines."""
    agents = [line for line in log if not _SYSTEMD_LINE.match(line)]
    return (agents or log)[-1]
