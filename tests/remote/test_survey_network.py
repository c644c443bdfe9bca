"""What the survey finds of a host's network: interfaces, the way to the servers, firewalls."""

from __future__ import annotations

import shlex
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.observed import Firewall, Interface
from tests.remote.rehearsal import Host, shim
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.observed import Reach

ROUTES = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	100	00000000	0	0	0
eth1	0000A8C0	00000000	0001	0	0	100	0000FFFF	0	0	0
"""
ROUTES_6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 {name}\n"
)


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of a server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def interface(host: Host, name: str, mac: str, *, is_physical: bool = True, **values: str) -> None:
    """An interface as the kernel shows it."""
    for key, value in {"address": mac, "mtu": "1500", "operstate": "up", **values}.items():
        host.write(f"/sys/class/net/{name}/{key}", f"{value}\n")
    if is_physical:
        host.path(f"/sys/class/net/{name}/device").mkdir()


def test_interfaces_are_told(host: Host) -> None:
    """Hardware is told with address, state and speed, and which of it leads out."""
    interface(host, "eth0", "02:00:00:00:00:01", speed="10000")
    interface(host, "eth1", "02:00:00:00:00:02", operstate="down", mtu="9000", speed="-1")
    interface(host, "docker0", "02:42:00:00:00:03", is_physical=False)
    host.write("/proc/net/route", ROUTES)
    assert host.survey().machine.interfaces == (
        Interface("eth0", "02:00:00:00:00:01", 1500, is_up=True, speed_mbps=10000, has_default_route=True),
        Interface("eth1", "02:00:00:00:00:02", 9000, is_up=False),
    )


def test_a_bond_that_leads_out_is_told_with_its_cards(host: Host) -> None:
    """What has the default route counts even where no hardware is behind it; by IPv6 alone too."""
    interface(host, "bond0", "02:00:00:00:00:01", is_physical=False)
    interface(host, "eth0", "02:00:00:00:00:01")
    host.write("/proc/net/ipv6_route", ROUTES_6.format(name="lo") + ROUTES_6.format(name="bond0"))
    found = host.survey().machine.interfaces or ()
    assert [(each.name, each.has_default_route) for each in found] == [("bond0", True), ("eth0", False)]


def test_a_container_s_interfaces_are_told(host: Host) -> None:
    """Where nothing has hardware behind it, what looks like a card is one."""
    for name in ("eth0", "docker0", "veth12ab"):
        interface(host, name, "02:00:00:00:00:01", is_physical=False)
    interface(host, "lo", "00:00:00:00:00:00", is_physical=False)
    assert [each.name for each in host.survey().machine.interfaces or ()] == ["eth0"]


def test_virtual_functions_are_not_told(host: Host) -> None:
    """A card that shows itself many times is one card."""
    interface(host, "eth0", "02:00:00:00:00:01")
    interface(host, "eth0v0", "02:00:00:00:00:02")
    host.path("/sys/class/net/eth0v0/device/physfn").mkdir()
    assert [each.name for each in host.survey().machine.interfaces or ()] == ["eth0"]


def test_interfaces_without_end_are_bounded(one_host: Host) -> None:
    """A machine with more cards than the survey takes is still surveyed."""
    for number in range(100):
        interface(one_host, f"eth{number}", f"02:00:00:00:00:{number:02x}")
    assert len(one_host.survey().machine.interfaces or ()) == 64


PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'
WAYS = {
    "python": {"python3": PYTHON},
    "bash": {"python3": "exit 1"},
    "nc": {"python3": "exit 1", "bash": "echo 'bash: /dev/tcp/x: No such file or directory'; exit 1"},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, one_host: Host) -> Host:
    """A host that has this way of opening a connection, and none that would come before it."""
    for name, script in WAYS[request.param].items():
        shim(one_host, name, script)
    if request.param == "nc":
        (one_host.shims / "nc").symlink_to(needs("busybox"))
    return one_host


def only_reach(host: Host, servers: str) -> Reach:
    (reach,) = host.survey(servers=servers).machine.reaches
    return reach


def test_a_server_is_reached(way: Host, listening: int) -> None:
    """A connection is timed, whatever opens it."""
    reach = only_reach(way, f"127.0.0.1:{listening}")
    assert (reach.host, reach.port, reach.failure) == ("127.0.0.1", listening, None)
    assert reach.peer_address == "127.0.0.1"
    assert reach.rtt_ms is not None
    assert reach.rtt_ms < 1000


def test_a_refusal_is_told(way: Host, closed_port: int) -> None:
    """A server that does not listen is not one that does not answer."""
    assert only_reach(way, f"127.0.0.1:{closed_port}").failure == "refused"


def test_a_name_that_nobody_knows_is_told(way: Host) -> None:
    """Without an address nothing is tried."""
    assert only_reach(way, "nomad-1.invalid:4647").failure == "unresolved"


BUSY_PYTHON = """\
import _socket as socket, sys, time
pause, resolve, wakes = time.sleep, socket.getaddrinfo, []
def late(seconds):
    wakes.append(seconds)
    pause(0.002)
