"""What a plan does to the allocations that run on the host. Pure.

A restart of the agent leaves allocations of docker, exec and raw_exec running: tried with Nomad 2.0.5, whose unit ends with
``KillMode=process``. A driver that is taken away fails its allocations and leaves their processes. Preparations that restart Docker
under containers refuse to, but for one that brings Docker itself; a reboot ends all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core.model.plan import Action, Fate, PlannedJob
from ionetctl.plan.prepare_steps import DOCKER, INSTALLING, SEEN_AT_START

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.node import RunningAllocation
    from ionetctl.core.model.plan import Change

RESTARTED: Final = frozenset({"docker", "exec", "raw_exec"})
"""Drivers whose allocations were seen to live through a restart of the agent."""


def job_fates(
    running: Iterable[RunningAllocation],
    host: Host,
    changes: Sequence[Change],
    drivers_lost: Collection[str],
) -> tuple[PlannedJob, ...]:
    """The allocations that run on a host, each with what the changes do to it."""
    prepared = {change.path for change in changes if change.action is Action.PREPARE}
    restarts = any(change.action is Action.RESTART for change in changes) or bool(prepared & SEEN_AT_START)
    may_reboot = host.prepare.reboot and bool(prepared & INSTALLING)

    def fate_of(drivers: frozenset[str]) -> tuple[Fate, str]:
        if may_reboot:
            return Fate.LOST, "the host may reboot for what is installed (prepare.reboot)"
        if DOCKER in prepared and ("docker" in drivers or not drivers):
            return Fate.LOST, "Docker is installed anew, and its containers end"
        if restarts and (gone := sorted(drivers.intersection(drivers_lost))):
            return (
                Fate.LOST,
                f"{', '.join(gone)} is taken away: it fails at the restart, and its processes stay behind",
            )
        if restarts and not (drivers and drivers <= RESTARTED):
            return Fate.UNTRIED, "the agent is restarted; nobody has tried that with its driver"
        return (
            Fate.SURVIVES,
            "it lives through the agent's restart" if restarts else "nothing of it is touched",
        )

    return tuple(
        PlannedJob(each.name, each.job, each.namespace, tuple(sorted(each.drivers)), *fate_of(each.drivers))
        for each in running
    )
