"""The events of a rollout, as one union of small records, to and from JSON.

Journal, catalog, screen, reports and ``rollouts show`` are all made from events, live or replayed. An event is written
before the action that it announces; it has no secret, and texts of hosts in it are sanitized. The JSON form of
``Envelope`` is the schema ``ionetctl.event/1``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.installed import Installed
from ionetctl.core.model.inventory import Introduction
from ionetctl.core.model.names import Digest, HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.outcome import ENROLL, Finding, Outcome
from ionetctl.core.model.plan import Change, FileDiff, PlannedJob
from ionetctl.core.sanitize import harmless

SCHEMA: Final = "ionetctl.event/1"
JOURNAL_SCHEMA: Final = "ionetctl.journal/1"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=False):
    """Base of all events; ``host`` is ``None`` where an event is about the whole rollout."""

    host: HostName | None = None


class HostEntry(msgspec.Struct, frozen=True):
    """A host as the rollout's first event lists it."""

    name: HostName
    address: str
    region: RegionName
    datacenter: str
    rack: str | None
    node_pool: str
    gpus_expected: int | None
    gpu_model: str | None


class RegionEntry(msgspec.Struct, frozen=True):
    """What ``status`` needs to ask a region again, secrets by reference only (``env:NAME``, ``file:/path``)."""

    name: RegionName
    api: tuple[str, ...]
    ca_pem: str
    server_name: str
    token_source: str
    token_locator: str
    client_cert: str | None
    client_key_source: str | None
    client_key_locator: str | None
    introduction: Introduction
    capacity: int


class RolloutStarted(Event, tag="rollout_started", frozen=True, kw_only=True):
    """The first event: who is enrolled, by whom, with which limits."""

    rollout: RolloutId
    inventory: str
    inventory_digest: str
    owner: str
    version: str
    hosts: tuple[HostEntry, ...]
    regions: tuple[RegionEntry, ...] = ()
    """Of rollouts of older versions: every region, whether it ever answered or not. See ``RegionChecked``."""
    is_check: bool = False
    canary: int = 1
    batch_size: str = "10%"
    max_failures: str = "5%"
    concurrency: int = 0
    command: tuple[str, ...] = ()
    action: str = ENROLL
    """What is done with the hosts: ``enroll``, or what ``ionetctl nodes`` does with nodes."""
    details: tuple[str, ...] | None = None
    """Of a change of nodes what it does, in words that another change of the kind does not have; ``None`` where that was not kept."""


class RolloutResumed(Event, tag="rollout_resumed", frozen=True, kw_only=True):
    """The rollout is resumed in another process; the ``done`` hosts are not surveyed again."""

    owner: str
    done: int
    command: tuple[str, ...] = ()
    version: str = ""
    inventory_digest: str = ""


class RegionChecked(Event, tag="region_checked", frozen=True, kw_only=True):
    """A region answered; ``enforcement`` is ``None`` where our token may not read it."""

    region: RegionName
    server_version: str
    enforcement: str | None
    entry: RegionEntry | None = None
    """What the catalog keeps of it, so that it never keeps the address of a region that did not answer there."""


class RegionWaited(Event, tag="region_waited", frozen=True, kw_only=True):
    """An address of a region did not answer a call, or not as it should: it is asked again, or at another address.

    ``attempt`` counts the call's attempts so far, ``waited_s`` is how long it takes already.
    """

    region: RegionName
    address: str
    attempt: int
    waited_s: float
    code: str
    message: str


class HostKeyAccepted(Event, tag="host_key_accepted", frozen=True, kw_only=True):
    """``--accept-new`` accepted the key of a host that was unknown."""

    fingerprint: str
    known_as: str


class StepStarted(Event, tag="step_started", frozen=True, kw_only=True):
    """A host enters a step of its pipeline (``survey``, ``plan``, ``apply``, ``confirm``, ``finish``).

    ``detail`` names the part of the step, as the host itself reports it (``verify``, ``install`` …).
    """

    step: str
    attempt: int
    detail: str = ""


class StepFinished(Event, tag="step_finished", frozen=True, kw_only=True):
    """A host completed a step."""

    step: str
    attempt: int
    duration_s: float


class StepRetried(Event, tag="step_retried", frozen=True, kw_only=True):
    """A step failed with a transient error; it is retried after ``delay_s`` seconds."""

    step: str
    attempt: int
    code: str
    message: str
    delay_s: float


class HostSurveyed(Event, tag="host_surveyed", frozen=True, kw_only=True):
    """The survey's result in short, and the findings of the checks."""

    os: str
    architecture: str
    gpus_seen: int | None
    machine_id: str | None
    node_id: NodeId | None
    findings: tuple[Finding, ...] = ()
    gpus: tuple[str, ...] = ()
    """Standard names, one for each GPU that was seen."""
    driver_version: str | None = None
    rack: str | None = None
    identity: MachineIdentity | None = None


