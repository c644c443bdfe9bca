"""Each check fires on what it looks for, and on nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pytest

from ionetctl import checks
from ionetctl.checks import CHECKS, CODES, FLEET_CHECKS, Fleet, blocking, check_fleet, check_host
from ionetctl.checks.fleet import duplicates
from ionetctl.core.model.host import Host
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.observed import Rig
from ionetctl.summary.grouping import group_findings
from tests.checks.cases import CASES
from tests.checks.fleet_cases import CASES as FLEET_CASES
from tests.checks.fleet_cases import fleet_host
from tests.checks.host_case import SEEN
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checks.fleet_cases import FleetCase
    from tests.checks.host_case import Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case.expected) or "quiet")
def test_check_fires(case: Case) -> None:
    """Exactly the findings that are looked for come out, and their words say what was seen."""
    findings = check_host(*case.host_and_facts)
    assert [f"{finding.code} {finding.severity}" for finding in findings] == list(case.expected)
    judged = [finding for finding in findings if finding.code != case.besides]
    assert not case.message or judged[0].message == case.message
    hints = [finding.hint for finding in judged]
    remedies = [CODES[finding.code].remedy for finding in judged]
    assert hints == ([case.hint, *remedies[1:]] if case.hint else remedies)


@pytest.mark.parametrize("case", FLEET_CASES, ids=lambda case: " ".join(case.expected)[:60] or "quiet")
def test_fleet_check_fires(case: FleetCase) -> None:
    """Exactly the hosts that are concerned have findings, each with what it shares with whom."""
    reported = check_fleet(case.fleet)
    flat = [(name, finding) for name, findings in reported.items() for finding in findings]
    assert [f"{name} {finding.code} {finding.severity}" for name, finding in flat] == list(case.expected)
    assert not case.message or flat[0][1].message == case.message


def test_every_code_fires_somewhere() -> None:
    """A code that no case expects would not be missed."""
    fired = {finding.split()[0] for case in CASES for finding in case.expected}
    fired |= {finding.split()[1] for case in FLEET_CASES for finding in case.expected}
    assert sorted(fired) == sorted(CODES)


def test_every_check_is_run() -> None:
    """A function that gives findings and has no place in the order would never run; none may run twice."""
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.iter_modules(checks.__path__, "ionetctl.checks.")
    ]
    written = [
        function
        for module in modules
        for _, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and function.__annotations__["return"] in {"Iterator[Finding]", "Iterator[Findings]"}
    ]
    places = Counter((*CHECKS, *FLEET_CHECKS))
    assert places == Counter(written)


def test_findings_carry_their_exit_codes() -> None:
    """What a blocking finding earns its host is for its code to say."""
    findings = [finding for case in CASES for finding in check_host(*case.host_and_facts)]
    assert [finding for finding in findings if finding.exit_code != CODES[finding.code].exit_code] == []


def test_no_finding_is_graver_than_its_code() -> None:
    """The code has the gravest severity that a check gives by itself."""
    order = list(Severity)
    findings = [finding for case in CASES for finding in check_host(*case.host_and_facts)]
    graver = [
        each for each in findings if order.index(each.severity) > order.index(CODES[each.code].severity)
    ]
    assert graver == []


def finding(code: str, severity: Severity, exit_code: int = 5) -> Finding:
    return Finding(code, severity, "", "", exit_code)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], None),
        ([finding("a", Severity.WARN), finding("b", Severity.INFO), finding("c", Severity.WAIVED)], None),
        ([finding("a", Severity.WARN), finding("b", Severity.BLOCK)], "b"),
        ([finding("a", Severity.BLOCK), finding("b", Severity.BLOCK, 6)], "b"),
        ([finding("a", Severity.BLOCK), finding("b", Severity.BLOCK, 7)], "b"),
    ],
)
def test_worst_block_decides(findings: list[Finding], expected: str | None) -> None:
    """The block with the worst exit code is the one that is named."""
    worst = blocking(findings)
    assert (worst.code if worst else None) == expected


def test_finding_in_a_fleet_of_clones_stays_short() -> None:
    """All hosts have the same message, which names some of them and counts the rest: grouped, it is shown whole."""
    reported = check_fleet(Fleet(tuple(fleet_host(f"h{number}", machine_id="m") for number in range(2000))))
    messages = {findings[0].message for findings in reported.values()}
    assert messages == {"the same machine-id (m) on h0, h1, h2, h3, h4, h5 and 1,994 more"}


class Counted(tuple[Host, ...]):
    """Hosts that count how often they are gone through."""

    __slots__ = ()
    times: ClassVar[int] = 0

    def __iter__(self) -> Iterator[Host]:
        Counted.times += 1
        return super().__iter__()


def test_inventory_is_gone_through_once_for_all_traits() -> None:
    """A run over one rack of a large fleet compares it with all other hosts that are known."""
    fleet = Fleet((fleet_host("rig-001"),), listed=Counted((HOST,)))
    assert (list(duplicates(fleet)), Counted.times) == ([], 1)


def test_rigs_of_one_system_are_one_group() -> None:
    """What differs from rig to rig is left out: a preflight of 300 rigs of three systems shows three causes."""
    findings = {}
    for number in range(300):
        system = ("HiveOS", "minerstat", "mmpOS")[number % 3]
        version, name = (
            (f"0.6-{number}.beta", f"{'xyz'[number % 2 :]} o'{number}") if number % 4 else (None, None)
        )
        machine = replace(SEEN, rig=Rig(system, version, None, name), mining_signs=None)
        findings[HostName(f"g{number}")] = check_host(HOST, replace(BARE, machine=machine, gpus=()))
    groups = [group for group in group_findings(findings) if group.code == "mining_os"]
    assert [(group.message.split(":")[0], len(group.hosts)) for group in groups] == [
        ("HiveOS …, rig …", 100),
        ("minerstat …, rig …", 100),
        ("mmpOS …, rig …", 100),
    ]
