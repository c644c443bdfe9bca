"""From a surveyed host to its plan, and the record of it. The host is at most read."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostError, HostFailedError, RegionError, TrustError
from ionetctl.core.events import HostInstalled, HostPlanned, Warned
from ionetctl.core.model.node import DOOR_JOB, DOOR_NAMESPACE
from ionetctl.core.model.plan import Fate
from ionetctl.core.plural import counted
from ionetctl.core.ports import Command
from ionetctl.facts.survey_output import SURVEY_LIMIT_BYTES
from ionetctl.facts.text_output import parse_texts
from ionetctl.host import outcomes
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.plan.bundle import build_bundle
from ionetctl.plan.difference import PlanContext, drivers_lost, make_plan, new_digests
from ionetctl.plan.installation import has_door, installation
from ionetctl.plan.job_fates import job_fates
from ionetctl.plan.prepare_steps import needed_preparations
from ionetctl.plan.text_diff import compared_paths, file_diffs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import Digest
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.model.plan import FileDiff, PlannedJob
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.survey import Surveyed


KEEP_DRIVER: Final = "stop these jobs first, or keep their driver by nomad.drivers"
JOBS_NAMED: Final = 3
"""The most jobs that a refusal names; the plan has all."""
STOP_DOOR: Final = (
    "the maintenance door is closed here: stop its job first, so that no process of it stays behind: "
    f"nomad job stop -namespace {DOOR_NAMESPACE} {DOOR_JOB}; or allow it with --lose-jobs"
)
LOSE_JOBS: Final = "drain the node first, or allow it with --lose-jobs"


def loss_of_jobs(jobs: Sequence[PlannedJob]) -> HostFailedError | None:
    """Why a plan must not be carried out unless its jobs may be lost (``jobs_would_be_lost``)."""
    lost = [job for job in jobs if job.fate is Fate.LOST]
    if not lost:
        return None
    message = "; ".join(f"{job.allocation}: {job.reason}" for job in lost[:JOBS_NAMED])
    if len(lost) > JOBS_NAMED:
        message += f"; and {counted(len(lost) - JOBS_NAMED, 'more allocation')}"
    is_door_alone = all((job.namespace, job.job) == (DOOR_NAMESPACE, DOOR_JOB) for job in lost)
    hint = STOP_DOOR if is_door_alone else LOSE_JOBS
    return HostFailedError("jobs_would_be_lost", f"the plan would lose {message}", hint)


class Planner:
    """Plans hosts of one rollout."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._deps = dependencies

    def plan_host(
        self, surveyed: Surveyed, nonce: str, mark: Mark, *, unconfirmed: str | None = None
    ) -> PlannedHost:
        """The host with its plan; ``unconfirmed`` is why the region does not show it although nothing differs."""
        host, facts = surveyed.host, surveyed.facts
        subject = self._deps.subject_of(host, surveyed.node_name, facts)
        bundle, lost = build_bundle(subject), drivers_lost(subject.drivers, facts)
        check = self._deps.regions[host.region].issuer.check
        now = self._deps.clock.now()
        unfit = check.explain_unfit(facts.node_certificate, now, facts.node_public_key)
        context = PlanContext(
            nonce, unfit, is_known=mark is not Mark.NEW, unconfirmed=unconfirmed, drivers_lost=lost
        )
        plan = make_plan(bundle, facts, context)
        plan = replace(plan, changes=(*needed_preparations(host, facts), *plan.changes))
        return PlannedHost(surveyed, bundle, plan, mark, unconfirmed, lost)

    async def record_installation(self, planned: PlannedHost, manifest: Mapping[str, Digest]) -> None:
        """Record what lies on a host that its region shows by the plan; ``manifest`` is the host's. Nothing of one without a door."""
        if not has_door(planned.bundle):
            return
        host, facts = planned.host, planned.facts
        drivers = self._deps.subject_of(host, planned.surveyed.node_name, facts).drivers
        installed = installation(planned.bundle, facts, manifest, drivers)
        stamp = planned.plan.stamp
        event = HostInstalled(host=host.name, region=host.region, stamp=stamp, installed=installed)
        await self._deps.emit(event)

    async def announce(self, planned: PlannedHost) -> Outcome | None:
        """Record the plan that will be carried out or shown; the host's outcome where it would lose jobs and may not."""
        return await self._announce(planned, ())

    async def announce_with_diffs(self, planned: PlannedHost) -> Outcome | None:
        """The same with what changes in text files; a host that will not show them is announced without."""
        paths = compared_paths(planned.bundle, planned.plan)
        try:
            present = await self._read(planned.host, paths) if paths else {}
        except HostError as error:
            await self._deps.emit(Warned(host=planned.host.name, code=error.code, message=error.message))
            return await self._announce(planned, ())
        return await self._announce(planned, file_diffs(planned.bundle, planned.plan, present))

    async def _announce(self, planned: PlannedHost, diffs: tuple[FileDiff, ...]) -> Outcome | None:
        plan = planned.plan
        jobs = await self._jobs(planned)
        surviving = (job.allocation for job in jobs if job.fate is Fate.SURVIVES)
        event = HostPlanned(
            host=planned.host.name,
            changes=plan.changes,
            stamp=plan.stamp,
            diffs=diffs,
            allocations=tuple(surviving) if planned.restarts_under_jobs else (),
            digests=new_digests(planned.bundle, plan),
            jobs=jobs,
        )
        await self._deps.emit(event)
        error = None if self._deps.lose_jobs else loss_of_jobs(jobs)
        return outcomes.failed(planned.host, "plan", error, planned.facts) if error else None

    async def _jobs(self, planned: PlannedHost) -> tuple[PlannedJob, ...]:
        """What runs on the node and what becomes of it; the loss of a driver, and a region that does not tell, are warnings."""
        node_id = planned.facts.nomad.node_id
        if node_id is None or not planned.acts_under_jobs:
            return ()
        name = planned.host.name
        try:
            running = await self._deps.regions[planned.host.region].api.allocations(node_id)
        except (RegionError, TrustError) as error:
            await self._deps.emit(Warned(host=name, code=error.code, message=error.message, hint=error.hint))
            return ()
        jobs = job_fates(running, planned.host, planned.plan.changes, planned.drivers_lost)
        ending = [
            job.allocation
            for job in jobs
            if job.fate is Fate.LOST
            and planned.restarts_under_jobs
            and {*job.drivers} & {*planned.drivers_lost}
        ]
        if ending:
            message = f"{', '.join(ending)}: the driver is taken away, the allocation fails, and its processes stay behind"
            await self._deps.emit(
                Warned(host=name, code="driver_taken_away", message=message, hint=KEEP_DRIVER)
            )
        return jobs

    async def _read(self, host: Host, paths: tuple[str, ...]) -> dict[str, str]:
        nonce = secrets.token_hex(NONCE_BYTES)
        limits = self._deps.deadlines
        argv = ("sh", "-s", "--", nonce, *paths)
        command = Command(argv, limits.step_s, limits.idle_s, SURVEY_LIMIT_BYTES)
        async with self._deps.connector.connect(host) as session:
            completed = await session.run(command, self._deps.scripts.read)
        return parse_texts(completed.stdout, nonce)
