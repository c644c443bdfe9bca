"""Enrolled hosts brought to what an enrolment would give them, each by one signed word through its region.

Planned by the same code as an enrolment, from what was recorded when the host was last changed; nobody looks at the host itself. A host
whose region shows it with another configuration than any that is recorded is left alone.
"""

from __future__ import annotations

from asyncio import Lock
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from ionetctl.core import host_paths
from ionetctl.core.errors import (
    ConfigurationError,
    HostFailedError,
    HostLockedError,
    HostUnreachableError,
    HostUnverifiedError,
    RegionError,
)
from ionetctl.core.events import HostInstalled, Warned
from ionetctl.core.model.node import DOOR_JOB, DOOR_NAMESPACE
from ionetctl.core.model.outcome import UPDATE
from ionetctl.core.model.plan import Action
from ionetctl.host.confirm_node import why_not_shown
from ionetctl.maintenance.node_actions import RUN_AGAIN, NodePlan
from ionetctl.maintenance.send_word import send_word
from ionetctl.plan.bundle import build_bundle, node_name, sha256
from ionetctl.plan.difference import PlanContext, drivers_lost, make_plan, new_digests
from ionetctl.plan.installation import facts_of, has_door, installation
from ionetctl.plan.job_fates import job_fates
from ionetctl.plan.payload import build_payload, manifest_of, program_of
from ionetctl.plan.word import Word, signed_word, word_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ionetctl.core.errors import IonetctlError
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.installed import Installed
    from ionetctl.core.model.inventory import Naming
    from ionetctl.core.model.names import HostName, RegionName, RolloutId
    from ionetctl.core.model.node import NodeDetail, RunningAllocation
    from ionetctl.core.model.plan import Bundle, Change, Form, Plan, Program
    from ionetctl.maintenance.node_actions import NodeWork
    from ionetctl.maintenance.node_state import NodeState
    from ionetctl.maintenance.send_word import Door
    from ionetctl.plan.bundle import Subject
    from ionetctl.plan.payload import Payload
    from ionetctl.plan.word import Condition

ENROLL: Final = "enrol the host over SSH"
EXCLUDE: Final = "first ionetctl nodes exclude, or drain; or allow it with --lose-jobs"
CONFIRM_S: Final = 180
EXPIRY_S: Final = 300
"""How long a word may be carried out, by the host's clock."""
FETCHING_S: Final = 600
"""How much longer where the host fetches programs before."""
CHANGED: Final = "host_changed"
LOCKED: Final = "locked"
"""An enrolment is at work."""
NONCE_CHARACTERS: Final = 12
_PAIR: Final = frozenset({host_paths.NODE_CERT, host_paths.NODE_KEY, host_paths.CA_CERT})


