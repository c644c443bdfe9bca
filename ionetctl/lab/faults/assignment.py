"""The faults that disturb an enrolment, the syntax of ``--fault``, and which hosts get a fault. Pure.

Conditions (``conditions``) are requested and assigned in the same way. The choice of hosts depends on the seed alone.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import UsageError
from ionetctl.core.plural import counted
from ionetctl.inventory.yaml.problems import did_you_mean
from ionetctl.lab.faults import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAULTS: Final[Mapping[str, str]] = {
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
"""Name → description, in words that follow "a host that"."""
_REQUEST: Final = re.compile(r"(?P<name>[a-z][a-z0-9-]*)=(?P<amount>\d{1,6})(?P<percent>%?)")
_ALL_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class FaultRequest:
    """A request that ``amount`` hosts, or ``amount`` percent of them, have the fault."""

    name: str
    amount: int
    is_percentage: bool

    def count(self, hosts: int) -> int:
        """How many of ``hosts`` get the fault; a percentage above zero is rounded up."""
        if not self.is_percentage:
            return self.amount
        return min(hosts, -(-hosts * self.amount // _ALL_PERCENT))


def parse_fault(text: str) -> FaultRequest:
    """Parse ``NAME=COUNT`` or ``NAME=PERCENT%``; raises ``UsageError``, which suggests a name when this one is unknown."""
    match = _REQUEST.fullmatch(text)
    if match is None:
        raise UsageError("lab_fault_invalid", f"{text!r} is no fault", "write NAME=COUNT or NAME=PERCENT%")
    name, amount = match["name"], int(match["amount"])
    names = (*FAULTS, *conditions.CONDITIONS)
    if name not in names:
        hint = did_you_mean(name, names) or f"docs/reference/lab.md lists all {len(names)}"
        raise UsageError("lab_fault_unknown", f"there is no fault {name!r}", hint)
    if match["percent"] and amount > _ALL_PERCENT:
        raise UsageError("lab_fault_invalid", f"{text!r} is more than all hosts", "a percentage ends at 100%")
    return FaultRequest(name, amount, bool(match["percent"]))


def assign(requests: Sequence[FaultRequest], hosts: Sequence[str], seed: int) -> dict[str, str]:
    """Host → fault, at most one each; raises ``UsageError`` when more hosts are requested than there are."""
    wanted = [request.name for request in requests for _ in range(request.count(len(hosts)))]
    if len(wanted) > len(hosts):
        message = f"{counted(len(wanted), 'fault')} on {counted(len(hosts), 'host')}"
        raise UsageError("lab_fault_invalid", message, "ask for fewer faults or more hosts")
    chosen = random.Random(seed).sample(list(hosts), len(wanted))  # noqa: S311 - the same in every rehearsal
    return dict(sorted(zip(chosen, wanted, strict=True)))
