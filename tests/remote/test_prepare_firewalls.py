"""Firewalls, really opened under every shell: for what leaves to Nomad's servers, now and at every boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.core.model.host import Prepare
from tests.remote.preparing import add, prepare, run, still_needed

if TYPE_CHECKING:
    from tests.remote.rehearsal import Host

# --- firewalls -------------------------------------------------------------------------------------------------------


def test_ufw_lets_the_port_out(debian: Host) -> None:
    """By ufw's own rule, once."""
    asked = Prepare(firewall=True)
    add(debian, "ufw")
    reported = prepare(debian, asked)
    assert reported.changes == [("firewall", "ufw lets TCP 4647 out")]
    assert still_needed(debian, asked) == []
    assert run(debian, (("firewall", "ufw", "4647"),)).changes == []


def test_nftables_lets_the_port_out_now_and_at_boot(debian: Host) -> None:
    """The rule goes into the kernel and into the file that nftables.service loads."""
    asked = Prepare(firewall=True)
    add(debian, "nft")
    debian.write("/etc/nftables.conf", "#!/usr/sbin/nft -f\nflush ruleset\n", 0o755)
    debian.write("/standin/units/nftables.service", "enabled active\n")
    reported = prepare(debian, asked)
    assert reported.changes == [("firewall", "nftables lets TCP 4647 out, now and at boot")]
    rule = 'insert rule inet filter output tcp dport 4647 accept comment "ionet"\n'
    assert debian.read("/etc/nftables.conf") == f"#!/usr/sbin/nft -f\nflush ruleset\n{rule}"
    assert debian.path("/etc/nftables.conf").stat().st_mode & 0o777 == 0o755
    assert debian.read("/standin/rules") == rule
    assert still_needed(debian, asked) == []


@pytest.mark.parametrize("unit", ["disabled active\n", None])
def test_nftables_of_unknown_origin_are_left_alone(debian: Host, unit: str | None) -> None:
    """A rule that the next boot would lose is not added, and a person is reported."""
    add(debian, "nft")
    debian.write("/etc/nftables.conf", "flush ruleset\n")
    if unit:
        debian.write("/standin/units/nftables.service", unit)
    reported = prepare(debian, Prepare(firewall=True))
    assert reported.error is not None
    assert reported.error[0] == "firewall_unclear"
    assert not debian.path("/standin/rules").exists()


def test_firewalld_lets_the_port_out(debian: Host) -> None:
    """For both families, now and for good."""
    add(debian, "firewall-cmd")
    reported = run(debian, (("firewall", "firewalld", "4647"),))
    assert [what for _, what in reported.changes] == [
        "firewalld lets TCP 4647 out (ipv4, --permanent)",
        "firewalld lets TCP 4647 out (ipv4)",
        "firewalld lets TCP 4647 out (ipv6, --permanent)",
        "firewalld lets TCP 4647 out (ipv6)",
    ]
    assert run(debian, (("firewall", "firewalld", "4647"),)).changes == []


def test_iptables_rules_are_saved(debian: Host) -> None:
    """A rule counts once it outlives a boot."""
    asked = Prepare(firewall=True)
    add(debian, "iptables", "netfilter-persistent")
    reported = prepare(debian, asked)
    assert reported.changes == [("firewall", "iptables lets TCP 4647 out")]
    assert debian.read("/standin/saved") == "-I OUTPUT -p tcp --dport 4647 -j ACCEPT\n"
    assert still_needed(debian, asked) == []


def test_iptables_rules_that_nobody_saves_are_left_alone(debian: Host) -> None:
    """Without netfilter-persistent nothing is changed."""
    add(debian, "iptables")
    reported = prepare(debian, Prepare(firewall=True))
    assert reported.error is not None
    assert reported.error[0] == "firewall_unclear"
    assert not debian.path("/standin/rules").exists()
