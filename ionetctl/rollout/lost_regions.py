"""The regions that a rollout cannot work with any more, and why: the hosts of each are left, all others go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from ionetctl.core.errors import ExitCode, RegionError, TrustError
from ionetctl.core.events import Warned
from ionetctl.host.outcomes import OF_NODE, left_for_region, region_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import RegionName
    from ionetctl.core.model.outcome import Outcome, Problem
    from ionetctl.core.ports import Emit
    from ionetctl.host.dependencies import RegionTools

_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class LostRegions:
    """By region the problem of its hosts. The first one stays: a region is not asked again in the same rollout."""

    emit: Emit
    problems: dict[RegionName, Problem] = field(default_factory=dict)

    @classmethod
    def of(cls, regions: Mapping[RegionName, RegionTools], emit: Emit) -> Self:
        """Those that did not answer before the rollout."""
        silent = RegionError("region_unreachable", "it does not answer")
        return cls(
            emit,
            {
                name: region_problem(name, tools.trouble or silent)
                for name, tools in regions.items()
                if tools.status is None
            },
        )

    async def ask(self, name: RegionName, call: Awaitable[_Answer]) -> _Answer | None:
        """The answer of a call to the region, or ``None`` where it has none: then the region is lost, unless one node alone is at fault."""
        try:
            return await call
        except (RegionError, TrustError) as error:
            if error.code in OF_NODE:
                await self.emit(Warned(code=error.code, message=error.message, hint=error.hint))
            else:
                await self._lose(name, region_problem(name, error))
            return None

    async def note(self, outcome: Outcome) -> None:
        """Take the region as lost where that is what a host's outcome shows."""
        if outcome.problem is not None and outcome.is_regions_fault:
            await self._lose(outcome.region, outcome.problem)

    def leave(
        self, host: Host, region: RegionName, facts: Facts | None = None, *, is_installed: bool = False
    ) -> Outcome:
        """The outcome of a host that is left as it is because ``region`` is lost.

        Whether ionetctl has installed it, the facts say; of a host that was not surveyed, ``is_installed``.
        """
        is_ours = facts.nomad.is_ours if facts else is_installed
        return left_for_region(host, self.problems[region], is_installed=is_ours, facts=facts)

    def is_untrusted(self, name: RegionName) -> bool:
        """Whether the region is lost because it is not trusted."""
        problem = self.problems.get(name)
        return problem is not None and problem.exit_code == ExitCode.TRUST

    async def _lose(self, name: RegionName, problem: Problem) -> None:
        if name not in self.problems:
            self.problems[name] = problem
            await self.emit(Warned(code=problem.code, message=problem.message, hint=problem.hint))
