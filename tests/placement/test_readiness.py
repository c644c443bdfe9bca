"""What speaks against a region, and what does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from ionetctl.core.model.host import AUTO_REGION, Host, Jump, SshSettings
from ionetctl.core.model.names import HostName, RegionName
from ionetctl.core.model.node import Heartbeats, SeenNamespaces
from ionetctl.placement.readiness import Certificate, Inspection, RegionHosts, region_findings, region_hosts
from tests.support.clock import START
from tests.support.fakes import FENCED
from tests.support.inspections import SERVERS, SETTINGS, SOUND, inspection, servers
from tests.support.sample import EU_NORTH, HOST

BEATS = Heartbeats(min_ttl_s=10, max_per_second=50, failover_ttl_s=300, grace_s=10)


def reported(one: Inspection) -> list[str]:
    return [f"{finding.code} {finding.severity.value}" for finding in region_findings(one)]


def test_nothing_speaks_against_a_sound_region() -> None:
    """Three servers, strict, with room and time."""
    assert region_findings(SOUND) == ()


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (inspection(nomad_version="2.0.6"), "client_newer_than_servers block"),
        (inspection(hosts={"pools": frozenset({"gpu", "gpuu"})}), "node_pool_missing block"),
        (
            inspection(status={"server_version": "1.10.0"}, nomad_version="1.10.0",
                       settings=replace(SETTINGS, introduction="required")),
            "introduction_unsupported block",
        ),
        (inspection(nodes=Counter(ready=9_962, down=1)), "region_overfull block"),
        (inspection(nodes=Counter(ready=9_962)), "region_nearly_full warn"),
        (inspection(nodes=Counter(ready=8_963)), "region_nearly_full warn"),
        (inspection(hosts={"sharing_address": 101}), "region_connections_few warn"),
        (inspection(hosts={"sharing_address": 101}, status={"connections_per_client": None}), "region_connections_few warn"),
        (inspection(status={"servers": SERVERS[1:] + SERVERS[1:2]}), "region_leader_unknown warn"),
        (inspection(status={"servers": (*SERVERS, replace(SERVERS[2], status="failed"))}), "region_server_failed warn"),
        (inspection(status={"servers": servers(version="2.0.4")}), "region_versions_mixed warn"),
        (inspection(status={"servers": servers(status="left")}), "region_servers_even warn"),
        (inspection(status={"heartbeats": None, "enforcement": None}), "region_configuration_hidden warn"),
        (inspection(status={"enforcement": "warn"}), "introduction_not_enforced info"),
        (inspection(status={"enforcement": "none"}), "introduction_not_enforced info"),
        (inspection(certificates=(Certificate("API", START + timedelta(days=29)),)), "certificate_ending warn"),
        (inspection(certificates=(Certificate("API", START - timedelta(days=1)),)), "certificate_ending warn"),
        (inspection(status={"heartbeats": BEATS}, nodes=Counter(ready=4_963)), "heartbeats_short warn"),
        (inspection(issuer_signs_servers=True), "issuer_unconstrained info"),
        (inspection(namespaces=SeenNamespaces((), are_all=False)), "namespaces_hidden block"),
        (inspection(namespaces=SeenNamespaces((), are_all=True)), "door_namespace_missing warn"),
    ],
)  # fmt: skip
def test_each_flaw_is_reported_once(one: Inspection, expected: str) -> None:
    """A flaw is one finding, and no other."""
    assert reported(one) == [expected]


@pytest.mark.parametrize(
    "one",
    [
        inspection(namespaces=FENCED),
        inspection(hosts={"sharing_address": 100}),
        inspection(hosts={"sharing_address": 10_000}, status={"connections_per_client": 0}),
        inspection(nodes=Counter(ready=8_962)),
        inspection(hosts={"joining": 0, "pools": frozenset()}),
        inspection(certificates=(Certificate("API", START + timedelta(days=30)),)),
        inspection(status={"heartbeats": BEATS}, nodes=Counter(ready=4_962)),
        inspection(status={"servers": (*SERVERS, replace(SERVERS[2], status="left", version="1.0.0"))}),
        inspection(status={"enforcement": None}),
    ],
)
def test_what_is_just_enough_is_enough(one: Inspection) -> None:
    """At each limit; what left the region properly does not count."""
    assert reported(one) == []


def test_worst_comes_first() -> None:
    """Whoever reads one line reads that one."""
    one = inspection(status={"enforcement": "warn"}, hosts={"sharing_address": 200, "joining": 9_000})
    assert reported(one) == [
        "region_overfull block",
        "region_connections_few warn",
        "introduction_not_enforced info",
    ]


def test_flaw_of_all_pools_is_reported_once() -> None:
    """A region too old is too old for every pool."""
    one = inspection(nomad_version="2.0.6", hosts={"pools": frozenset({"default", "gpu"})})
    assert reported(one) == ["client_newer_than_servers block"]


def test_full_region_without_newcomers_is_no_obstacle() -> None:
    """Whatever joined already may stay."""
    one = inspection(nodes=Counter(ready=9_000, down=1_000), hosts={"joining": 0})
    assert (reported(one), one.left) == (["region_nearly_full warn"], 0)


def host(name: str, address: str, **changes: object) -> Host:
    return replace(HOST, name=HostName(name), address=address, **changes)  # type: ignore[arg-type]


def test_hosts_are_counted_as_they_are_meant_for_the_region() -> None:
    """Those of other regions and those that are undecided are not among them."""
    hosts = (
        host("h1", "10.0.0.1"),
        host("h2", "10.0.0.2", node_pool="default"),
        host("h3", "10.0.0.3", region=AUTO_REGION),
        host("h4", "10.0.0.4", region=RegionName("us-east")),
    )
    assert region_hosts(hosts, EU_NORTH, 1, frozenset({"h1", "h4"})) == RegionHosts(
        named=2,
        joining=1,
        undecided=1,
        pools=frozenset({"gpu", "default"}),
        sharing_address=2,
        datacenter="rey1",
    )


@pytest.mark.parametrize(
    ("address", "ssh", "expected"),
    [
        ("10.0.0.1", SshSettings(), 1),
        ("203.0.113.9", SshSettings(), 1),
        ("93.184.216.34", SshSettings(), 0),
        ("93.184.216.34", SshSettings(jump=(Jump("gate"),)), 1),
        ("93.184.216.34", SshSettings(jump=()), 0),
        ("rig1.example", SshSettings(), 0),
        ("rig1.example", SshSettings(jump=(Jump("gate"),)), 1),
    ],
)
def test_hosts_behind_another_share_its_address(address: str, ssh: SshSettings, expected: int) -> None:
    """A jump host or a private address says so; of a name nobody knows."""
    assert region_hosts((host("h1", address, ssh=ssh),), EU_NORTH, 0, frozenset()).sharing_address == expected


def test_fullest_site_counts() -> None:
    """Each datacenter leaves by an address of its own."""
    hosts = [
        host(f"h{number}", f"10.0.0.{number}", datacenter="rey1" if number < 3 else "rey2")
        for number in range(8)
    ]
    found = region_hosts(hosts, EU_NORTH, 0, frozenset())
    assert (found.datacenter, found.sharing_address) == ("rey2", 5)
