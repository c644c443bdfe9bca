"""Which hosts are neighbours: by rack, else by subnet, within a datacenter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.observed import Reach
from ionetctl.distribution.racks import addresses_of, rack_of
from tests.support.sample import BARE, HOST


def reaching_from(*addresses: str | None) -> tuple[Reach, ...]:
    return tuple(Reach("10.0.0.1", 4647, 1.0, None, address) for address in addresses)


@pytest.mark.parametrize(
    ("rack", "address", "local", "expected"),
    [
        ("a01", "10.0.0.5", None, "rey1/a01"),
        (None, "10.20.1.11", "10.9.9.9", "rey1/10.20.1.0/24"),
        (None, "2001:db8:0:7::11", None, "rey1/2001:db8:0:7::/64"),
        (None, "gpu1.example", "10.9.9.9", "rey1/10.9.9.0/24"),
        (None, "gpu1.example", None, None),
        (None, "gpu1.example", "fe80::1%eth0", None),
    ],
)
def test_rack(rack: str | None, address: str, local: str | None, expected: str | None) -> None:
    """The rack of the inventory, else the subnet of the address, else of the one that the host connects from."""
    host = replace(HOST, datacenter="rey1", rack=rack, address=address)
    facts = replace(BARE, machine=replace(BARE.machine, reaches=reaching_from(local)))
    assert rack_of(host, facts) == expected


def test_addresses() -> None:
    """The inventory's first, each once; names and what is no plain address are left out."""
    facts = replace(
        BARE, machine=replace(BARE.machine, reaches=reaching_from("10.9.9.9", "10.0.0.5", None, "x"))
    )
    host = replace(HOST, address="10.0.0.5")
    assert addresses_of(host, facts) == ("10.0.0.5", "10.9.9.9")