def slow(*arguments):
    while len(wakes) < {lookup_wakes}:
        pause(0.002)
    return resolve(*arguments)
time.sleep, time.monotonic, socket.getaddrinfo = late, lambda: len(wakes) * {wake_s}, slow
sys.argv[:] = sys.argv[1:]
exec(sys.argv[0])
"""
"""A clock that each pause advances by ``wake_s``, and a resolver that answers after so many pauses."""


@pytest.mark.parametrize(("wake_s", "failure"), [(0.2, None), (0.02, "unresolved")])
def test_time_without_a_cpu_does_not_count(
    one_host: Host, listening: int, wake_s: float, failure: str | None
) -> None:
    """Where a process wakes late the host is busy, and its resolver may have answered; else it is the resolver that is slow."""
    one_host.write("/standin/busy.py", BUSY_PYTHON.format(wake_s=wake_s, lookup_wakes=400))
    # Its arguments are -I -S -c PROGRAM HOST PORT.
    shim(
        one_host, "python3", f"shift 3; exec {sys.executable} -S '{one_host.path('/standin/busy.py')}' \"$@\""
    )
    assert only_reach(one_host, f"127.0.0.1:{listening}").failure == failure


LATE_PYTHON = """\
import os, sys, time
write = os.write
def late(*arguments):
    time.sleep(0.5)
    return write(*arguments)
os.write = late
sys.argv[:] = sys.argv[1:]
exec(sys.argv[0])
"""
"""A thread that has an answer and loses its CPU before it can write it."""


def test_the_last_answer_is_written_before_the_end(one_host: Host, listening: int, closed_port: int) -> None:
    """A process ends its other threads where they stand: none of them may still have an answer."""
    one_host.write("/standin/late.py", LATE_PYTHON)
    shim(
        one_host, "python3", f"shift 3; exec {sys.executable} -S '{one_host.path('/standin/late.py')}' \"$@\""
    )
    reaches = one_host.survey(servers=f"127.0.0.1:{listening},127.0.0.1:{closed_port}").machine.reaches
    assert {(each.port, each.failure) for each in reaches} == {(listening, None), (closed_port, "refused")}


@pytest.mark.parametrize(("status", "expected"), [(0, ["unresolved"]), (124, [])])
def test_a_lookup_that_a_busy_host_ended_says_nothing(
    one_host: Host, status: int, expected: list[str]
) -> None:
    """It did not end in time, and neither does a program that does nothing."""
    shim(one_host, "python3", "exit 1")
    shim(one_host, "getent", "sleep 9")
    shim(one_host, "true", f"if [ {status} = 124 ]; then sleep 9; fi")
    reaches = one_host.survey(servers="nomad-1.example:4647").machine.reaches
    assert [reach.failure for reach in reaches] == expected


def test_without_a_tool_nothing_is_claimed(one_host: Host) -> None:
    """A host that cannot open a connection for us says just that."""
    for name, script in WAYS["nc"].items():
        shim(one_host, name, script)
    shim(one_host, "nc", "echo 'nc: No such file or directory'; exit 127")
    assert only_reach(one_host, "127.0.0.1:4647").failure == "no_tool"


def test_both_ends_are_told_by_python(one_host: Host, listening: int) -> None:
    """The host's own address towards the server comes with the time."""
    shim(one_host, "python3", PYTHON)
    reach = only_reach(one_host, f"127.0.0.1:{listening}")
    assert (reach.local_address, reach.peer_address) == ("127.0.0.1", "127.0.0.1")


def test_ipv6_addresses_are_servers_too(one_host: Host) -> None:
    """Brackets keep the port apart from the address, and are no part of it."""
    reach = only_reach(one_host, "[::1]:1")
    assert (reach.host, reach.port) == ("::1", 1)


def test_every_server_is_tried_once(way: Host, listening: int, closed_port: int) -> None:
    """All are tried, and one that is named twice is one."""
    names = ("127.0.0.1", "localhost", "127.0.0.1")
    servers = ",".join([f"{name}:{listening}" for name in names] + [f"127.0.0.1:{closed_port}"])
    reaches = way.survey(servers=servers).machine.reaches
    assert {(reach.host, reach.port, reach.failure) for reach in reaches} == {
        ("127.0.0.1", listening, None),
        ("localhost", listening, None),
        ("127.0.0.1", closed_port, "refused"),
    }


