"""What can go wrong with a rehearsal host: the catalogue, and who gets what. Pure; the choice depends on the seed alone.

What a host can merely be (its ``conditions``) is asked for by the same words.
"""

from __future__ import annotations

import difflib
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.lab.faults import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CATALOGUE: Final[Mapping[str, str]] = {
    "unreachable": "nothing listens at its address",
    "timeout": "its address swallows packets: connecting never ends",
    "refused": "accepts the connection and closes it at once",
    "silent": "accepts the connection and never says a word",
    "wrong-key": "shows another host key than the inventory pins",
    "auth": "does not accept our SSH key",
    "sudo": "sudo asks for a password",
    "disk-full": "every unpacked file meets a full disk",
    "read-only": "every new directory meets a read-only file system",
    "slow": "its line carries 64 KiB a second",
    "trickle": "its line carries one byte a second",
    "drop": "cuts the connection once, in the middle of the first large upload",
    "gpu-missing": "has one GPU fewer than the inventory promises",
    "foreign-nomad": "runs a Nomad client that is somebody else's",
    "start-fails": "the agent ends right after its start",
    "start-hangs": "the agent's start never ends",
    "clock": "its clock is ten minutes ahead",
    "no-route": "its agent has no way to the region",
    "noisy": "escape sequences, markup and workflow commands in banner and output",
    "endless": "answers every command with endless output",
    "locked": "another rollout holds its lock",
}
"""Name → what it is, as a sentence's predicate."""
_REQUEST: Final = re.compile(r"(?P<name>[a-z][a-z0-9-]*)=(?P<amount>\d{1,6})(?P<percent>%?)")
_WHOLE: Final = 100


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """So many hosts, or such a share of them, are to have a fault."""

    name: str
    amount: int
    is_percentage: bool

    def count(self, hosts: int) -> int:
        """How many of ``hosts`` get it; a percentage that is not zero means one host at least."""
        if not self.is_percentage:
            return self.amount
        return min(hosts, -(-hosts * self.amount // _WHOLE))


def parse_fault(text: str) -> FaultRequest:
    """The request that ``NAME=COUNT`` or ``NAME=PERCENT%`` makes; raises ``UsageError`` with the names there are."""
    match = _REQUEST.fullmatch(text)
    if match is None:
        raise UsageError("lab_fault_invalid", f"{text!r} is no fault", "write NAME=COUNT or NAME=PERCENT%")
    name, amount = match["name"], int(match["amount"])
    names = (*CATALOGUE, *conditions.CATALOGUE)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        known = f"there are: {', '.join(names)}"
        hint = f"did you mean {near[0]}? {known}" if near else known
        raise UsageError("lab_fault_unknown", f"there is no fault {name!r}", hint)
    if match["percent"] and amount > _WHOLE:
        raise UsageError("lab_fault_invalid", f"{text!r} is more than all hosts", "a percentage ends at 100%")
    return FaultRequest(name, amount, bool(match["percent"]))


def assign(requests: Sequence[FaultRequest], hosts: Sequence[str], seed: int) -> dict[str, str]:
    """Host → its one fault; raises ``UsageError`` where more hosts are asked for than there are."""
    wanted = [request.name for request in requests for _ in range(request.count(len(hosts)))]
    if len(wanted) > len(hosts):
        message = f"{len(wanted)} hosts are to have a fault, and there are {len(hosts)}"
        raise UsageError("lab_fault_invalid", message, "ask for fewer faults or more hosts")
    chosen = random.Random(seed).sample(list(hosts), len(wanted))  # noqa: S311 - the same in every rehearsal
    return dict(sorted(zip(chosen, wanted, strict=True)))
