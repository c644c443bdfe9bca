"""The work on one host as a value, which an engine may carry out in another process: what it needs is in it, and its result is returned.

Jobs and results are plain data: all that a host's steps ask of the rollout as a whole (records, regions, certificates)
goes through ``Dependencies``, which another process has proxies for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ionetctl.core.events import HostConfirmed, KeyClosing
from ionetctl.core.model.outcome import Outcome
from ionetctl.host import outcomes
from ionetctl.host.access.close_key import BegunClosing
from ionetctl.host.pipeline import Blocked, Pipeline
from ionetctl.host.planner import Planner
from ionetctl.host.survey import Surveyed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.core.errors import HostError
    from ionetctl.core.events import AnyEvent
    from ionetctl.core.model.host import Host
    from ionetctl.host.dependencies import Dependencies
    from ionetctl.host.planned_host import PlannedHost

Result = TypeVar("Result")


class HostSteps:
    """What jobs are made of, with the dependencies of the process that carries them out."""

    def __init__(self, dependencies: Dependencies) -> None:
        self.pipeline = Pipeline(dependencies)
        self.planner = Planner(dependencies)


class Job(Generic[Result]):
    """One piece of work on one host."""

    __slots__ = ()

    @property
    def host(self) -> Host:
        """The host."""
        raise NotImplementedError

    async def run(self, steps: HostSteps) -> Result:
        """Carry it out. A host's failure is a value; what is raised is a bug, or the end of the records."""
        raise NotImplementedError

    def again(self, told: Sequence[AnyEvent]) -> Job[Result]:  # noqa: ARG002  (most look at the host for what was done)
        """The job after whoever carried it out is gone, who had ``told`` of the host's confirmation or closing."""
        return self

    def lost(self, error: HostError) -> Result:
        """The result where whoever carried it out is gone, and nobody can say how far it came."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SurveyJob(Job[Surveyed | Blocked | Outcome]):
    """Look at a host."""

    target: Host

    @property
    def host(self) -> Host:
        """The host."""
        return self.target

    async def run(self, steps: HostSteps) -> Surveyed | Blocked | Outcome:
        """The host as it is, or its outcome."""
        return await steps.pipeline.survey(self.target)

    def lost(self, error: HostError) -> Outcome:
        """It could not be surveyed."""
        return outcomes.failed(self.target, "survey", error)


@dataclass(frozen=True, slots=True)
class AnnounceJob(Job[Outcome | None]):
    """Record a plan, with what it changes in the host's text files, which are read for that."""

    planned: PlannedHost

    @property
    def host(self) -> Host:
        """The host."""
        return self.planned.host

    async def run(self, steps: HostSteps) -> Outcome | None:
        """Record it; the host's outcome where it may not be carried out."""
        return await steps.planner.announce_with_diffs(self.planned)

    def lost(self, error: HostError) -> Outcome:
        """A plan that nobody recorded must not be carried out: the host's outcome, which there is none of otherwise."""
        return outcomes.failed(self.planned.host, "plan", error, self.planned.facts)


@dataclass(frozen=True, slots=True)
class EnrollJob(Job[Outcome]):
    """Carry out a plan; ``nonce`` is the wave's."""

    planned: PlannedHost
    nonce: str
    begun: BegunClosing | None = None
    """What a worker that is gone had begun: the host cannot be surveyed any more where its key is gone."""

    @property
    def host(self) -> Host:
        """The host."""
        return self.planned.host

    async def run(self, steps: HostSteps) -> Outcome:
        """The host's outcome."""
        return await steps.pipeline.enroll(self.planned, self.nonce, self.begun)

    def again(self, told: Sequence[AnyEvent]) -> EnrollJob:
        """The closing alone, where the host was confirmed, and its key about to be taken out."""
        match told:
            case [*_, HostConfirmed() as confirmed, KeyClosing() as closing]:
                return replace(self, begun=BegunClosing(confirmed, closing))
        return self

    def lost(self, error: HostError) -> Outcome:
        """What was done on the host is not known."""
        return outcomes.failed(self.planned.host, "apply", error, self.planned.facts)


class Engine(Protocol):
    """Where jobs are carried out: this process, worker processes, or machines of a cluster."""

    async def do(self, job: Job[Result]) -> Result:
        """The job's result; jobs may be given at any time, and are carried out side by side.

        Raises what the job raises, which is a bug or the end of the records.
        """
        ...
