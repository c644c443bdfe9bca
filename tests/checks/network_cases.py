"""Cases of the checks of the way to the region."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core.model.host import AUTO_REGION, Placement
from ionetctl.core.observed import Interface
from tests.checks.host_case import BLOCKING_FIREWALL, Case, reached

CASES: Final = (
    Case(
        ("servers_unreachable block",),
        machine={"reaches": reached("timeout", "refused")},
        message="no server of the region can be reached: s0:4647 (timeout), s1:4647 (refused)",
    ),
    Case(
        ("servers_partly_unreachable warn",),
        machine={"reaches": reached(None, "timeout")},
        message="1 of 2 servers cannot be reached: s1:4647 (timeout)",
    ),
    Case(host={"region": AUTO_REGION}, machine={"reaches": reached(None, "timeout")}),
    Case(
        ("servers_unreachable block",), host={"region": AUTO_REGION}, machine={"reaches": reached("timeout")}
    ),
    Case(
        ("dns_failing block",),
        machine={"reaches": reached("unresolved", "unresolved")},
        message="its resolver does not know s0 and s1",
    ),
    Case(("dns_failing warn",), machine={"reaches": reached(None, "unresolved")}),
    Case(
        ("dns_failing warn", "servers_unreachable block"),
        machine={"reaches": reached("refused", "unresolved")},
    ),
    Case(machine={"reaches": reached("no_tool")}),
    Case(machine={"reaches": ()}),
    Case(
        ("firewall_blocks_rpc block",),
        machine={"reaches": reached("timeout"), "firewalls": (BLOCKING_FIREWALL,)},
        message="ufw lets no TCP 4647 out",
    ),
    Case(("firewall_blocks_rpc warn",), machine={"reaches": (), "firewalls": (BLOCKING_FIREWALL,)}),
    Case(
        ("firewall_blocks_rpc warn",),
        machine={"reaches": reached("no_tool"), "firewalls": (BLOCKING_FIREWALL,)},
    ),
    Case(machine={"firewalls": (BLOCKING_FIREWALL,)}),
    Case(machine={"reaches": (), "firewalls": None}),
    Case(machine={"reaches": (), "firewalls": (replace(BLOCKING_FIREWALL, allows_rpc=True),)}),
    Case(machine={"reaches": (), "firewalls": (replace(BLOCKING_FIREWALL, blocks_outbound=False),)}),
    Case(
        ("servers_unreachable block",),
        machine={"reaches": reached("timeout"), "firewalls": (replace(BLOCKING_FIREWALL, allows_rpc=True),)},
    ),
    Case(
        ("servers_unreachable block",),
        machine={"reaches": reached("timeout"), "firewalls": (replace(BLOCKING_FIREWALL, allows_rpc=None),)},
    ),
    Case(
        ("region_far warn",),
        machine={"reaches": reached(None, rtt_ms=200.4)},
        message="its nearest server answers after 200 ms, more than 200 ms",
    ),
    Case(machine={"reaches": reached(None, rtt_ms=200.0)}),
    Case(
        ("region_far warn",),
        host={"placement": Placement(max_rtt_ms=20)},
        machine={"reaches": reached(None, rtt_ms=31.0)},
        message="its nearest server answers after 31 ms, more than 20 ms",
    ),
    Case(host={"placement": Placement(max_rtt_ms=300)}, machine={"reaches": reached(None, rtt_ms=250.0)}),
    Case(machine={"reaches": (*reached(None, rtt_ms=900.0), *reached(None))}),
    Case(
        ("mtu_low warn",),
        machine={"interfaces": (Interface("ppp0", "02::", 1492, has_default_route=True),)},
        message="ppp0 carries 1492 bytes, containers will send 1500",
    ),
    Case(machine={"interfaces": (Interface("ib0", "02::", 1280, has_default_route=False),)}),
    Case(machine={"interfaces": (Interface("eno1", "02::", None, has_default_route=True),)}),
    Case(machine={"interfaces": None}),
)
