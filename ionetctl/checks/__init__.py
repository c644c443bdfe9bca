"""What the survey shows that an admin should know before a host is touched. Pure: facts in, findings out.

A check stands in the module of its subject, below the codes that it gives. One of a host is a function
``(Host, Facts) -> Iterator[Finding]``, one of the whole fleet ``(Fleet) -> Iterator[(HostName, Finding)]``; ``CHECKS``
and ``FLEET_CHECKS`` have the order in which they run, ``codes`` collects all codes, ``policy`` applies the site's
rules to findings. A blocking finding keeps its host out of the rollout.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ionetctl.checks import (
    driver,
    fleet,
    gpu_health,
    gpu_setup,
    gpus,
    machine,
    mining,
    network,
    runtimes,
    storage,
    system,
    tenants,
    tuning,
    workloads,
)
from ionetctl.checks.codes import CODES
from ionetctl.checks.finding import Code
from ionetctl.checks.fleet import Findings, Fleet, FleetHost, KnownMachine, own_product_uuid
from ionetctl.checks.policy import apply_rules, is_mended
from ionetctl.checks.system import ARCHITECTURES, CLOCK_BLOCK_S, CLOCK_WARN_S
from ionetctl.core.errors import WORST_FIRST, ExitCode
from ionetctl.core.model.outcome import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.names import HostName

__all__ = [
    "ARCHITECTURES",
    "CHECKS",
    "CLOCK_BLOCK_S",
    "CLOCK_WARN_S",
    "CODES",
    "FLEET_CHECKS",
    "Code",
    "Fleet",
    "FleetHost",
    "KnownMachine",
    "blocking",
    "check_fleet",
    "check_host",
    "is_mended",
    "own_product_uuid",
]

CHECKS: Final[tuple[Callable[[Host, Facts], Iterator[Finding]], ...]] = (
    system.survey_user,
    system.lock,
    system.architecture,
    system.systemd,
    system.distribution,
    system.kernel,
    system.control_groups,
    system.tools,
    storage.mount_options,
    storage.free_space,
    storage.free_space_for_jobs,
    storage.free_space_for_images,
    storage.free_space_for_all,
    storage.live_image,
    tuning.logs,
    tuning.temporary_files,
    tuning.remounts,
    tuning.mitigations,
    system.clock,
    system.time_service,
    system.pending_reboot,
    network.dns,
    network.servers,
    network.firewall,
    network.latency,
    network.mtu,
    workloads.foreign_nomad,
    mining.mining_systems,
    mining.miners,
    mining.rig_identity,
    workloads.workers,
    workloads.gpu_processes,
    machine.cores,
    machine.memory,
    machine.memory_for_gpus,
    machine.swap,
    machine.hugepages,
    driver.hanging,
    driver.presence,
    driver.versions,
    driver.run_file,
    driver.held,
    driver.secure_boot,
    driver.persistence,
    gpus.unknown,
    gpus.count,
    gpus.models,
    gpus.reserved,
    gpus.lost,
    gpu_setup.mig,
    gpu_setup.displays,
    gpu_health.fallen_off_bus,
    gpu_health.driver_errors,
    gpu_health.memory,
    gpu_health.pcie_width,
    gpu_health.temperature,
    gpu_health.power_limit,
    gpu_setup.fabric,
    gpu_setup.nvlinks,
    runtimes.docker,
    runtimes.docker_kind,
    runtimes.toolkit,
    runtimes.networks,
    tenants.docker_users,
    tenants.landlock,
    tenants.links,
    tenants.loopback,
    workloads.interrupted_enrolment,
)
"""Every check of one host, in the order in which its findings are reported."""

FLEET_CHECKS: Final[tuple[Callable[[Fleet], Iterator[Findings]], ...]] = (
    fleet.duplicates,
    fleet.known_as_another,
    fleet.names_taken,
    fleet.downgrades,
    fleet.key_makers,
    fleet.clocks,
    fleet.connections,
    tenants.drivers,
    tenants.doors,
)
"""Every check of the whole fleet, in the order in which its findings are reported."""


def check_host(
    host: Host, facts: Facts, *, takeover: bool = False, is_prepared: bool = False
) -> tuple[Finding, ...]:
    """All findings about one host, in the order of ``CHECKS``, as its inventory wants them to count.

    ``is_prepared``: the host was prepared already, so that findings that a preparation would have mended count in full.
    """
    findings = (finding for check in CHECKS for finding in check(host, facts))
    return tuple(
        apply_rules(finding, host, is_prepared=is_prepared)
        for finding in findings
        if not (takeover and finding.code == "foreign_nomad")
    )


def check_fleet(surveyed: Fleet) -> dict[HostName, tuple[Finding, ...]]:
    """Findings that need the whole fleet and the regions' nodes; hosts without any are left out."""
    by_name = {member.host.name: member.host for member in surveyed.hosts}
    reported: defaultdict[HostName, list[Finding]] = defaultdict(list)
    for check in FLEET_CHECKS:
        for name, finding in check(surveyed):
            reported[name].append(apply_rules(finding, by_name[name]))
    return {name: tuple(findings) for name, findings in reported.items()}


def blocking(findings: Iterable[Finding]) -> Finding | None:
    """The first finding that keeps a host from being touched; the worst exit code comes first."""
    blocks = [finding for finding in findings if finding.severity is Severity.BLOCK]
    return min(blocks, key=lambda finding: WORST_FIRST.index(ExitCode(finding.exit_code)), default=None)
