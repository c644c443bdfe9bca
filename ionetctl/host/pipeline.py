"""One host, from the first look to the region's word. Sees ports and model only; a failure becomes a value here.

``survey`` looks (the first connection), ``plan_host`` plans without touching the host, ``enroll`` looks again, applies
and has the region confirm (the second connection). Nothing is held open between the two.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl import gpu
from ionetctl.checks import blocking, check_host
from ionetctl.core import host_paths
from ionetctl.core.errors import (
    HostError,
    HostFailedError,
    HostUnreachableError,
    HostUnverifiedError,
    IonetctlError,
)
from ionetctl.core.events import (
    HostConfirmed,
    HostPlanned,
    HostSurveyed,
    StepFinished,
    StepRetried,
    StepStarted,
    Warned,
)
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.core.model.plan import Action, Bundle, Change, Plan
from ionetctl.core.ports import Command
from ionetctl.facts.survey_output import SURVEY_LIMIT_BYTES
from ionetctl.host import outcomes
from ionetctl.host.apply_session import Opening, converse
from ionetctl.host.confirm_node import Registration, expectation
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.prepare import Preparing
from ionetctl.host.release_node import Admission, Candidate, Mark
from ionetctl.host.survey import Surveyed, Surveyor
from ionetctl.plan.bundle import build_bundle
from ionetctl.plan.diff import compared_paths, file_diffs, parse_texts
from ionetctl.plan.plan import Circumstances, make_plan
from ionetctl.plan.prepare_steps import SEEN_AT_START, needed
from ionetctl.plan.shipment import pack
from ionetctl.verification import gpu_evidence
from ionetctl.verification.registrar import find_stamped, judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.model.plan import FileDiff
    from ionetctl.core.ports import Session
    from ionetctl.host.dependencies import Dependencies, RegionTools

DID_NOT_START: Final = frozenset({"start_failed", "start_timeout"})
"""A device plugin that hangs in the driver holds up the agent's start: systemd, the agent or the apply gives it up."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host with what it should have and what is to be done; ``mark`` is what its region said of the node."""

    surveyed: Surveyed
    bundle: Bundle
    plan: Plan
    mark: Mark
    unconfirmed: str | None

    @property
    def host(self) -> Host:
        """The host."""
        return self.surveyed.host

    @property
    def only_releases(self) -> bool:
        """Whether nothing is to be done on the host itself."""
        return {change.action for change in self.plan.changes} == {Action.RELEASE}


@dataclass(frozen=True, slots=True)
class Blocked:
    """A host that was looked at and must not be touched: it counts in the fleet's checks all the same."""

    surveyed: Surveyed
    outcome: Outcome


@dataclass(slots=True)
class _Attempts:
    """What an outcome says of the retries that led to it."""

    made: int = 0


def _surveyed_event(surveyed: Surveyed) -> HostSurveyed:
    facts = surveyed.facts
    return HostSurveyed(
        host=surveyed.host.name,
        os=facts.os_name or facts.os_id,
        architecture=facts.architecture,
        gpus_seen=None if facts.gpus is None else len(facts.gpus),
        machine_id=facts.machine_id,
        node_id=facts.nomad.node_id,
        findings=surveyed.findings,
        gpus=tuple(gpu.standard_name(seen.name, seen.memory_mib) for seen in facts.gpus or () if seen.name),
        driver_version=facts.driver_version,
        rack=surveyed.host.rack,
    )


def _after(planned: PlannedHost, done: frozenset[str]) -> PlannedHost:
    """The plan's circumstances once preparations were carried out: an agent that runs must see some of them."""
    if not done & SEEN_AT_START:
        return planned
    seen = f"it sees {', '.join(sorted(done & SEEN_AT_START))} only when it starts"
    return replace(planned, unconfirmed=planned.unconfirmed or seen)


def _word(converged: PlannedHost, view: NodeView | None) -> NodeView | HostUnverifiedError:
    """The region's word on a host where nothing differs, held against what its survey's probe saw."""
    host, facts = converged.host, converged.surveyed.facts
    due = replace(
        expectation(host), gpus=gpu_evidence.gpus_due(host, facts), may_be_ineligible=converged.mark.is_ours
    )
    word = judge(view, due)
    if isinstance(word, HostUnverifiedError):
        return word
    return gpu_evidence.shortfall(host, word, facts) or word


