"""Each check fires on what it looks for, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ionetctl.checks import CLOCK_BLOCK_S, CLOCK_WARN_S, FleetHost, blocking, check_fleet, check_host
from ionetctl.model import (
    Disk,
    Expect,
    Facts,
    Finding,
    GpuPromise,
    Host,
    HostName,
    NodeId,
    NodeView,
    RegionName,
    Reserve,
    Severity,
)
from ionetctl.observed import SeenGpu
from tests.core.sample import BARE, EU_NORTH, HOST, NODE_ID, bundle, converged

FOREIGN = replace(BARE.nomad, active="active", is_running=True, agent_version="Nomad v1.9.0", allocations=3)


def disk(path: str = "/opt/nomad", available_mib: int = 50_000, **rights: bool) -> tuple[Disk, ...]:
    flags = {"is_read_only": False, "is_noexec": False} | rights
    return (Disk(path, available_mib, "ext4", **flags),)


FIRING: list[tuple[str, Severity, dict[str, Any], dict[str, Any]]] = [
    ("not_root", Severity.BLOCK, {}, {"is_root": False}),
    (
        "host_locked",
        Severity.BLOCK,
        {},
        {"lock_owner": "r-1 ops@ctl", "lock_started_at": "2026-11-23T01:00:00Z"},
    ),
    ("host_locked", Severity.BLOCK, {}, {"lock_owner": "r-1 ops@ctl"}),
    ("architecture_unsupported", Severity.BLOCK, {}, {"architecture": "riscv64"}),
    ("gpu_plugin_missing", Severity.BLOCK, {"gpus": GpuPromise(None, 2)}, {"architecture": "aarch64"}),
    ("systemd_missing", Severity.BLOCK, {}, {"init": "openrc"}),
    ("os_untested", Severity.WARN, {}, {"os_id": "gentoo", "os_name": "Gentoo"}),
    ("tool_missing", Severity.BLOCK, {}, {"has_tar": False}),
    ("tool_missing", Severity.BLOCK, {}, {"has_gzip": False}),
    ("disk_read_only", Severity.BLOCK, {}, {"disks": disk(is_read_only=True)}),
    ("disk_low", Severity.BLOCK, {}, {"disks": disk(available_mib=511)}),
    ("disk_noexec", Severity.BLOCK, {}, {"disks": disk(is_noexec=True)}),
    ("clock_off", Severity.WARN, {}, {"clock_offset_s": 31.0}),
    ("clock_off", Severity.BLOCK, {}, {"clock_offset_s": -600.0}),
    ("foreign_nomad", Severity.BLOCK, {}, {"nomad": FOREIGN}),
    (
        "foreign_nomad",
        Severity.BLOCK,
        {},
        {"nomad": replace(FOREIGN, active="inactive", agent_version=None, allocations=0)},
    ),
    ("cpu_mismatch", Severity.BLOCK, {"expect": Expect(cpu_cores=17)}, {}),
    ("memory_mismatch", Severity.BLOCK, {"expect": Expect(memory_gib=64)}, {}),
    (
        "gpu_unknown",
        Severity.WARN,
        {"gpus": GpuPromise(None, 2)},
        {"gpus": None, "gpu_source": "none: no driver"},
    ),
    ("gpu_count_mismatch", Severity.BLOCK, {"gpus": GpuPromise(None, 8)}, {}),
    ("gpu_model_mismatch", Severity.BLOCK, {"gpus": GpuPromise("rtx-3090", 2)}, {}),
    ("reserved_gpu_unknown", Severity.BLOCK, {"reserve": Reserve(gpus=("5",))}, {}),
    ("interrupted", Severity.INFO, {}, {"nomad": replace(BARE.nomad, is_interrupted=True)}),
]


@pytest.mark.parametrize(("code", "severity", "host", "facts"), FIRING)
def test_check_fires(code: str, severity: Severity, host: dict[str, Any], facts: dict[str, Any]) -> None:
    """Exactly the finding that is looked for comes out."""
    found = check_host(replace(HOST, **host), replace(BARE, **facts))
    assert [(finding.code, finding.severity) for finding in found] == [(code, severity)]


QUIET: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({}, {"architecture": "aarch64"}),
    ({"gpus": GpuPromise(None, 0)}, {"architecture": "aarch64", "gpus": ()}),
    ({}, {"disks": disk(available_mib=512)}),
    ({}, {"disks": disk("/etc/nomad.d", 20, is_noexec=True)}),
    ({}, {"disks": disk("/somewhere", 0)}),
    ({}, {"clock_offset_s": 29.0}),
    ({}, {"clock_offset_s": None}),
    ({}, {"nomad": replace(FOREIGN, is_ours=True)}),
    ({}, {"nomad": replace(FOREIGN, active="inactive", is_running=False)}),
    ({"expect": Expect(cpu_cores=16, memory_gib=32)}, {}),
    ({"expect": Expect(cpu_cores=99, memory_gib=99)}, {"cpu_cores": None, "memory_mib": None}),
    ({"gpus": GpuPromise("rtx-4090", 2)}, {}),
    ({"gpus": GpuPromise(None, 0)}, {"gpus": None}),
    ({"reserve": Reserve(gpus=("0", "GPU-2"))}, {}),
    ({"reserve": Reserve(gpus=("5",))}, {"gpus": None}),
]


@pytest.mark.parametrize(("host", "facts"), QUIET)
def test_control_stays_quiet(host: dict[str, Any], facts: dict[str, Any]) -> None:
    """What is as it should be gives no finding."""
    assert check_host(replace(HOST, **host), replace(BARE, **facts)) == ()


def test_takeover_lifts_the_refusal_of_a_foreign_agent() -> None:
    """Whoever asks for it may replace another's agent."""
    assert check_host(HOST, replace(BARE, nomad=FOREIGN), takeover=True) == ()


