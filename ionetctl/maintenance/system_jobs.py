"""The system jobs of a region: what has to run on a node again once the node may have jobs.

Nomad 1.11.2 and 1.11.3 forget them after a drain (hashicorp/nomad#27495): what is missing then is scheduled by an evaluation of the node.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import RegionError
from ionetctl.core.events import Warned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.node import NodeView, SystemJob
    from ionetctl.core.ports import Emit, Region
    from ionetctl.maintenance.node_actions import NodeWork

PATIENCE_S: Final = 5.0
"""How long a job may take to be placed; seen are 1 to 2 s."""
POLL_S: Final = 0.5
ALL_POOLS: Final = "all"


def belongs(job: SystemJob, view: NodeView) -> bool:
    """Whether a system job is for nodes of this datacenter and pool; its constraints may say otherwise."""
    in_pool = job.node_pool in (ALL_POOLS, view.node_pool)
    return in_pool and any(fnmatchcase(view.datacenter, pattern) for pattern in job.datacenters)


@dataclass(slots=True)
class SystemJobs:
    """Those of one region, asked for once; none where our token may not list them, which is warned of once."""

    name: RegionName
    region: Region
    emit: Emit
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _known: Sequence[SystemJob] | None = None

    async def bring_back(self, work: NodeWork) -> None:
        """Have the node's system jobs scheduled where they do not come by themselves; what stays away is warned of."""
        wanted = [job for job in await self._all() if belongs(job, work.state.view)]
        missing = await self._missing(work, wanted)
        if not missing:
            return
        await work.region.evaluate(work.state.view.id)
        missing = await self._missing(work, missing)
        if missing:
            names = ", ".join(f"{job.id} ({job.namespace})" for job in missing)
            message = f"system jobs of its datacenter and pool do not run there: {names}"
            hint = "by their constraints perhaps; nomad job eval JOB says why one is not placed"
            await work.emit(Warned(host=work.name, code="system_jobs_missing", message=message, hint=hint))

    async def _missing(self, work: NodeWork, wanted: Sequence[SystemJob]) -> list[SystemJob]:
        """The jobs that have no allocation on the node after ``PATIENCE_S``."""
        ends_at_s, missing = work.clock.monotonic() + PATIENCE_S, list(wanted)
        while missing:
            placed = {(one.namespace, one.job) for one in await work.region.allocations(work.state.view.id)}
            missing = [job for job in missing if (job.namespace, job.id) not in placed]
            if not missing or work.clock.monotonic() >= ends_at_s:
                break
            await work.progress(f"system job {missing[0].id}", len(missing))
            await work.clock.sleep(POLL_S)
        return missing

    async def _all(self) -> Sequence[SystemJob]:
        async with self._lock:
            if self._known is None:
                try:
                    self._known = await self.region.system_jobs()
                except RegionError as error:
                    self._known = ()
                    message = (
                        f"region {self.name}: whether system jobs come back is not known: {error.message}"
                    )
                    await self.emit(Warned(code="system_jobs_unknown", message=message, hint=error.hint))
            return self._known