class Installations(Protocol):
    """What is recorded of hosts; ``history.catalog`` has the real one."""

    def knows(self, region: RegionName, host: HostName) -> bool:
        """Whether anything is recorded of a host."""
        ...

    def of(self, region: RegionName, host: HostName, stamp: str) -> Installed | None:
        """What lies on a host while its agent runs with that stamp; ``None`` where that is not recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Courier:
    """How words are made and sent: ``sign`` gives OpenSSH's signature over a text, ``source`` is the URL where hosts find programs.

    Words are signed one at a time (``signing``): a security key is touched, and a passphrase asked for, once for each.
    """

    rollout: RolloutId
    apply_script: bytes
    doors: Mapping[RegionName, Door]
    sign: Callable[[bytes], Awaitable[bytes]]
    pack: Callable[[Program, Form], Awaitable[Program]]
    source: str | None
    signing: Lock = field(default_factory=Lock)


@dataclass(frozen=True, slots=True)
class _Planned:
    facts: Facts
    subject: Subject
    bundle: Bundle
    plan: Plan
    drivers_lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """What ``enroll`` would change on hosts with a maintenance door, as far as a word can carry it."""

    name: ClassVar[str] = UPDATE
    at_jobs: ClassVar[bool] = True
    details: ClassVar[tuple[str, ...]] = ()
    """The inventory says all of it, and a resumed rollout has the same."""
    installations: Installations
    subject_of: Callable[[Host, str, Facts], Subject]
    naming: Naming
    courier: Courier
    lose_jobs: bool = False

    def plan(self, state: NodeState) -> tuple[Change, ...]:
        """The differences of what the host has and what it should have.

        Raises ``HostFailedError`` (``host_unrecorded``, ``host_changed``, ``door_would_close``, ``word_needs_dialogue``) where only an enrolment helps, or
        where no word would arrive (``door_job_missing``), or jobs could come meanwhile that it would end (``jobs_would_be_lost``); ``HostUnreachableError`` (``node_disconnected``).
        """
        return self._planned(state).plan.changes

    def whole_plan(self, state: NodeState) -> NodePlan:
        """The same with the stamp, the digests and what becomes of the node's jobs. Raises likewise."""
        planned = self._planned(state)
        changes = planned.plan.changes
        jobs = job_fates(state.allocations, state.host, changes, planned.drivers_lost) if changes else ()
        digests = new_digests(planned.bundle, planned.plan)
        return NodePlan(changes, planned.plan.stamp, jobs, digests, planned.facts)

    async def carry_out(self, work: NodeWork) -> None:
        """Send the word, and return once the region shows the node with the new configuration.

        Raises ``HostFailedError`` with the host's own code where it refused the word or put everything back, ``HostLockedError``
        (``word_in_the_way``), ``HostUnverifiedError`` (``word_unanswered``, ``not_registered``), and what region and signing raise.
        """
        planned = self._planned(work.state)
        payload = await self._payload(planned)
        # A word's time does not pass while it waits for its turn to be signed.
        async with self.courier.signing:
            word, signed = await self._word(work, planned, payload)
        stamp, before = planned.plan.stamp, word.stamp
        drivers = planned.subject.drivers
        installed = installation(planned.bundle, planned.facts, manifest_of(payload), drivers)
        host = work.state.host
        record = partial(HostInstalled, host=host.name, region=host.region, stamp=stamp, installed=installed)
        # By the new stamp the host is known again, even if nobody is there any more when it has it.
        if stamp != before:
            await work.emit(record(replaces=before))
        await self._deliver(work, word, signed, stamp)
        if stamp != before:
            # A node that has not proved its GPUs yet need not do so now.
            await self._confirmed(work, stamp, planned.facts if work.state.hold is None else None)
        # What was only said to be done ends no earlier record.
        await work.emit(record(replaces=before if stamp == before else None))

    # --- plan --------------------------------------------------------------------------------------------------------

    def _planned(self, state: NodeState) -> _Planned:
        host, facts = state.host, self._facts(state)
        subject = self.subject_of(host, node_name(host, facts, self.naming), facts)
        bundle, lost = build_bundle(subject), drivers_lost(subject.drivers, facts)
        if not has_door(bundle):
            message = "the inventory gives the host no maintenance door any more"
            raise HostFailedError("door_would_close", message, f"{ENROLL}: that closes it")
        # The same change of the same configuration has the same stamp, so that it is known again after a run that was killed.
        nonce = sha256(f"{facts.nomad.stamp} {bundle.digest}".encode())[:NONCE_CHARACTERS]
        plan = make_plan(bundle, facts, PlanContext(nonce, None, is_known=True, drivers_lost=lost))
        self._refuse_dialogue(plan)
        if plan.changes and not any(map(_is_doors, state.allocations)):
            message = f"the job {DOOR_JOB} does not run on the node, so no word reaches the host"
            hint = f"see nomad job status -namespace {DOOR_NAMESPACE} {DOOR_JOB}; a door that was lost comes back once the node is eligible"
            raise HostFailedError("door_job_missing", message, hint)
        if plan.changes and lost and state.is_eligible and not self.lose_jobs:
            # What the word could ask of the region is that the node is ineligible: it is not.
            message = f"the node may be given jobs that need what it would lose: {', '.join(lost)}"
            raise HostFailedError("jobs_would_be_lost", message, EXCLUDE)
        return _Planned(facts, subject, bundle, plan, lost)

    def _facts(self, state: NodeState) -> Facts:
        host, stamp = state.host, state.meta.merged.get(host_paths.STAMP_KEY, "")
        if not state.reachable:
            message = "the region has no way to the node now"
            raise HostUnreachableError("node_disconnected", message, "is its Nomad running? Then run again")
        if not self.installations.knows(host.region, host.name):
            message = "what lies on the host is not recorded here: it has no maintenance door, or was enrolled from elsewhere"
            raise HostFailedError("host_unrecorded", message, f"{ENROLL}: that records it")
        installed = self.installations.of(host.region, host.name, stamp)
        if installed is None:
            message = f"its configuration is {stamp or 'none of ours'}, which is none that was recorded here"
            raise HostFailedError(CHANGED, message, f"{ENROLL}: that looks at it anew")
        facts = facts_of(installed, state.view.id, stamp, len(state.allocations))
        if host_paths.ALLOWED_SIGNERS not in facts.manifest:
            message = "which list of signers the host has is not recorded here"
            raise HostFailedError("host_unrecorded", message, f"{ENROLL}: that records it")
        return facts

    def _refuse_dialogue(self, plan: Plan) -> None:
        """Refuse what a word cannot carry: what needs a private key, and programs without a place to fetch them from."""
        changed = {change.path for change in plan.changes if change.action is not Action.CHMOD}
        if changed & _PAIR:
            message = "a new CA, certificate or private key is due, which no word carries"
            raise HostFailedError("word_needs_dialogue", message, ENROLL)
        if self.courier.source is None and any(
            path.startswith(f"{host_paths.RELEASES_DIR}/") for path in changed
        ):
            message = "a program is due, and there is no URL from which hosts fetch"
            raise HostFailedError(
                "word_needs_dialogue", message, "write mirror: http://… in the inventory, or enrol the host"
            )

    # --- carry out ---------------------------------------------------------------------------------------------------

    async def _payload(self, planned: _Planned) -> Payload:
        payload = build_payload(
            planned.bundle,
            planned.plan,
            planned.facts,
            None,
            rollout=self.courier.rollout,
            apply_script=self.courier.apply_script,
            needs_token=False,
        )
        packed = [
            replace(file, program=await self.courier.pack(program_of(file), planned.facts.best_form))
            for file in payload.programs
        ]
        return replace(payload, programs=tuple(packed))

    async def _word(self, work: NodeWork, planned: _Planned, payload: Payload) -> tuple[Word, bytes]:
        now = work.clock.now().timestamp()
        word = Word(
            node=work.state.view.id,
            serial=int(now * 1_000_000),
            expires_at=int(now) + EXPIRY_S + (FETCHING_S if payload.programs else 0),
            stamp=planned.facts.nomad.stamp,
            signers=planned.facts.files[host_paths.ALLOWED_SIGNERS].digest,
            confirm_s=0 if payload.start == "no" else CONFIRM_S,
            when=self._condition(work.state, planned),
            source=self.courier.source if payload.programs else None,
        )
        try:
            text = word_text(word, payload)
            return word, signed_word(text, await self.courier.sign(text))
        except ConfigurationError as error:
            raise HostFailedError(error.code, error.message, error.hint) from error

    def _condition(self, state: NodeState, planned: _Planned) -> Condition:
        """What must still hold when the word is carried out: what was planned for a node without jobs must not meet any."""
        if self.lose_jobs or not planned.drivers_lost:
            return "any"
        last = state.detail.drain
        is_drained = not state.view.is_draining and last is not None and last.status == "complete"
        return "drained" if is_drained else "ineligible"

    async def _deliver(self, work: NodeWork, word: Word, signed: bytes, stamp: str) -> None:
        door = self.courier.doors[work.state.host.region]

        async def warn(error: IonetctlError) -> None:
            message = f"the word could not be removed from the region: {error.message}"
            await work.emit(Warned(host=work.name, code="word_left", message=message, hint=error.hint))

        await work.progress("the host to carry out the word")
        try:
            answer = await send_word(door, word, signed, work.clock, warn)
        except RegionError as error:
            if error.code == "region_conflict":
                message = "another controller leaves a word for this node at the same time"
                raise HostLockedError("word_in_the_way", message, RUN_AGAIN) from error
            if error.code != "word_unanswered":
                raise
            if await self._has_it(work, word, stamp):
                return
            raise HostUnverifiedError(error.code, error.message, error.hint) from error
        if answer.outcome == "refused":
            # An earlier word of the same change may have come first.
            if answer.code == CHANGED and await self._has_it(work, word, stamp):
                return
            message = f"the host refused the word: {answer.text or answer.code}"
            if answer.code == LOCKED:
                raise HostLockedError("host_locked", message, RUN_AGAIN)
            raise HostFailedError(answer.code, message, "nothing was changed; run again, or enrol the host")
        if answer.outcome == "failed":
            message = f"the host put back what it had: {answer.text or answer.code}"
            raise HostFailedError(answer.code, message, "look at the node, and run again")

    async def _has_it(self, work: NodeWork, word: Word, stamp: str) -> bool:
        """Whether the region shows the change, though nobody answers for the word."""
        return stamp != word.stamp and why_not_shown(await work.detail(), work.state.host, stamp) is None

    async def _confirmed(self, work: NodeWork, stamp: str, facts: Facts | None) -> None:
        """Return once the region itself shows it: whoever carries an answer could have made it.

        Raises ``HostUnverifiedError`` with the latest reason why not.
        """
        await work.progress("the region to show the new configuration")
        reason: HostUnverifiedError | None = None

        def is_so(detail: NodeDetail) -> bool:
            nonlocal reason
            reason = why_not_shown(detail, work.state.host, stamp, facts)
            return reason is None

        try:
            await work.until(is_so, HostUnverifiedError("not_registered", "the region does not show it"))
        except HostUnverifiedError as timed_out:
            raise reason or timed_out from None


def _is_doors(allocation: RunningAllocation) -> bool:
    return (allocation.namespace, allocation.job) == (DOOR_NAMESPACE, DOOR_JOB)