def test_nothing_is_tried_where_nothing_is_asked(one_host: Host) -> None:
    """A rollout without a region's servers has no way to measure."""
    assert one_host.survey(servers="-").machine.reaches == ()


NFT_SHUT = """table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		tcp dport 4647 accept
	}
	chain output {
		type filter hook output priority filter; policy drop;
		ct state established,related accept
		oifname "lo" accept
		tcp dport { 53, 80, 443 } counter packets 12 bytes 800 accept
		udp dport 4647 accept
	}
}
"""
NFT_SETS = """table inet sets {
	set web {
		type inet_service
		elements = { 80, 443 }
	}

	set cluster {
		type inet_service
		flags interval
		elements = { 22, 53,
				4646-4648 }
	}
}
"""
NFT_CASES = {
    "closed": (NFT_SHUT, Firewall("nftables", blocks_outbound=True, allows_rpc=False)),
    "a port": (
        NFT_SHUT.replace("443 }", "443, 4647 }"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=True),
    ),
    "a range": (
        NFT_SHUT.replace("udp dport 4647", "tcp dport 4000-5000"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=True),
    ),
    "a named set": (
        NFT_SETS + NFT_SHUT.replace("udp dport 4647", "tcp dport @cluster"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=True),
    ),
    "another named set": (
        NFT_SETS + NFT_SHUT.replace("udp dport 4647", "tcp dport @web"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=False),
    ),
    "all but": (
        NFT_SHUT.replace("udp dport 4647", "tcp dport != 25"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=False),
    ),
    "tcp": (
        NFT_SHUT.replace("udp dport 4647", "meta l4proto tcp"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=True),
    ),
    "rejects at the end": (
        NFT_SHUT.replace("policy drop", "policy accept").replace(
            "udp dport 4647 accept", 'log prefix "out" reject with icmpx admin-prohibited'
        ),
        Firewall("nftables", blocks_outbound=True, allows_rpc=False),
    ),
    "drops the port": (
        NFT_SHUT.replace("policy drop", "policy accept").replace(
            "udp dport 4647 accept", "tcp dport 4647 drop"
        ),
        Firewall("nftables", blocks_outbound=True, allows_rpc=False),
    ),
    "drops another": (
        NFT_SHUT.replace("policy drop", "policy accept").replace(
            "udp dport 4647 accept", "tcp dport 25 drop"
        ),
        None,
    ),
    "two chains": (
        NFT_SHUT.replace("443 }", "443, 4647 }") + NFT_SHUT.replace("inet filter", "ip other"),
        Firewall("nftables", blocks_outbound=True, allows_rpc=False),
    ),
    "open": (NFT_SHUT.replace("policy drop", "policy accept"), None),
    "incoming alone": (NFT_SHUT.replace("hook output", "hook forward"), None),
    "nothing": ("", None),
}


def printed(host: Host, program: str, text: str, condition: str = ":") -> None:
    """A program that prints this where ``condition`` holds."""
    host.write(f"/standin/{program}", text)
    shim(host, program, f"{condition} && cat '{host.path(f'/standin/{program}')}'")


@pytest.mark.parametrize("case", NFT_CASES)
def test_nftables_are_read(host: Host, case: str) -> None:
    """What leaves is judged by the chains that hook it, and by no others."""
    text, expected = NFT_CASES[case]
    printed(host, "nft", text, '[ "$*" = "list ruleset" ]')
    assert host.survey().machine.firewalls == (() if expected is None else (expected,))


IPTABLES_CASES = {
    "closed": (
        "-P OUTPUT DROP\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -p tcp -m tcp --dport 443 -j ACCEPT\n",
        (True, False),
    ),
    "a port": ("-P OUTPUT DROP\n-A OUTPUT -p tcp -m tcp --dport 4647 -j ACCEPT\n", (True, True)),
    "ports": (
        "-P OUTPUT DROP\n-A OUTPUT -p tcp -m multiport --dports 80,4600:4700 -j ACCEPT\n",
        (True, True),
    ),
    "all but": ("-P OUTPUT DROP\n-A OUTPUT -p tcp -m tcp ! --dport 25 -j ACCEPT\n", (True, False)),
    "rejects": ('-P OUTPUT ACCEPT\n-A OUTPUT -m comment --comment "no way" -j REJECT\n', (True, False)),
    "after": (
        "-P OUTPUT ACCEPT\n-A OUTPUT -j DROP\n-A OUTPUT -p tcp -m tcp --dport 4647 -j ACCEPT\n",
        (True, False),
    ),
    "drops": ("-P OUTPUT ACCEPT\n-A OUTPUT -p tcp -m tcp --dport 4647 -j DROP\n", (True, False)),
    "open": ("-P OUTPUT ACCEPT\n-A OUTPUT -p udp -m udp --dport 4647 -j DROP\n", None),
}