def test_foreign_agent_is_named_with_its_jobs() -> None:
    """An admin must see what would be hurt."""
    finding = check_host(HOST, replace(BARE, nomad=FOREIGN))[0]
    assert (
        finding.message
        == "a Nomad agent (Nomad v1.9.0) that ionetctl did not install runs here with 3 allocations"
    )


def finding(code: str, severity: Severity, exit_code: int = 5) -> Finding:
    return Finding(code, severity, "", "", exit_code)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], None),
        ([finding("a", Severity.WARN), finding("b", Severity.INFO)], None),
        ([finding("a", Severity.WARN), finding("b", Severity.BLOCK)], "b"),
        ([finding("a", Severity.BLOCK), finding("b", Severity.BLOCK, 6)], "b"),
        ([finding("a", Severity.BLOCK), finding("b", Severity.BLOCK, 7)], "b"),
    ],
)
def test_worst_block_decides(findings: list[Finding], expected: str | None) -> None:
    """The block with the worst exit code is the one that is named."""
    worst = blocking(findings)
    assert (worst.code if worst else None) == expected


def other_host(name: str, facts: Facts) -> FleetHost:
    host: Host = replace(HOST, name=HostName(name))
    return FleetHost(host, facts, name)


def node(name: str, node_id: str) -> NodeView:
    return NodeView(NodeId(node_id), name, "127.0.0.1", "rey1", "gpu", "", "ready", "eligible", "2.0.5")


def codes(found: dict[HostName, tuple[Finding, ...]]) -> dict[str, list[str]]:
    return {str(name): [finding.code for finding in findings] for name, findings in found.items()}


def test_clones_are_named_on_both_sides() -> None:
    """Two hosts with one client-id would take turns being one node."""
    ours = converged(bundle())
    fleet = [
        other_host("a", ours),
        other_host("b", replace(ours, machine_id="b" * 32, gpus=())),
        other_host("c", BARE),
    ]
    found = check_fleet(
        [*fleet[:2], replace(fleet[2], facts=replace(BARE, machine_id="c" * 32, gpus=()))], {}
    )
    assert codes(found) == {"a": ["client_id_cloned"], "b": ["client_id_cloned"]}


def test_one_machine_under_two_addresses_is_named() -> None:
    """The same machine-id twice is one machine or a cloned image."""
    assert codes(check_fleet([other_host("a", BARE), other_host("b", BARE)], {})) == {
        "a": ["machine_id_doubled"],
        "b": ["machine_id_doubled"],
    }


def test_doubles_are_a_matter_of_trust() -> None:
    """A machine that answers as another one ends with the exit code for trust."""
    found = check_fleet([other_host("a", BARE), other_host("b", BARE)], {})
    assert {finding.exit_code for findings in found.values() for finding in findings} == {6}


def test_name_of_another_node_is_refused() -> None:
    """A name is unique in the region, not only in one inventory."""
    found = check_fleet([FleetHost(HOST, BARE, HOST.name)], {EU_NORTH: [node(HOST.name, "0" * 36)]})
    assert codes(found) == {HOST.name: ["name_taken"]}


