"""How the hosts of a rollout ended so far. Each ending is recorded once it is known; what it is stands in ``host.outcomes``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.events import HostFinished
from ionetctl.core.model.outcome import Result
from ionetctl.core.plural import counted
from ionetctl.host import outcomes
from ionetctl.rollout.key_holders import KeyHolders
from ionetctl.summary.exit_code import decide_exit_code

RESUME_HINT: Final = "run the same command with --resume"

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.core.errors import ExitCode
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.ports import Emit
    from ionetctl.rollout.stop import Stop


@dataclass(frozen=True, slots=True)
class PlanOverview:
    """What a person is asked to agree to."""

    changing: int
    unchanged: int
    failed: int


@dataclass(slots=True)
class Endings:
    """By host the outcome, in the order in which they became known; ``holders`` names hosts that answer with another's key."""

    emit: Emit
    holders: KeyHolders = field(default_factory=KeyHolders)
    outcomes: dict[HostName, Outcome] = field(default_factory=dict)

    async def finish(self, host: Host, outcome: Outcome) -> None:
        """Record the outcome of a host."""
        outcome = self.outcomes[host.name] = self.holders.named(outcome)
        await self.emit(
            HostFinished(
                host=host.name, outcome=outcome, node_pool=host.node_pool, rack=host.rack, stamp=outcome.stamp
            )
        )

    async def finish_planned(self, host: Host, changes: int) -> None:
        """Record the outcome of a host that would be changed, where the plan alone was asked for."""
        message = f"{counted(changes, 'change')} planned, nothing changed"
        await self.finish(host, outcomes.skipped(host, "check", message, ""))

    async def skip_rest(self, hosts: Iterable[Host], code: str, message: str, hint: str) -> None:
        """Record an outcome for those of the hosts that have none: the rollout did not come to them."""
        for host in hosts:
            if host.name not in self.outcomes:
                await self.finish(host, outcomes.skipped(host, code, message, hint))

    def overview(self, changing: int) -> PlanOverview:
        """What is to be agreed to, where so many hosts are to be changed."""
        unchanged = sum(outcome.result is Result.UNCHANGED for outcome in self.outcomes.values())
        return PlanOverview(changing, unchanged, len(self.outcomes) - unchanged)

    async def exit_code(
        self, stop: Stop, left_out: Iterable[Outcome], *, has_planned_changes: bool
    ) -> ExitCode:
        """The exit code that the hosts earn, those that were ``left_out`` of this run among them."""
        await stop.record(self.emit)
        code = stop.reason.code if stop.reason else None
        return decide_exit_code(
            (*self.outcomes.values(), *left_out), code, has_planned_changes=has_planned_changes
        )