@pytest.mark.parametrize("case", IPTABLES_CASES)
def test_iptables_are_read(host: Host, case: str) -> None:
    """Without nft the old rules are what is in force."""
    text, verdict = IPTABLES_CASES[case]
    shim(host, "nft", "exit 1")
    printed(host, "iptables", text, '[ "$*" = "-S OUTPUT" ]')
    expected = () if verdict is None else (Firewall("iptables", *verdict),)
    assert host.survey().machine.firewalls == expected


def test_old_rules_beside_new_ones_are_found(host: Host) -> None:
    """What the old kind of rules forbids does not show in nft; where it is not in use its program is not run."""
    shim(host, "nft", "exit 0")
    printed(host, "iptables", "-P OUTPUT DROP\n")
    assert host.survey().machine.firewalls == ()
    host.write("/proc/net/ip_tables_names", "nat\nfilter\n")
    assert host.survey().machine.firewalls == (Firewall("iptables", blocks_outbound=True, allows_rpc=False),)


UFW = """Status: active
Logging: on (low)
Default: deny (incoming), {policy} (outgoing), disabled (routed)
New profiles: skip

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW IN    Anywhere
4647/tcp                   ALLOW IN    Anywhere
{rule}
"""


@pytest.mark.parametrize(
    ("policy", "rule", "expected"),
    [
        ("allow", "", (False, None)),
        ("deny", "443/tcp                    ALLOW OUT   Anywhere", (True, False)),
        ("reject", "4647/tcp                   ALLOW OUT   Anywhere", (True, True)),
        ("deny", "80,4647/tcp (v6)           ALLOW OUT   Anywhere (v6)", (True, True)),
        ("deny", "203.0.113.7 4647/tcp       ALLOW OUT   Anywhere", (True, True)),
        ("deny", "4600:4700/tcp              ALLOW OUT   Anywhere", (True, True)),
        ("deny", "4647/udp                   ALLOW OUT   Anywhere", (True, False)),
        ("deny", "Anywhere                   ALLOW OUT   Anywhere", (True, True)),
        ("allow", "4647/tcp                   DENY OUT    Anywhere", (True, False)),
    ],
)
def test_ufw_is_read(host: Host, policy: str, rule: str, expected: tuple[bool, bool | None]) -> None:
    """The default for what leaves counts, and whether a rule lets the port out; the rules below it are ufw's own."""
    printed(host, "ufw", UFW.format(policy=policy, rule=rule), '[ "$*" = "status verbose" ]')
    printed(host, "nft", NFT_SHUT)
    assert host.survey().machine.firewalls == (Firewall("ufw", *expected),)


def test_an_inactive_ufw_is_no_firewall(host: Host) -> None:
    """It is off when it says so, and when its settings do it is not even asked."""
    printed(host, "ufw", "Status: inactive\n")
    printed(host, "nft", "")
    assert host.survey().machine.firewalls == ()
    printed(host, "ufw", UFW.format(policy="deny", rule=""))
    host.write("/etc/ufw/ufw.conf", "ENABLED=no\nLOGLEVEL=low\n")
    assert host.survey().machine.firewalls == ()
    host.write("/etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=low\n")
    assert host.survey().machine.firewalls == (Firewall("ufw", blocks_outbound=True, allows_rpc=False),)


@pytest.mark.parametrize(("rules", "expected"), [(NFT_SHUT, (True, False)), ("", (False, None))])
def test_firewalld_is_read(host: Host, rules: str, expected: tuple[bool, bool | None]) -> None:
    """It is in force while it runs, and its rules are those of nft."""
    shim(host, "firewall-cmd", "echo running")
    printed(host, "nft", rules)
    assert host.survey().machine.firewalls == (Firewall("firewalld", *expected),)


def test_a_firewalld_that_does_not_run_is_none(host: Host) -> None:
    """An installed program is not a firewall in force."""
    shim(host, "firewall-cmd", "echo 'not running'; exit 252")
    printed(host, "nft", "")
    assert host.survey().machine.firewalls == ()