class HostJudged(Event, tag="host_judged", frozen=True, kw_only=True):
    """Findings of a host that only the whole fleet or its region shows: duplicates, deviating clocks, names in use."""

    findings: tuple[Finding, ...]


class HostPlaced(Event, tag="host_placed", frozen=True, kw_only=True):
    """A host with ``region: auto`` was placed in a region; ``reasons`` are text, the decisive one first."""

    region: RegionName
    reasons: tuple[str, ...]


class HostPrepared(Event, tag="host_prepared", frozen=True, kw_only=True):
    """One preparation that the inventory asked for was carried out; ``detail`` says what changed.

    ``digests`` are those of the packages that were brought for it, by file name.
    """

    preparation: str
    detail: str = ""
    digests: dict[str, Digest] = {}


class HostRebooting(Event, tag="host_rebooting", frozen=True, kw_only=True):
    """A host reboots because a preparation requires it; the rollout waits for it."""

    reason: str


class FilesObtained(Event, tag="files_obtained", frozen=True, kw_only=True):
    """Where a host's packed programs come from: ``mirror``, ``peer``, or ``push`` (over SSH). Only where not all hosts are pushed them.

    ``fetched_bytes`` came from a mirror or from the host ``peer``; ``pushed_bytes`` from the controller, at once or with the apply.
    """

    origin: str
    pushed_bytes: int
    fetched_bytes: int
    peer: HostName | None = None


class NodeHeld(Event, tag="node_held", frozen=True, kw_only=True):
    """A node stays ineligible because it does not show what the inventory promises."""

    node_id: NodeId
    code: str
    message: str


class NodeReleased(Event, tag="node_released", frozen=True, kw_only=True):
    """A node that ionetctl held shows its GPUs and was made eligible."""

    node_id: NodeId


class HostPlanned(Event, tag="host_planned", frozen=True, kw_only=True):
    """The changes that will be made on a host, or would be with ``--check``."""

    changes: tuple[Change, ...]
    stamp: str
    diffs: tuple[FileDiff, ...] = ()
    """Only with ``--diff``."""
    allocations: tuple[str, ...] = ()
    """The jobs' allocations that run on the node whose agent will be restarted; they live through it."""
    digests: dict[str, Digest] = {}
    """What created and updated files will have, by path; see ``plan.difference.new_digests``."""
    jobs: tuple[PlannedJob, ...] = ()
    """All allocations that run on the node, with what becomes of each."""


class TokenMinted(Event, tag="token_minted", frozen=True, kw_only=True):
    """An introduction token was issued for a host; ``expires_at`` is RFC 3339."""

    expires_at: str


class HostConfirmed(Event, tag="host_confirmed", frozen=True, kw_only=True):
    """The region shows the node with its stamp."""

    node_id: NodeId
    stamp: str
    gpus_seen: int | None


class HostInstalled(Event, tag="host_installed", frozen=True, kw_only=True):
    """What lies on a host with a maintenance door while its region shows it with ``stamp``: later changes are planned from it.

    It is recorded once the region has confirmed it, and before a word is sent that may bring the host there: then instead of
    ``replaces``, which the host has until then.
    """

    region: RegionName
    stamp: str
    installed: Installed
    replaces: str | None = None


class KeyClosing(Event, tag="key_closing", frozen=True, kw_only=True):
    """The key that logged in is about to be taken out of the account's ``authorized_keys`` (``ssh: {close: key}``)."""

    account: str
    key: str
    """Type and base64."""
    files: tuple[str, ...]


class KeyClosed(Event, tag="key_closed", frozen=True, kw_only=True):
    """A fresh login with that key alone was refused by public key authentication."""

    account: str
    fingerprint: str


class SshOpened(Event, tag="ssh_opened", frozen=True, kw_only=True):
    """A login over SSH succeeded on a host whose key was to be taken away, or had been.

    ``cause``: ``still_open`` (whatever was taken out), ``cut_off`` (an earlier run ended before that), ``rebootstrap``.
    """

    cause: str
    message: str


class HostFinished(Event, tag="host_finished", frozen=True, kw_only=True):
    """A host's outcome. The last event about it, unless the rollout is resumed."""

    outcome: Outcome
    node_pool: str = "default"
    rack: str | None = None
    stamp: str = ""


class NodeProgressed(Event, tag="node_progressed", frozen=True, kw_only=True):
    """What a change of a node still waits for, as text; ``left`` counts it (allocations, where a node is drained)."""

    waits_for: str
    left: int | None = None


class PlanConfirmed(Event, tag="plan_confirmed", frozen=True, kw_only=True):
    """The plan may be carried out, by ``--yes`` or by a person, who took ``waited_s`` seconds to answer."""

    waited_s: float


