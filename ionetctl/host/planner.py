"""From a surveyed host to its plan, and the record of it. The host is at most read."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostError, RegionError, TrustError
from ionetctl.core.events import HostPlanned, Warned
from ionetctl.core.ports import Command
from ionetctl.facts.survey_output import SURVEY_LIMIT_BYTES
from ionetctl.facts.text_output import parse_texts
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.planned_host import Mark, PlannedHost
from ionetctl.plan.bundle import build_bundle
from ionetctl.plan.difference import PlanContext, drivers_lost, make_plan, new_digests
from ionetctl.plan.prepare_steps import needed_preparations
from ionetctl.plan.text_diff import compared_paths, file_diffs

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.plan import FileDiff
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.survey import Surveyed


KEEP_DRIVER: Final = "stop these jobs first, or keep their driver by nomad.drivers"


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
        event = HostPlanned(
            host=planned.host.name,
            changes=plan.changes,
            stamp=plan.stamp,
            diffs=diffs,
            allocations=await self._running_jobs(planned),
            digests=new_digests(planned.bundle, plan),
        )
        await self._deps.emit(event)

    async def _running_jobs(self, planned: PlannedHost) -> tuple[str, ...]:
        """The allocations that live through the restart of the agent; those that do not, and a region that does not tell, are warnings."""
        node_id = planned.facts.nomad.node_id
        if node_id is None or not planned.restarts_under_jobs:
            return ()
        name = planned.host.name
        try:
            running = await self._deps.regions[planned.host.region].api.allocations(node_id)
        except (RegionError, TrustError) as error:
            await self._deps.emit(Warned(host=name, code=error.code, message=error.message, hint=error.hint))
            return ()
        ending = [each.name for each in running if each.drivers.intersection(planned.drivers_lost)]
        if ending:
            message = f"{', '.join(ending)}: the driver is taken away, the allocation fails, and its processes stay behind"
            await self._deps.emit(
                Warned(host=name, code="driver_taken_away", message=message, hint=KEEP_DRIVER)
            )
        return tuple(each.name for each in running if each.name not in ending)

    async def _read(self, host: Host, paths: tuple[str, ...]) -> dict[str, str]:
        nonce = secrets.token_hex(NONCE_BYTES)
        limits = self._deps.deadlines
        argv = ("sh", "-s", "--", nonce, *paths)
        command = Command(argv, limits.step_s, limits.idle_s, SURVEY_LIMIT_BYTES)
        async with self._deps.connector.connect(host) as session:
            completed = await session.run(command, self._deps.scripts.read)
        return parse_texts(completed.stdout, nonce)
