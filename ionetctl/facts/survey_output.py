"""What a host's output means: the survey's records as ``Facts``, the apply's lines as ``Report``.

Pure. Nothing a host says is believed to be well-formed or of reasonable size; ``survey_records`` takes the single
records, ``machine_facts`` and this module what they are together. The grammar stands in ``docs/explanation/host-protocol.md``.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from ionetctl.core.errors import HostFailedError, HostUnreachableError
from ionetctl.core.model.facts import Facts, NomadState
from ionetctl.core.model.names import NodeId
from ionetctl.core.sanitize import harmless
from ionetctl.facts.draft import Draft, malformed
from ionetctl.facts.machine import machine_facts, mebibytes
from ionetctl.facts.records import LINE_LIMIT, take

if TYPE_CHECKING:
    from collections.abc import Callable

SURVEY_LIMIT_BYTES: Final = 512 * 1024
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def parse_survey(output: bytes, nonce: str, *, controller_time: float) -> Facts:
    """The facts of a survey's standard output; ``controller_time`` is when it was asked for, in epoch seconds.

    Whatever comes before the opening line is a login's noise, whatever comes after the closing one is not read.

    Raises ``HostFailedError`` (``survey_malformed``), naming the field, where the output is not what the protocol
    allows; ``HostUnreachableError`` (``survey_incomplete``, transient) where its beginning or its end is missing.
    """
    if len(output) > SURVEY_LIMIT_BYTES:
        raise malformed("output", f"more than {SURVEY_LIMIT_BYTES} bytes")
    draft = Draft()
    for line in _records(output, nonce):
        take(draft, line)
    return _facts(draft, controller_time)


def _records(output: bytes, nonce: str) -> list[str]:
    """The lines between the opening and the closing one."""
    lines = output.decode(errors="replace").split("\n")
    try:
        first = lines.index(f"ionet-survey\t1\t{nonce}") + 1
        return lines[first : lines.index(f"ionet-survey-end\t{nonce}", first)]
    except ValueError:
        message = "the survey's output is not whole: the connection dropped, or the host's shell gave up"
        raise HostUnreachableError("survey_incomplete", message, transient=True) from None


def _facts(draft: Draft, controller_time: float) -> Facts:
    texts, numbers = draft.texts, draft.numbers
    host_time = numbers.get("time")
    has_no_gpu = numbers.get("gpu.bus") == 0
    return Facts(
        os_id=texts.get("os.id", ""),
        os_version=texts.get("os.version", ""),
        os_name=texts.get("os.name", ""),
        kernel=texts.get("kernel", ""),
        architecture=texts.get("arch", ""),
        init=texts.get("init", ""),
        is_root=numbers.get("uid") == 0,
        clock_offset_s=None if host_time is None else host_time - controller_time,
        machine_id=texts.get("machine-id"),
        boot_id=texts.get("boot-id"),
        cpu_cores=numbers.get("cpu.cores"),
        memory_mib=mebibytes(draft, "memory.kib"),
        disks=tuple(draft.disks.values()),
        gpus=() if has_no_gpu else None,
        gpu_source="pci" if has_no_gpu else "not probed",
        nomad=_nomad(draft),
        files=draft.files,
        links=draft.links,
        manifest=draft.manifest,
        node_certificate=_certificate(draft.certificate),
        lock_owner=draft.lock and f"{draft.lock[1]} (rollout {draft.lock[0]})",
        lock_started_at=draft.lock and draft.lock[2],
        has_gzip="gzip" in draft.tools,
        has_tar="tar" in draft.tools,
        machine=machine_facts(draft),
    )


def _nomad(draft: Draft) -> NomadState:
    texts, numbers = draft.texts, draft.numbers
    return NomadState(
        is_ours=bool(numbers.get("ours")),
        active=texts.get("nomad.active", "unknown"),
        is_enabled=texts.get("nomad.enabled") == "enabled",
        is_running=bool(numbers.get("nomad.process")),
        agent_version=texts.get("nomad.version"),
        node_id=_node_id(texts.get("nomad.client-id")),
        stamp=texts.get("nomad.stamp"),
        has_introduction_token=bool(numbers.get("nomad.token")),
        allocations=numbers.get("nomad.allocations", 0),
        is_interrupted=bool(numbers.get("interrupted")),
        config_files=tuple(draft.config_files),
    )


def _node_id(text: str | None) -> NodeId | None:
    if text is None:
        return None
    if not _UUID.fullmatch(text):
        raise malformed("nomad.client-id", "it is no UUID")
    return NodeId(text)


def _certificate(lines: list[str]) -> str | None:
    if not lines:
        return None
    try:
        return base64.b64decode("".join(lines), validate=True).decode("ascii", errors="replace")
    except binascii.Error:
        raise malformed("cert", "it is no base64") from None


# --- what an apply reports ---

StepName = Literal[
    "receive", "verify", "validate", "token", "backup", "install", "switch", "start", "node", "finish"
]
STEPS: Final[tuple[StepName, ...]] = get_args(StepName)
"""The parts of an apply, in their order."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The lock is held and the payload may come; ``nonce`` tells whose answer this is."""

    nonce: str


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the apply begins."""

    name: StepName


@dataclass(frozen=True, slots=True)
class AwaitToken:
    """All is staged and judged, nothing was changed: the host waits for an introduction token."""


@dataclass(frozen=True, slots=True)
class AwaitVerdict:
    """The agent runs: the host waits for the region's word."""


@dataclass(frozen=True, slots=True)
class NodeReported:
    """The agent's node id."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the agent's log."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The apply failed and the host is as it was before, unless ``message`` says otherwise."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """All is in place, and nothing temporary is left."""


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that is none of the protocol's: a login's greeting, for one."""

    text: str


Report = Ready | Step | AwaitToken | AwaitVerdict | NodeReported | LogLine | Failed | Done | Noise


def _step(name: str) -> Step | None:
    return next((Step(step) for step in STEPS if step == name), None)


def _awaited(what: str) -> AwaitToken | AwaitVerdict | None:
    return AwaitToken() if what == "token" else AwaitVerdict() if what == "verdict" else None


def _node(text: str) -> NodeReported | None:
    return NodeReported(NodeId(text)) if _UUID.fullmatch(text) else None


def _failed(text: str) -> Failed | None:
    code, _, message = text.partition("\t")
    return Failed(code, harmless(message)) if _CODE.fullmatch(code) else None


def _done(rest: str) -> Done | None:
    return None if rest else Done()


_REPORTS: Final[dict[str, Callable[[str], Report | None]]] = {
    "ready": lambda nonce: Ready(harmless(nonce)),
    "step": _step,
    "await": _awaited,
    "node": _node,
    "log": lambda text: LogLine(harmless(text)),
    "error": _failed,
    "done": _done,
}


def parse_report_line(line: bytes) -> Report:
    """What one line of an apply's standard output says; ``line`` comes without its line break.

    Raises ``HostFailedError`` (``report_malformed``) where a word of the protocol is followed by what may not follow.
    """
    text = line[:LINE_LIMIT].decode(errors="replace")
    word, _, rest = text.partition("\t")
    if (make := _REPORTS.get(word)) is None:
        return Noise(harmless(text))
    report = make(rest)
    if report is None:
        hint = "the scripts of an apply say no such thing: is the host what it claims to be?"
        raise HostFailedError("report_malformed", f"the host reports nonsense: {harmless(text, 200)}", hint)
    return report