def _candidate(planned: PlannedHost, seen: Surveyed, view: NodeView) -> Candidate:
    finding = blocking(seen.findings)
    flaw = outcomes.finding_error(finding) if finding else None
    if flaw is not None:
        flaw.step = "confirm"
    return Candidate(planned.host, view, planned.plan.stamp, seen.facts, planned.mark, flaw)


class Pipeline:
    """The steps, for any host of the rollout."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._deps = dependencies
        self._surveyor = Surveyor(dependencies)
        self._preparing = Preparing(dependencies)

    async def survey(self, host: Host) -> Surveyed | Blocked | Outcome:
        """The host as it is, with its outcome where it must not be touched; that alone where nobody could look."""
        began = self._deps.clock.monotonic()
        attempts = _Attempts()
        try:
            surveyed = await self._retried(host, "survey", attempts, lambda _: self._survey_once(host))
        except HostError as error:
            return self._timed(outcomes.failed(host, "survey", error), attempts, began)
        await self._deps.emit(_surveyed_event(surveyed))
        if finding := blocking(surveyed.findings):
            blocked = outcomes.failed(host, "survey", outcomes.finding_error(finding), surveyed.facts)
            return Blocked(surveyed, self._timed(blocked, attempts, began))
        return surveyed

    async def plan_host(
        self, surveyed: Surveyed, nonce: str, mark: Mark, *, unconfirmed: str | None
    ) -> PlannedHost:
        """The host with its plan; ``unconfirmed`` is why the region does not show it although nothing differs."""
        bundle = build_bundle(self._deps.subject_of(surveyed.host, surveyed.node_name, surveyed.facts))
        plan = self._plan(surveyed, bundle, nonce, is_known=mark is not Mark.NEW, unconfirmed=unconfirmed)
        return PlannedHost(surveyed, bundle, plan, mark, unconfirmed)

    async def announce(self, planned: PlannedHost) -> None:
        """Record the plan that will be carried out or shown."""
        await self._announce(planned, ())

    async def announce_with_diffs(self, planned: PlannedHost) -> None:
        """The same with what changes in text files; a host that will not show them is announced without."""
        paths = compared_paths(planned.bundle, planned.plan)
        try:
            present = await self._read(planned.host, paths) if paths else {}
        except HostError as error:
            await self._deps.emit(Warned(host=planned.host.name, code=error.code, message=error.message))
            await self._announce(planned, ())
        else:
            await self._announce(planned, file_diffs(planned.bundle, planned.plan, present))

    async def _announce(self, planned: PlannedHost, diffs: tuple[FileDiff, ...]) -> None:
        plan = planned.plan
        event = HostPlanned(host=planned.host.name, changes=plan.changes, stamp=plan.stamp, diffs=diffs)
        await self._deps.emit(event)

    async def _read(self, host: Host, paths: tuple[str, ...]) -> dict[str, str]:
        nonce = secrets.token_hex(NONCE_BYTES)
        limits = self._deps.deadlines
        argv = ("sh", "-s", "--", nonce, *paths)
        command = Command(argv, limits.step_s, limits.idle_s, SURVEY_LIMIT_BYTES)
        async with self._deps.connector.connect(host) as session:
            completed = await session.run(command, self._deps.scripts.read)
        return parse_texts(completed.stdout, nonce)

    async def confirm_converged(
        self, tools: RegionTools, converged: Sequence[PlannedHost]
    ) -> dict[HostName, NodeView | HostUnverifiedError]:
        """What a region says of hosts where nothing differs: the node as it should be, or why it is not.

        A node that proves itself and is still held may be ineligible: ``to_release`` says what is to be done.
        """
        stamps = {
            node_id: one.plan.stamp for one in converged if (node_id := one.surveyed.facts.nomad.node_id)
        }
        with_devices = any(
            gpu_evidence.gpus_due(one.host, one.surveyed.facts) is not None for one in converged
        )
        stamped = await find_stamped(tools.region, stamps, with_devices=with_devices)
        return {
            one.host.name: _word(one, stamped.get(one.surveyed.facts.nomad.node_id or NodeId("")))
            for one in converged
        }

    def to_release(self, converged: PlannedHost) -> PlannedHost:
        """The plan for a host where nothing differs but that its node, which proves itself, is held."""
        reason = "the region sees all that was promised, and the node is held"
        change = Change(Action.RELEASE, host_paths.UNIT_NAME, reason)
        return replace(converged, plan=replace(converged.plan, changes=(change,)))

    async def settle_mark(self, converged: PlannedHost, view: NodeView) -> None:
        """Complete the release of an eligible node where something cut it off; nothing is done where nothing did."""
        if converged.mark is not Mark.RELEASED:
            await self._admission(converged.host).mark_released(converged.host, view)

    async def refuse(self, converged: PlannedHost, error: HostUnverifiedError) -> None:
        """Note in the region why a node that is held there is not released."""
        if converged.mark.is_ours:
            view = await self._confirm(converged)
            await self._admission(converged.host).refuse(
                _candidate(converged, converged.surveyed, view), error
            )

    async def enroll(self, planned: PlannedHost, nonce: str) -> Outcome:
        """How the host ended. ``nonce`` is the wave's: it proves which apply an agent came up with."""
        host, began, attempts = planned.host, self._deps.clock.monotonic(), _Attempts()

        async def once(attempt: int) -> Outcome:
            return await self._enroll_once(planned, nonce, attempt)

        try:
            outcome = await self._retried(host, "apply", attempts, once)
        except IonetctlError as error:
            outcome = outcomes.failed(host, "apply", error, planned.surveyed.facts)
        return self._timed(outcome, attempts, began)

    async def _survey_once(self, host: Host) -> Surveyed:
        async with self._deps.connector.connect(host) as session:
            return await self._surveyor.survey(host, session)

    def _plan(
        self, surveyed: Surveyed, bundle: Bundle, nonce: str, *, is_known: bool, unconfirmed: str | None
    ) -> Plan:
        issuer = self._deps.regions[surveyed.host.region].issuer
        unfit = issuer.explain_unfit(surveyed.facts.node_certificate, surveyed.host, self._deps.clock.now())
        circumstances = Circumstances(nonce, unfit, is_known=is_known, unconfirmed=unconfirmed)
        plan = make_plan(bundle, surveyed.facts, circumstances)
        return replace(plan, changes=(*needed(surveyed.host, surveyed.facts), *plan.changes))

    async def _enroll_once(self, planned: PlannedHost, nonce: str, attempt: int) -> Outcome:
        host = planned.host
        if planned.only_releases:
            view = await self._confirm(planned)
            view = await self._admit(planned, planned.surveyed, view)
            await self._confirmed(planned, view)
            return outcomes.confirmed(host, Result.ENROLLED, view, planned.surveyed.facts, planned.plan.stamp)

        async def look(session: Session) -> Surveyed:
            return await self._look_again(planned, session)

        async with self._preparing.prepared(host, look, attempt) as (session, now, done):
            self._refuse_unmended(now)
            fresh = await self._prepare_again(_after(planned, done), now, nonce)
            if fresh.plan.is_empty:
                view = await self._admit(fresh, now, await self._confirm(fresh))
            else:
                view = await self._apply_or_explain(fresh, session, attempt)
                view = await self._admit(fresh, now, view, session)
        stamp = fresh.plan.stamp
        await self._confirmed(fresh, view)
        # An attempt of this rollout that broke off may be what the host owes its being right to.
        is_ours = bool(done) or not fresh.plan.is_empty or stamp.endswith(f"-{nonce}")
        result = Result.ENROLLED if is_ours else Result.UNCHANGED
        return outcomes.confirmed(host, result, view, now.facts, stamp)

    def _refuse_unmended(self, now: Surveyed) -> None:
        """With nothing left to prepare, what a preparation was to mend and did not keeps the host out after all."""
        findings = check_host(now.host, now.facts, takeover=self._deps.takeover, is_prepared=True)
        if finding := blocking(findings):
            raise outcomes.finding_error(finding)

    async def _prepare_again(self, planned: PlannedHost, now: Surveyed, nonce: str) -> PlannedHost:
        is_same_node = now.facts.nomad.node_id == planned.surveyed.facts.nomad.node_id
        mark = planned.mark if is_same_node else Mark.NEW
        return await self.plan_host(now, nonce, mark, unconfirmed=planned.unconfirmed)

    async def _confirmed(self, planned: PlannedHost, view: NodeView) -> None:
        host, stamp = planned.host.name, planned.plan.stamp
        await self._deps.emit(
            HostConfirmed(host=host, node_id=view.id, stamp=stamp, gpus_seen=view.gpu_count)
        )

    async def _confirm(self, planned: PlannedHost) -> NodeView:
        """The region's word on a host that has become as it should be since it was planned."""
        host, facts = planned.host, planned.surveyed.facts
        return await self._deps.regions[host.region].registrar.confirm(
            facts.nomad.node_id or NodeId(""),
            planned.plan.stamp,
            expectation(host),
            self._deps.deadlines.step_s,
        )

    def _admission(self, host: Host) -> Admission:
        tools = self._deps.regions[host.region]
        return Admission(tools.region, tools.registrar, self._deps.emit)

    async def _admit(
        self, planned: PlannedHost, seen: Surveyed, view: NodeView, session: Session | None = None
    ) -> NodeView:
        """The node once it may have jobs; over a session its host's GPUs are looked at again."""
        admission = self._admission(planned.host)
        view = await admission.hold(planned.host, view, planned.mark)
        if session is not None:
            seen = await self._surveyor.survey_again(seen, session)
        return await admission.admit(_candidate(planned, seen, view), self._deps.deadlines.step_s)

    async def _look_again(self, planned: PlannedHost, session: Session) -> Surveyed:
        surveyed = await self._surveyor.survey(planned.host, session)
        if surveyed.facts.lock_owner and self._deps.rollout in surveyed.facts.lock_owner:
            message = "the apply of a connection that broke off is still at work there"
            raise HostUnreachableError("apply_still_running", message, "it ends by itself", transient=True)
        if finding := blocking(surveyed.findings):
            raise outcomes.finding_error(finding)
        return surveyed

    async def _apply_or_explain(self, planned: PlannedHost, session: Session, attempt: int) -> NodeView:
        """The node once it is registered. A start that failed is blamed on the driver where that hangs."""
        try:
            return await self._apply(planned, session, attempt)
        except HostFailedError as error:
            if error.code not in DID_NOT_START:
                raise
            seen = await self._surveyor.survey_again(planned.surveyed, session)
            if not seen.facts.is_driver_hanging:
                raise
            message = f"{error.message}; {seen.facts.gpu_source}"
            hint = (
                "reboot the host: no process can be freed from a driver that hangs; it was put back as it was"
            )
            raise HostFailedError("driver_hanging", message, hint) from error

    async def _apply(self, planned: PlannedHost, session: Session, attempt: int) -> NodeView:
        host = planned.host
        tools = self._deps.regions[host.region]
        needs_token = tools.introduces and planned.mark is Mark.NEW
        payload = pack(
            planned.bundle,
            planned.plan,
            planned.surveyed.facts,
            lambda: tools.issuer.issue(host),
            rollout=self._deps.rollout,
            apply_script=self._deps.scripts.apply,
            needs_token=needs_token,
        )
        registration = Registration(
            host,
            planned.surveyed.node_name,
            planned.plan.stamp,
            tools.region,
            tools.registrar,
            self._deps.emit,
            self._deps.deadlines.step_s,
            introduces=tools.introduces,
            needs_token=needs_token,
            attempt=attempt,
        )

        async def on_step(name: str) -> None:
            await self._deps.emit(StepStarted(host=host.name, step="apply", attempt=attempt, detail=name))

        return await converse(session, self._opening(), payload, on_step, registration.lead)

    def _opening(self) -> Opening:
        limits = self._deps.deadlines
        return Opening(
            self._deps.scripts.receive,
            secrets.token_hex(NONCE_BYTES),
            self._deps.rollout,
            self._deps.owner,
            self._deps.started_at,
            timeout_s=limits.apply_s,
            idle_s=limits.idle_s + 2 * limits.step_s,
        )

    async def _retried(
        self, host: Host, step: str, attempts: _Attempts, work: Callable[[int], Awaitable[_Result]]
    ) -> _Result:
        async def before_retry(attempt: int, error: HostError, delay_s: float) -> None:
            event = StepRetried(
                host=host.name,
                step=step,
                attempt=attempt,
                code=error.code,
                message=error.message,
                delay_s=delay_s,
            )
            await self._deps.emit(event)

        async def once(attempt: int) -> _Result:
            attempts.made = attempt
            began = self._deps.clock.monotonic()
            await self._deps.emit(StepStarted(host=host.name, step=step, attempt=attempt))
            result = await work(attempt)
            took_s = round(self._since(began), 3)
            await self._deps.emit(StepFinished(host=host.name, step=step, attempt=attempt, duration_s=took_s))
            return result

        return await self._deps.retry.run(once, before_retry)

    def _timed(self, outcome: Outcome, attempts: _Attempts, began: float) -> Outcome:
        return replace(outcome, attempts=attempts.made, duration_s=round(self._since(began), 3))

    def _since(self, began: float) -> float:
        return self._deps.clock.monotonic() - began