class WaveStarted(Event, tag="wave_started", frozen=True, kw_only=True):
    """A wave begins; ``index`` counts from 1, the canary is wave 1 where there is one."""

    index: int
    of: int
    hosts: tuple[HostName, ...]
    is_canary: bool = False


class WaveFinished(Event, tag="wave_finished", frozen=True, kw_only=True):
    """A wave ended."""

    index: int
    of: int
    failed: int


class RolloutStopped(Event, tag="rollout_stopped", frozen=True, kw_only=True):
    """The rollout stopped before all hosts were done: too many failures, a signal, a broken region."""

    code: str
    message: str


class RolloutFinished(Event, tag="rollout_finished", frozen=True, kw_only=True):
    """The last event of a process that carries out a rollout."""

    exit_code: int


class Warned(Event, tag="warned", frozen=True, kw_only=True):
    """A warning; the rollout goes on."""

    code: str
    message: str
    hint: str = ""


AnyEvent = (
    RolloutStarted
    | RolloutResumed
    | RegionChecked
    | RegionWaited
    | HostKeyAccepted
    | StepStarted
    | StepFinished
    | StepRetried
    | HostSurveyed
    | HostJudged
    | HostPlaced
    | HostPrepared
    | HostRebooting
    | HostPlanned
    | FilesObtained
    | TokenMinted
    | HostConfirmed
    | HostInstalled
    | NodeHeld
    | NodeReleased
    | KeyClosing
    | KeyClosed
    | SshOpened
    | NodeProgressed
    | HostFinished
    | PlanConfirmed
    | WaveStarted
    | WaveFinished
    | RolloutStopped
    | RolloutFinished
    | Warned
)


def announces_change(event: AnyEvent) -> bool:
    """Whether the event must be on disk before what follows it: it announces a change, or begins or ends the record.

    An announced change need not come: an apply begins with a connection. What was changed the host reports (``summary.audit``).
    A step's parts (``detail``) are reported by the host when it is at them already, so they announce nothing.
    """
    match event:
        case StepStarted(step="apply", detail=""):
            return True
        case RolloutStarted() | RolloutResumed() | RolloutFinished():
            return True
        case HostKeyAccepted() | TokenMinted() | HostRebooting() | KeyClosing() | HostInstalled():
            return True
        case _:
            return False


class JournalHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a journal. Older journals have none.

    ``chain`` names the algorithm of its chain of digests; ``None``: it has none. Only who keeps up the chain may append to
    a journal that has one.
    """

    schema: str = JOURNAL_SCHEMA
    type: str = "journal"
    rollout: RolloutId
    chain: str | None = None


class Envelope(msgspec.Struct, frozen=True):
    """An event with its place in the rollout: ``seq`` from 1 without gaps, ``time`` in RFC 3339 UTC."""

    seq: int
    time: str
    event: AnyEvent


_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class _Head(msgspec.Struct):
    schema: str
    seq: int
    time: str


_head_decoder = msgspec.json.Decoder(_Head)
_header_decoder = msgspec.json.Decoder(JournalHeader)
_JOURNALS_OWN: Final = b'{"schema":"ionetctl.journal/'


def encode(envelope: Envelope) -> bytes:
    """The envelope as one line of JSON without line break: one flat object."""
    head = _encoder.encode(_Head(SCHEMA, envelope.seq, envelope.time))
    body = _encoder.encode(envelope.event)
    return head[:-1] + b"," + body[1:]


def decode(line: bytes) -> Envelope:
    """The envelope of one line of a journal.

    Raises ``ValueError`` for anything that is not an event of this schema, an incomplete line included.
    """
    try:
        head = _head_decoder.decode(line)
        event = _event_decoder.decode(line)
        has_zone = datetime.fromisoformat(head.time).tzinfo is not None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"not an event: {harmless(str(error))}") from error
    except RecursionError as error:
        raise ValueError("not an event: it is nested too deep") from error
    if not has_zone:
        raise ValueError("not an event: its time has no zone")
    if head.schema != SCHEMA:
        raise ValueError(f"an event of another schema: {harmless(head.schema, 60)!r}")
    return Envelope(head.seq, head.time, event)


def encode_header(header: JournalHeader) -> bytes:
    """The header as one line of JSON without line break."""
    return _encoder.encode(header)


def is_of_journal(line: bytes) -> bool:
    """Whether a line of a journal is the journal's own, such as its header, and no event."""
    return line.startswith(_JOURNALS_OWN)


def decode_header(line: bytes) -> JournalHeader:
    """The header that the first line of a journal is. Raises ``ValueError`` where it cannot be read."""
    try:
        return _header_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a journal's header: {error}") from error
