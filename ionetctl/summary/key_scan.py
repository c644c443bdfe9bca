"""What a scan of a fleet's host keys amounts to: which keys may be pinned, and which hosts answer with another's key. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ionetctl.core.errors import ExitCode, worst
from ionetctl.core.model.host_key import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.host_key import SeenKey
    from ionetctl.core.model.names import HostName


@dataclass(frozen=True)
class KeyScan:
    """The keys that were seen, in the inventory's order; ``hosts`` are all of the inventory, scanned or not."""

    inventory: str
    scanned_at: str
    owner: str
    seen: tuple[SeenKey, ...]
    hosts: tuple[Host, ...]

    @cached_property
    def alike(self) -> Mapping[HostName, tuple[HostName, ...]]:
        """For each host whose key is another's too, those others: scanned ones, and ones that it is pinned for."""
        holders: defaultdict[str, dict[HostName, None]] = defaultdict(dict)
        pinned = {(host.name, pin) for host in self.hosts for pin in host.ssh.host_keys}
        by_pin: defaultdict[str, list[HostName]] = defaultdict(list)
        for name, pin in sorted(pinned):
            by_pin[pin].append(name)
        for one in self.seen:
            if one.key is not None:
                names = [one.host, *by_pin[one.key.line], *by_pin[one.key.fingerprint]]
                holders[one.key.fingerprint].update(dict.fromkeys(names))
        return {
            one.host: others
            for one in self.seen
            if one.key is not None
            and (others := tuple(name for name in holders[one.key.fingerprint] if name != one.host))
        }

    @property
    def pins(self) -> tuple[SeenKey, ...]:
        """Keys that may be pinned after a review: those of hosts without a pin or a CA in the inventory, and nobody else's."""
        wanted = (Standing.NEW, Standing.KNOWN)
        barred = {*self.alike, *(one.host for one in self.uncertified)}
        return tuple(one for one in self.seen if one.standing in wanted and one.host not in barred)

    @property
    def uncertified(self) -> tuple[SeenKey, ...]:
        """Hosts whose key only known_hosts has, though the inventory names a CA for them: a pin would put an end to that."""
        under_ca = {host.name for host in self.hosts if host.ssh.host_authorities}
        return tuple(one for one in self.seen if one.standing is Standing.KNOWN and one.host in under_ca)

    @property
    def troubled(self) -> tuple[SeenKey, ...]:
        """Hosts with nothing to pin: refused, unseen, or with another's key."""
        bad = (Standing.REFUSED, Standing.UNSEEN)
        return tuple(one for one in self.seen if one.standing in bad or one.host in self.alike)

    @property
    def counts(self) -> Mapping[Standing, int]:
        """The number of hosts of each standing, 0 included."""
        counted = Counter(one.standing for one in self.seen)
        return {standing: counted[standing] for standing in Standing}

    @property
    def exit_code(self) -> ExitCode:
        """6 where a key is refused or another's, else the worst of the hosts that were not seen; a new key is no failure."""
        codes = {one.error.exit_code for one in self.troubled if one.error is not None}
        return worst(codes | ({ExitCode.TRUST} if self.alike else set()))


def groups_alike(scan: KeyScan) -> Iterable[tuple[HostName, ...]]:
    """The hosts that have one key, each group once."""
    groups = {frozenset((name, *others)) for name, others in scan.alike.items()}
    return sorted(tuple(sorted(group)) for group in groups)