@pytest.mark.parametrize("region", [EU_NORTH, "us-west"])
def test_own_node_keeps_its_name(region: str) -> None:
    """A node that is this host, or one of another region, takes no name away."""
    node_id = NODE_ID if region == EU_NORTH else "0" * 36
    nodes = {RegionName(region): [node(HOST.name, node_id)]}
    assert check_fleet([FleetHost(HOST, converged(bundle()), HOST.name)], nodes) == {}


def test_memory_tolerates_what_firmware_takes() -> None:
    """A machine sold with 32 GiB shows a little less."""
    assert check_host(replace(HOST, expect=Expect(memory_gib=32)), replace(BARE, memory_mib=30_500)) == ()


def test_another_model_among_the_promised_ones_is_named() -> None:
    """One wrong card among right ones is a mismatch."""
    mixed = (SeenGpu(0, "NVIDIA GeForce RTX 4090", "GPU-1"), SeenGpu(1, "NVIDIA GeForce RTX 3060", "GPU-2"))
    found = check_host(replace(HOST, gpus=GpuPromise("rtx-4090", 2)), replace(BARE, gpus=mixed))
    assert [finding.message for finding in found] == ["rtx-4090 is promised, NVIDIA GeForce RTX 3060 seen"]


@pytest.mark.parametrize(
    ("host", "facts", "message"),
    [
        ({}, {"clock_offset_s": 31.4}, "its clock is 31 s ahead of the controller's"),
        ({}, {"clock_offset_s": -31.4}, "its clock is 31 s behind the controller's"),
        ({}, {"lock_owner": "ops@ctl (rollout r-1)"}, "ops@ctl (rollout r-1) is at work on this host"),
        (
            {},
            {"lock_owner": "ops@ctl (rollout r-1)", "lock_started_at": "2026-11-23T01:00:00Z"},
            "ops@ctl (rollout r-1) is at work on this host since 2026-11-23T01:00:00Z",
        ),
        (
            {},
            {"os_id": "gentoo", "os_name": "Gentoo Linux"},
            "Gentoo Linux is not among the systems that ionetctl is tested on",
        ),
        (
            {},
            {"os_id": "gentoo", "os_name": ""},
            "gentoo is not among the systems that ionetctl is tested on",
        ),
        (
            {},
            {"nomad": FOREIGN},
            "a Nomad agent (Nomad v1.9.0) that ionetctl did not install runs here with 3 allocations",
        ),
    ],
)
def test_finding_says_what_was_seen(host: dict[str, Any], facts: dict[str, Any], message: str) -> None:
    """The words tell an admin which way it is wrong, and who is in the way."""
    found = check_host(replace(HOST, **host), replace(BARE, **facts))
    assert [finding.message for finding in found] == [message]


@pytest.mark.parametrize(
    ("offset_s", "severities"),
    [
        (CLOCK_WARN_S - 0.1, []),
        (CLOCK_WARN_S, [Severity.WARN]),
        (CLOCK_BLOCK_S - 0.1, [Severity.WARN]),
        (CLOCK_BLOCK_S, [Severity.BLOCK]),
    ],
)
def test_clock_has_its_bounds(offset_s: float, severities: list[Severity]) -> None:
    """A clock is named from the first bound on, and keeps its host out from the second."""
    found = check_host(HOST, replace(BARE, clock_offset_s=offset_s))
    assert [finding.severity for finding in found] == severities


@pytest.mark.parametrize(("memory_mib", "expected"), [(95_232, []), (95_231, ["memory_mismatch"])])
def test_memory_has_its_bound(memory_mib: int, expected: list[str]) -> None:
    """93 % of what was promised is enough, and less is not."""
    found = check_host(replace(HOST, expect=Expect(memory_gib=100)), replace(BARE, memory_mib=memory_mib))
    assert [finding.code for finding in found] == expected


def test_doubled_machine_names_the_others() -> None:
    """Each of the hosts that are one machine is told which others there are, and not itself."""
    hosts = [replace(HOST, name=HostName(f"h{number}")) for number in range(3)]
    found = check_fleet([FleetHost(one, BARE, one.name) for one in hosts], {})
    assert [findings[0].message.rpartition(" as ")[2] for findings in found.values()] == [
        "h1, h2",
        "h0, h2",
        "h0, h1",
    ]
