"""Whose SSH key it is that a host was refused for: another host's, by the inventory's pins or as the catalog noted it. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ionetctl.checks import KnownMachine
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Outcome

FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
MOST: Final = 6
"""The most hosts that are named: a cloned image may be a whole fleet's."""


@dataclass(frozen=True)
class KeyHolders:
    """The hosts of the inventory and the machines of the catalog, by their keys."""

    listed: Sequence[Host] = ()
    known: Sequence[KnownMachine] = ()

    @cached_property
    def names(self) -> Mapping[str, dict[str, None]]:
        """The hosts that each fingerprint is known of."""
        names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for host in self.listed:
            for pin in host.ssh.host_keys:
                names[_fingerprint(pin)][host.name] = None
        for one in self.known:
            if one.identity and one.identity.host_key:
                names[one.identity.host_key][one.name] = None
        return names

    def named(self, outcome: Outcome) -> Outcome:
        """The outcome, with the hosts named that the keys belong to for which its host was refused."""
        problem = outcome.problem
        if problem is None or problem.exit_code != ExitCode.TRUST:
            return outcome
        found = [
            f"{key} is the key of {name}"
            for key in dict.fromkeys(FINGERPRINT.findall(problem.message))
            for name in self.names.get(key, ())
            if name.casefold() != outcome.host.casefold()
        ]
        return replace(outcome, problem=replace(problem, message="; ".join((problem.message, *found[:MOST]))))


def _fingerprint(pin: str) -> str:
    """A pin's fingerprint: that of a public key (``type base64``), or what the inventory has."""
    _, is_key, blob = pin.partition(" ")
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}" if is_key else pin
