"""The steps on one host, tried again where that may help. Sees ports only; a failure becomes a value here.

``survey`` looks at the host (the first connection); ``enroll`` surveys it again, applies its plan and has the region
confirm the node (the second connection). Nothing is held open between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from ionetctl import gpu
from ionetctl.checks import blocking, check_host, own_product_uuid
from ionetctl.core.errors import (
    HostError,
    HostFailedError,
    HostLockedError,
    IonetctlError,
)
from ionetctl.core.events import HostConfirmed, HostSurveyed, StepFinished, StepRetried, StepStarted
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.names import NodeId
from ionetctl.core.model.outcome import Outcome, Result
from ionetctl.host import outcomes
from ionetctl.host.access import close_key
from ionetctl.host.access.close_key import KeyRemoval
from ionetctl.host.apply_dialogue import apply_payload
from ionetctl.host.confirm_node import NodeConfirmation, confirm_node
from ionetctl.host.dialogue import apply_still_running
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.host.planner import Planner
from ionetctl.host.prepare import Preparer
from ionetctl.host.release_node import Admission
from ionetctl.host.survey import Surveyed, Surveyor
from ionetctl.plan.payload import build_payload, manifest_of, program_of, renews_certificate
from ionetctl.plan.prepare_steps import SEEN_AT_START

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import NodeView
    from ionetctl.core.model.plan import Form
    from ionetctl.core.ports import Session
    from ionetctl.host.access.close_key import BegunClosing
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.outcomes import StartedNode
    from ionetctl.plan.payload import Payload

DID_NOT_START: Final = frozenset({"start_failed", "start_timeout"})
"""A device plugin that hangs in the driver holds up the agent's start: systemd, the agent or the apply gives it up."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Blocked:
    """A host that was surveyed and must not be touched: it counts in the fleet's checks all the same."""

    surveyed: Surveyed
    outcome: Outcome


@dataclass(slots=True)
class _Progress:
    """How many attempts led to an outcome, and the node, once its agent runs as planned."""

    attempts: int = 0
    started: StartedNode | None = None

    def start(self, node: StartedNode) -> None:
        self.started = node


