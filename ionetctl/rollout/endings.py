"""How the hosts of a rollout ended so far. Each ending is recorded once it is known; what it is stands in ``host.outcomes``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ionetctl.core.events import HostFinished
from ionetctl.rollout.key_holders import KeyHolders

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.outcome import Outcome
    from ionetctl.core.ports import Emit


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
