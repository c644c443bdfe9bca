"""Jobs in this process's own event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ionetctl.rollout.engines.jobs import HostSteps, Job, Result


@dataclass(frozen=True, slots=True)
class InlineEngine:
    """``jobs.Engine`` without any other process."""

    steps: HostSteps

    async def do(self, job: Job[Result]) -> Result:
        """The job's result; raises what the job raises."""
        return await job.run(self.steps)
