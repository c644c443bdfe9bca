"""Hosts where nothing differs from their plans: each is finished, or goes on with what its node still needs.

How a node is judged stands in ``host.unchanged_hosts``.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.outcome import Result
from ionetctl.host import outcomes
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.host.planner import Planner
from ionetctl.host.unchanged_hosts import (
    Converged,
    Held,
    Unfit,
    Verified,
    complete_release,
    judge_converged,
    note_refusal,
)
from ionetctl.rollout.concurrently import Slots, concurrently

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName, RegionName
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.planned_host import PlannedHost
    from ionetctl.rollout.endings import Endings
    from ionetctl.rollout.lost_regions import LostRegions
    from ionetctl.rollout.stop import Stop


AT_ONCE: Final = 64
"""How many hosts are settled at once: each may wait for the journal and for its region, which thousands must not do in turn."""


@dataclass(frozen=True, slots=True)
class UnchangedHosts:
    """How such hosts are settled in one rollout; without ``changes_hosts`` nothing is written into regions either.

    ``installed`` are hosts and stamps of which the record has what lies there.
    """

    deps: Dependencies
    stop: Stop
    lost: LostRegions
    endings: Endings
    changes_hosts: bool
    installed: Container[tuple[RegionName, HostName, str]] = ()

    async def settle(self, converged: Sequence[PlannedHost]) -> list[PlannedHost]:
        """Finish the hosts; returns those of which something is to be done all the same.

        Once the end was asked for, no other host is finished, and no region that does not answer is waited for.
        """
        cases = await self.stop.unless_requested(self._judge(converged))
        if cases is None:
            return []
        planner, nonce = Planner(self.deps), secrets.token_hex(NONCE_BYTES)
        differing: dict[HostName, PlannedHost] = {}

        async def work(each: PlannedHost) -> None:
            if each.host.name not in cases:
                await self.endings.finish(each.host, self.lost.leave(each.host, each.host.region, each.facts))
                return
            match cases[each.host.name]:
                case Verified() if each.closes:
                    differing[each.host.name] = each
                case Verified() as verified:
                    await self._finish_verified(verified)
                case Held():
                    differing[each.host.name] = each.to_release()
                case Unfit() as unfit:
                    await self._finish_unfit(unfit)
                case unconfirmed:
                    reason = unconfirmed.error.message
                    differing[each.host.name] = planner.plan_host(
                        each.surveyed, nonce, each.mark, unconfirmed=reason
                    )

        slots = Slots(AT_ONCE, self.deps.clock)
        await concurrently(converged, work, slots, lambda: self.stop.is_requested)
        return [differing[each.host.name] for each in converged if each.host.name in differing]

    async def _judge(self, converged: Sequence[PlannedHost]) -> dict[HostName, Converged]:
        """The case of each host whose region answers."""
        cases: dict[HostName, Converged] = {}
        for region, tools in self.deps.regions.items():
            of_region = [each for each in converged if each.host.region == region]
            if of_region:
                judged = await self.lost.ask(region, judge_converged(tools, of_region))
                cases |= {case.planned.host.name: case for case in judged or ()}
        return cases

    async def _finish_verified(self, verified: Verified) -> None:
        planned, view = verified.planned, verified.view
        if self._may_write(planned.host):
            await self.lost.ask(planned.host.region, complete_release(self.deps, verified))
        stamp = planned.plan.stamp
        if self.changes_hosts and (planned.host.region, planned.host.name, stamp) not in self.installed:
            await Planner(self.deps).record_installation(planned, planned.facts.manifest)
        outcome = outcomes.confirmed(planned.host, Result.UNCHANGED, view, planned.facts, stamp)
        await self.endings.finish(planned.host, outcome)

    async def _finish_unfit(self, unfit: Unfit) -> None:
        host = unfit.planned.host
        if self._may_write(host):
            await self.lost.ask(host.region, note_refusal(self.deps, unfit))
        await self.endings.finish(host, outcomes.failed(host, "confirm", unfit.error, unfit.planned.facts))

    def _may_write(self, host: Host) -> bool:
        """Whether anything is written into the host's region: not into one that was lost meanwhile."""
        return self.changes_hosts and host.region not in self.lost.problems