class Pipeline:
    """The steps, for any host of the rollout."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._deps = dependencies
        self._surveyor = Surveyor(dependencies)
        self._planner = Planner(dependencies)
        self._preparer = Preparer(dependencies)
        self._obtainer = dependencies.file_obtainer

    async def survey(self, host: Host) -> Surveyed | Blocked | Outcome:
        """The host as it is, with its outcome where it must not be touched; that alone where it cannot be surveyed."""
        began = self._deps.clock.monotonic()
        progress = _Progress()
        try:
            surveyed, refusal = await self._retried(
                host, "survey", progress, lambda attempt: self._survey_once(host, attempt)
            )
        except HostError as error:
            return self._timed(outcomes.failed(host, "survey", error), progress, began)
        await self._deps.emit(_surveyed_event(surveyed))
        if refusal is not None:
            blocked = outcomes.failed(host, close_key.STEP, refusal, surveyed.facts)
        elif finding := blocking(surveyed.findings):
            blocked = outcomes.failed(host, "survey", outcomes.finding_error(finding), surveyed.facts)
        else:
            return surveyed
        return Blocked(surveyed, self._timed(blocked, progress, began))

    async def enroll(self, planned: PlannedHost, nonce: str, begun: BegunClosing | None = None) -> Outcome:
        """The outcome of carrying out the plan. ``nonce`` is the wave's: it proves which apply an agent came up with.

        Where a closing was ``begun``, nothing is left but its end.
        """
        host, began, progress = planned.host, self._deps.clock.monotonic(), _Progress()
        if begun is not None:
            removal = KeyRemoval.after(self._deps, host, begun.closing)
            outcome = await self._close(
                host, outcomes.recorded(host, begun.confirmed, planned.facts), removal, progress
            )
            return self._timed(outcome, progress, began)

        async def once(attempt: int) -> Outcome:
            if planned.is_agent_left:
                return await self._release(planned)
            return await self._enroll_once(planned, nonce, attempt, progress)

        try:
            outcome = await self._retried(host, "apply", progress, once)
        except IonetctlError as error:
            outcome = outcomes.failed(host, "apply", error, planned.facts, progress.started)
        else:
            if planned.closes:
                outcome = await self._close(host, outcome, KeyRemoval(self._deps, host), _Progress())
        return self._timed(outcome, progress, began)

    async def _close(self, host: Host, outcome: Outcome, removal: KeyRemoval, progress: _Progress) -> Outcome:
        """The outcome of a confirmed host once its key is refused; that of the removal where it is not."""
        try:
            await self._retried(host, close_key.STEP, progress, lambda _: removal.attempt())
        except IonetctlError as error:
            return outcomes.left_open(host, outcome, error)
        return replace(outcome, result=Result.ENROLLED)

    async def _survey_once(self, host: Host, attempt: int) -> tuple[Surveyed, HostFailedError | None]:
        """The host as it is, and why it cannot be closed as its inventory asks."""
        async with self._deps.connector.connect(host) as session:
            await self._deps.emit(
                StepStarted(host=host.name, step="survey", attempt=attempt, detail="script")
            )
            surveyed = await self._surveyor.survey(host, session)
            # Where another run is at work, the survey's finding says more than that the key cannot be looked for meanwhile.
            if host.ssh.close == "key" and not surveyed.facts.lock_owner:
                try:
                    await close_key.find_key(self._deps, session)
                except HostFailedError as error:
                    if error.transient:
                        raise
                    return surveyed, error
            return surveyed, None

    async def _release(self, planned: PlannedHost) -> Outcome:
        """Release the host's node, without a connection to the host."""
        view = await self._admit(planned, await self._confirm(planned))
        await self._confirmed(planned, view)
        return outcomes.confirmed(planned.host, Result.ENROLLED, view, planned.facts, planned.plan.stamp)

    async def _enroll_once(
        self, planned: PlannedHost, nonce: str, attempt: int, progress: _Progress
    ) -> Outcome:
        host = planned.host

        async def survey(session: Session) -> Surveyed:
            return await self._survey_before_apply(planned, session, nonce)

        async with self._preparer.prepared(host, survey, attempt) as (session, now, done):
            self._refuse_unmended(now)
            fresh = self._plan_again(planned, now, nonce, done)
            if fresh.plan.is_empty:
                view = await self._admit(fresh, await self._confirm(fresh))
                await self._planner.record_installation(fresh, fresh.facts.manifest)
            else:
                confirmation = NodeConfirmation(self._deps, fresh, progress.start, attempt)
                view = await self._apply_or_explain(fresh, session, confirmation)
                view = await self._admit(fresh, view, session)
        stamp = fresh.plan.stamp
        await self._confirmed(fresh, view)
        # An attempt of this rollout that broke off may be what left the host as it should be.
        is_ours = bool(done) or not fresh.plan.is_empty or stamp.endswith(f"-{nonce}")
        result = Result.ENROLLED if is_ours else Result.UNCHANGED
        return outcomes.confirmed(host, result, view, now.facts, stamp)

    async def _survey_before_apply(self, planned: PlannedHost, session: Session, nonce: str) -> Surveyed:
        surveyed = await self._surveyor.survey(planned.host, session)
        if surveyed.facts.lock_owner and self._deps.rollout in surveyed.facts.lock_owner:
            raise apply_still_running()
        if finding := blocking(surveyed.findings):
            raise outcomes.finding_error(finding)
        _refuse_stale_plan(planned, surveyed, nonce)
        return surveyed

    def _refuse_unmended(self, now: Surveyed) -> None:
        """With nothing left to prepare, what a preparation was to mend and did not keeps the host out after all."""
        findings = check_host(now.host, now.facts, takeover=self._deps.takeover, is_prepared=True)
        if finding := blocking(findings):
            raise outcomes.finding_error(finding)

    def _plan_again(
        self, planned: PlannedHost, now: Surveyed, nonce: str, done: frozenset[str]
    ) -> PlannedHost:
        """The plan by the second survey; ``done`` are the preparations that were carried out before it."""
        is_same_node = now.facts.nomad.node_id == planned.facts.nomad.node_id
        mark = planned.mark if is_same_node else Mark.NEW
        unconfirmed = planned.unconfirmed
        if seen_at_start := done & SEEN_AT_START:
            unconfirmed = unconfirmed or f"it sees {', '.join(sorted(seen_at_start))} only when it starts"
        return self._planner.plan_host(now, nonce, mark, unconfirmed=unconfirmed)

    async def _confirm(self, planned: PlannedHost) -> NodeView:
        """The node of a host that has become as it should be since it was planned."""
        node_id = planned.facts.nomad.node_id or NodeId("")
        return await confirm_node(self._deps, planned, node_id, self._deps.deadlines.step_s)

    async def _confirmed(self, planned: PlannedHost, view: NodeView) -> None:
        host, stamp = planned.host.name, planned.plan.stamp
        await self._deps.emit(
            HostConfirmed(host=host, node_id=view.id, stamp=stamp, gpus_seen=view.gpu_count)
        )

    async def _admit(self, planned: PlannedHost, view: NodeView, session: Session | None = None) -> NodeView:
        """The node once it may have jobs; over a session the host's GPUs are probed again before."""
        admission = Admission(self._deps.regions[planned.host.region], self._deps.emit)
        view = await admission.hold(planned.host, view, planned.mark)
        if session is not None:
            surveyed = await self._surveyor.survey_again(planned.surveyed, session)
            planned = replace(planned, surveyed=surveyed)
        return await admission.admit(planned, view, self._deps.deadlines.step_s)

    async def _apply_or_explain(
        self, planned: PlannedHost, session: Session, confirmation: NodeConfirmation
    ) -> NodeView:
        """The node once it is registered. A start that failed is blamed on the driver where that hangs."""
        try:
            return await self._apply(planned, session, confirmation)
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

    async def _apply(
        self, planned: PlannedHost, session: Session, confirmation: NodeConfirmation
    ) -> NodeView:
        host = planned.host
        issuer = self._deps.regions[host.region].issuer
        is_issued_before = renews_certificate(planned.plan) and not confirmation.needs_certificate
        payload = build_payload(
            planned.bundle,
            planned.plan,
            planned.facts,
            await issuer.issue(host) if is_issued_before else None,
            rollout=self._deps.rollout,
            apply_script=self._deps.scripts.apply,
            needs_token=confirmation.needs_token,
        )

        async def on_step(name: str) -> None:
            event = StepStarted(host=host.name, step="apply", attempt=confirmation.attempt, detail=name)
            await self._deps.emit(event)

        payload = await self._pack(payload, planned.facts.best_form, on_step)
        programs = [program_of(file) for file in payload.programs]
        await self._obtainer.obtain(host, planned.facts, session, programs)
        view = await apply_payload(session, self._deps, payload, on_step, confirmation.lead)
        await self._planner.record_installation(planned, manifest_of(payload))
        return view

    async def _pack(self, payload: Payload, form: Form, on_step: Callable[[str], Awaitable[None]]) -> Payload:
        """The payload with its programs in that form; a host that has to wait for one is at a step of its own meanwhile."""
        programs = []
        for file in payload.programs:
            program = program_of(file)
            if not await self._deps.packer.is_packed(program, form):
                await on_step("compress")
            programs.append(replace(file, program=await self._deps.packer.pack(program, form)))
        return replace(payload, programs=tuple(programs))

    async def _retried(
        self, host: Host, step: str, progress: _Progress, work: Callable[[int], Awaitable[_Result]]
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
            progress.attempts = attempt
            began = self._deps.clock.monotonic()
            await self._deps.emit(StepStarted(host=host.name, step=step, attempt=attempt))
            result = await work(attempt)
            took_s = round(self._since(began), 3)
            await self._deps.emit(StepFinished(host=host.name, step=step, attempt=attempt, duration_s=took_s))
            return result

        return await self._deps.retry.run(once, before_retry)

    def _timed(self, outcome: Outcome, progress: _Progress, began: float) -> Outcome:
        return replace(outcome, attempts=progress.attempts, duration_s=round(self._since(began), 3))

    def _since(self, began: float) -> float:
        return self._deps.clock.monotonic() - began


def _refuse_stale_plan(planned: PlannedHost, now: Surveyed, nonce: str) -> None:
    """Another rollout may have been at work since the plan was made, from another machine or state directory.

    A new stamp shows it, unless an attempt of this wave wrote it: region and fleet were asked about a host that is another
    by now.
    """
    stamp = now.facts.nomad.stamp
    if stamp and stamp != planned.facts.nomad.stamp and not stamp.endswith(f"-{nonce}"):
        message = "another rollout has enrolled this host since it was planned here"
        hint = "run the same command again: it looks at the host anew; let only one rollout at a time have it"
        raise HostLockedError("host_changed", message, hint)


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
        identity=MachineIdentity(
            surveyed.host.place,
            facts.host_key,
            own_product_uuid(facts),
            tuple(gpu.uuid for gpu in facts.gpus or ()),
        ),
    )
