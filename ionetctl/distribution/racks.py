"""Which hosts are neighbours: those of one rack, else of one subnet, within a datacenter. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host

_PREFIX_BITS: Final = {4: 24, 6: 64}


def rack_of(host: Host, facts: Facts) -> str | None:
    """The name of the host's neighbourhood: its rack, else the /24 or /64 of its address; ``None`` where neither is known."""
    if host.rack is not None:
        return f"{host.datacenter}/{host.rack}"
    address = next(iter(addresses_of(host, facts)), None)
    if address is None:
        return None
    bits = _PREFIX_BITS[ipaddress.ip_address(address).version]
    return f"{host.datacenter}/{ipaddress.ip_network(f'{address}/{bits}', strict=False)}"


def addresses_of(host: Host, facts: Facts) -> tuple[str, ...]:
    """The IP addresses at which neighbours may reach the host: the inventory's, then those that it connects from.

    The inventory's may belong to a device that forwards to the host; then the host has it not.
    """
    seen = (reach.local_address for reach in facts.machine.reaches)
    return tuple(dict.fromkeys(each for each in (host.address, *seen) if each and _is_ip(each)))


def _is_ip(text: str) -> bool:
    """Whether it is an IP address that needs no interface to be named."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
