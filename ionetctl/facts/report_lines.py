"""What the lines mean that a host reports while it is prepared or changed: one ``Report`` each.

Pure. Nothing a host reports is believed to be well-formed or of reasonable size. The grammar stands in
``docs/explanation/host-protocol.md``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError
from ionetctl.core.model.names import Digest, NodeId
from ionetctl.core.sanitize import harmless
from ionetctl.facts.survey_records import LINE_LIMIT, UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STEPS: Final = (
    *("receive", "certificate", "verify", "validate", "token"),
    *("backup", "install", "switch", "start", "node", "finish"),
)
"""The parts of an apply, in their order."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_HAVE: Final = re.compile(r"([0-9a-f]{64})\t([0-9]{1,15})")
_REQUEST: Final = re.compile(r"certificate\t([A-Za-z0-9+/]{1,2000}={0,2})")
"""A request for a P-256 key has some 300 characters, however long its names; its size is bounded before it is decoded."""


@dataclass(frozen=True, slots=True)
class Have:
    """So many bytes of a compressed program lie on the host already; reported before it is ready."""

    packed_digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The lock is held and the archive may be sent; ``nonce`` identifies the exec that answers."""

    nonce: str


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the work begins."""

    name: str


@dataclass(frozen=True, slots=True)
class AwaitToken:
    """All is staged and checked, nothing was changed: the host waits for an introduction token."""


@dataclass(frozen=True, slots=True)
class AwaitCertificate:
    """The host has made its private key, nothing was changed: it waits for the certificate of that key.

    ``request`` is what it says to be a certificate signing request in DER.
    """

    request: bytes


@dataclass(frozen=True, slots=True)
class AwaitVerdict:
    """The agent runs: the host waits for the controller's verdict."""


@dataclass(frozen=True, slots=True)
class NodeReported:
    """The agent's node id."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the agent's log."""

    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A preparation has changed something on the host; ``detail`` is what."""

    preparation: str
    detail: str


@dataclass(frozen=True, slots=True)
class RebootNeeded:
    """The host must be rebooted once the preparation has ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed. After an apply the host is as it was before, unless ``message`` says otherwise."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """All is in place, and nothing temporary is left."""


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that is not part of the protocol, such as a login's greeting."""

    text: str


Report = (
    Have
    | Ready
    | Step
    | AwaitToken
    | AwaitCertificate
    | AwaitVerdict
    | NodeReported
    | LogLine
    | Changed
    | RebootNeeded
    | Failed
    | Done
    | Noise
)


@dataclass(frozen=True, slots=True)
class ReportTable:
    """The reports of one kind of dialogue: how what follows each keyword is read, ``None`` where it may not follow."""

    dialogue: str
    parsers: Mapping[str, Callable[[str], Report | None]]


def _have(text: str) -> Have | None:
    match = _HAVE.fullmatch(text)
    return Have(Digest(match[1]), int(match[2])) if match else None


def _step(name: str) -> Step | None:
    return Step(name) if name in STEPS else None


def _awaited(what: str) -> AwaitToken | AwaitCertificate | AwaitVerdict | None:
    if what == "token":
        return AwaitToken()
    return AwaitVerdict() if what == "verdict" else _requested(what)


def _requested(what: str) -> AwaitCertificate | None:
    match = _REQUEST.fullmatch(what)
    try:
        return AwaitCertificate(base64.b64decode(match[1])) if match else None
    except ValueError:  # of padding that does not fit
        return None


def _node(text: str) -> NodeReported | None:
    return NodeReported(NodeId(text)) if UUID.fullmatch(text) else None


def _failed(text: str) -> Failed | None:
    code, _, message = text.partition("\t")
    return Failed(code, harmless(message)) if _NAME.fullmatch(code) else None


def _done(rest: str) -> Done | None:
    return None if rest else Done()


def _preparation(name: str) -> Step | None:
    return Step(name) if _NAME.fullmatch(name) else None


def _changed(text: str) -> Changed | None:
    preparation, _, detail = text.partition("\t")
    return Changed(preparation, harmless(detail)) if _NAME.fullmatch(preparation) else None


def _preparation_failed(text: str) -> Failed:
    return _failed(text) or Failed("prepare_failed", harmless(text.partition("\t")[2]))


_COMMON: Final[dict[str, Callable[[str], Report | None]]] = {
    "have": _have,
    "ready": lambda nonce: Ready(harmless(nonce)),
    "error": _failed,
    "done": _done,
}
APPLY_REPORTS: Final = ReportTable(
    "an apply",
    _COMMON | {"step": _step, "await": _awaited, "node": _node, "log": lambda text: LogLine(harmless(text))},
)
PREPARE_REPORTS: Final = ReportTable(
    "a preparation",
    _COMMON
    | {
        "step": _preparation,
        "changed": _changed,
        "reboot": lambda reason: RebootNeeded(harmless(reason)),
        "error": _preparation_failed,
    },
)


def parse_report_line(line: bytes, table: ReportTable) -> Report:
    """What one line of standard output reports; ``line`` comes without its line break.

    Raises ``HostFailedError`` (``report_malformed``) where a keyword of the protocol is followed by what may not follow.
    """
    text = line[:LINE_LIMIT].decode(errors="replace")
    keyword, _, rest = text.partition("\t")
    if (parse := table.parsers.get(keyword)) is None:
        return Noise(harmless(text))
    report = parse(rest)
    if report is None:
        hint = f"the scripts of {table.dialogue} say no such thing: is the host what it claims to be?"
        raise HostFailedError("report_malformed", f"the host reports nonsense: {harmless(text, 200)}", hint)
    return report
