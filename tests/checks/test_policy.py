"""What a site's rules and its preparations make of findings."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.checks import CODES, Fleet, FleetHost, check_fleet, check_host, is_mended
from ionetctl.core.model.host import CheckRule, Prepare
from ionetctl.core.model.outcome import Finding, Severity
from tests.checks.fleet_cases import fleet_host
from tests.checks.host_case import FOREIGN, SEEN
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from ionetctl.core.model.host import Host

NO_DOCKER = replace(BARE, machine=replace(SEEN, docker=None))
RISERS = CheckRule(Severity.WAIVED, "no containers here")


def ruled(code: str, severity: Severity, reason: str = "so it is") -> Host:
    return replace(HOST, checks={code: CheckRule(severity, reason)})


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize("severity", list(Severity))
def test_rule_sets_the_severity_and_keeps_the_checks_own(severity: Severity) -> None:
    """The site's severity counts; the check's own and the site's reason stay in the finding."""
    finding = only(check_host(ruled("docker_missing", severity, "agreed"), NO_DOCKER))
    assert (finding.severity, finding.declared, finding.reason) == (severity, Severity.WARN, "agreed")


def test_rule_of_another_check_changes_nothing() -> None:
    """Only the finding that is named is overruled."""
    host = ruled("docker_old", Severity.BLOCK)
    assert check_host(host, NO_DOCKER) == check_host(HOST, NO_DOCKER)


def test_finding_without_rule_declares_nothing() -> None:
    """A severity that nobody changed is not shown as if somebody had."""
    finding = only(check_host(HOST, NO_DOCKER))
    assert (finding.declared, finding.reason) == (None, "")


def test_rules_hold_for_the_fleets_findings() -> None:
    """Findings of the whole fleet can be waived as well."""
    hosts = tuple(
        FleetHost(replace(each.host, checks={"hostname_doubled": RISERS}), each.facts, each.node_name)
        for each in (fleet_host("a", hostname="rig"), fleet_host("b", hostname="rig"))
    )
    reported = check_fleet(Fleet(tuple(hosts)))
    assert {only(findings).severity for findings in reported.values()} == {Severity.WAIVED}


def test_limits_of_connections_need_not_be_known() -> None:
    """Without them the region's default is taken."""
    assert check_fleet(Fleet((fleet_host("a"),))) == {}


MENDED: list[tuple[str, dict[str, Any]]] = [
    ("docker_missing", {"docker": True}),
    ("docker_down", {"docker": True}),
    ("docker_not_remapped", {"docker_userns": True}),
    ("toolkit_missing", {"container_toolkit": True}),
    ("nvidia_runtime_missing", {"container_toolkit": True}),
    ("cni_missing", {"cni": True}),
    ("driver_missing", {"driver": "550"}),
    ("driver_not_loaded", {"driver": "550"}),
    ("driver_mismatch", {"driver": "550"}),
    ("driver_old", {"driver": "550"}),
    ("nouveau_loaded", {"driver": "550"}),
    ("bridge_missing", {"modules": True}),
    ("clock_unsynchronized", {"time_sync": True}),
    ("firewall_blocks_rpc", {"firewall": True}),
    ("persistence_off", {"persistence": True}),
    ("miner_running", {"stop_miner": True}),
    ("mining_os", {"stop_miner": True}),
]


@pytest.mark.parametrize(("code", "asked"), MENDED)
def test_preparation_mends_what_it_is_made_for(code: str, asked: dict[str, Any]) -> None:
    """Where it is asked for, and not where it is not."""
    assert (is_mended(code, Prepare(**asked)), is_mended(code, Prepare())) == (True, False)


def test_nothing_else_is_mended() -> None:
    """Each code whose cause a preparation removes is in the list above."""
    everything = Prepare(**{each.name: True for each in fields(Prepare)})  # type: ignore[arg-type]
    assert sorted(code for code in CODES if is_mended(code, everything)) == sorted(code for code, _ in MENDED)


def test_what_will_be_mended_blocks_no_longer() -> None:
    """The host must be let in so that it can be prepared."""
    host = replace(ruled("docker_missing", Severity.BLOCK, "needed"), prepare=Prepare(docker=True))
    finding = only(check_host(host, NO_DOCKER))
    assert (finding.severity, finding.declared, finding.reason, finding.message) == (
        Severity.INFO,
        Severity.WARN,
        "needed",
        "Docker is not installed; prepare will mend it",
    )


def test_what_will_be_mended_keeps_its_own_severity_on_record() -> None:
    """Without a rule too, the check's own severity is in the finding."""
    finding = only(check_host(replace(HOST, prepare=Prepare(docker=True)), NO_DOCKER))
    assert (finding.severity, finding.declared) == (Severity.INFO, Severity.WARN)


@pytest.mark.parametrize("severity", [Severity.WAIVED, Severity.INFO])
def test_what_weighs_nothing_needs_no_mending(severity: Severity) -> None:
    """A finding that the site waived stays waived."""
    host = replace(ruled("docker_missing", severity), prepare=Prepare(docker=True))
    finding = only(check_host(host, NO_DOCKER))
    assert (finding.severity, finding.message) == (severity, "Docker is not installed")


def test_what_is_found_after_the_preparation_counts() -> None:
    """A preparation that did not help changes no severity."""
    host = replace(HOST, prepare=Prepare(docker=True))
    assert only(check_host(host, NO_DOCKER, is_prepared=True)).severity is Severity.WARN


def test_takeover_lifts_the_refusal_of_a_foreign_agent() -> None:
    """Whoever asks for it may replace another's agent."""
    assert check_host(HOST, replace(BARE, nomad=FOREIGN), takeover=True) == ()


def test_takeover_lifts_nothing_else() -> None:
    """A host that has other troubles keeps them."""
    facts = replace(BARE, nomad=FOREIGN, is_root=False)
    assert only(check_host(HOST, facts, takeover=True)).code == "not_root"
