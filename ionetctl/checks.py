"""What the survey shows that an admin should know before a host is touched. Pure: facts in, findings out.

A check of one host is a function ``(Host, Facts) -> Iterator[Finding]`` and a row in ``CHECKS``; a check over the
whole fleet is a row in ``FLEET_CHECKS``. A blocking finding keeps its host out of the rollout.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl import gpu, layout
from ionetctl.errors import WORST_FIRST, ExitCode
from ionetctl.model import Architecture, Facts, Finding, Host, HostName, NodeView, RegionName, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}
TESTED_OS: Final = frozenset({"ubuntu", "debian"})
FREE_MIB: Final[dict[str, int]] = {
    "/opt/nomad": 512,
    "/etc/nomad.d": 16,
    "/var/lib/ionet": 256,
    "/usr/local/bin": 1,
}
"""Room that an enrolment needs: the releases unpacked (110 and 21 MB) and packed once more in staging."""
EXECUTABLE: Final = frozenset({"/opt/nomad", "/usr/local/bin"})
CLOCK_WARN_S: Final = 30.0
CLOCK_BLOCK_S: Final = 240.0
"""Certificates are backdated by five minutes; beyond that the node's first handshake fails."""
MEMORY_TOLERANCE: Final = 0.93
"""Firmware and integrated graphics take their share of what is sold as memory."""
_MIB_PER_GIB: Final = 1024


@dataclass(frozen=True, slots=True)
class FleetHost:
    """A surveyed host for the checks over the fleet; ``node_name`` is what it will be called in its region."""

    host: Host
    facts: Facts
    node_name: str


def check_host(host: Host, facts: Facts, *, takeover: bool = False) -> tuple[Finding, ...]:
    """All findings about one host, in the order of the table."""
    findings = (finding for check in CHECKS for finding in check(host, facts))
    return tuple(finding for finding in findings if not (takeover and finding.code == "foreign_nomad"))


def check_fleet(
    fleet: Iterable[FleetHost], nodes: Mapping[RegionName, Iterable[NodeView]]
) -> dict[HostName, tuple[Finding, ...]]:
    """Findings that need the whole fleet and the regions' nodes (by region name); hosts without any are left out."""
    everyone = tuple(fleet)
    found: defaultdict[HostName, list[Finding]] = defaultdict(list)
    for name, finding in _doubles(everyone):
        found[name].append(finding)
    for name, finding in _names_taken(everyone, nodes):
        found[name].append(finding)
    return {name: tuple(findings) for name, findings in found.items()}


def blocking(findings: Iterable[Finding]) -> Finding | None:
    """The first finding that keeps a host from being touched; the worst exit code comes first."""
    blocks = [finding for finding in findings if finding.severity is Severity.BLOCK]
    return min(blocks, key=lambda finding: WORST_FIRST.index(ExitCode(finding.exit_code)), default=None)


def _block(code: str, message: str, hint: str, exit_code: ExitCode = ExitCode.FAILED) -> Finding:
    return Finding(code, Severity.BLOCK, message, hint, exit_code)


def _warn(code: str, message: str, hint: str) -> Finding:
    return Finding(code, Severity.WARN, message, hint)


def _root(_host: Host, facts: Facts) -> Iterator[Finding]:
    if not facts.is_root:
        yield _block("not_root", "the survey did not run as root", "log in as root, or allow the user sudo")


def _architecture(host: Host, facts: Facts) -> Iterator[Finding]:
    architecture = ARCHITECTURES.get(facts.architecture)
    if architecture is None:
        message = f"{facts.architecture} is not supported"
        yield _block("architecture_unsupported", message, "Nomad clients run on x86_64 and arm64")
    elif architecture == "arm64" and host.gpus.count:
        message = "GPUs are promised on an arm64 host, and the device plugin has no arm64 release"
        yield _block("gpu_plugin_missing", message, "enrol the host with gpus: {count: 0}, or leave it out")


def _system(_host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.init != "systemd":
        hint = "Nomad runs as a systemd service here; install a distribution that boots with systemd"
        yield _block("systemd_missing", f"process 1 is {facts.init}, not systemd", hint)
    if facts.os_id not in TESTED_OS:
        message = f"{facts.os_name or facts.os_id} is not among the systems that ionetctl is tested on"
        yield _warn("os_untested", message, f"tested: {', '.join(sorted(TESTED_OS))}")


def _tools(_host: Host, facts: Facts) -> Iterator[Finding]:
    missing = [name for name, has in (("tar", facts.has_tar), ("gzip", facts.has_gzip)) if not has]
    if missing:
        names = " and ".join(missing)
        yield _block("tool_missing", f"{names} cannot be found", f"install the package {names} on the host")


def _disks(_host: Host, facts: Facts) -> Iterator[Finding]:
    for disk in facts.disks:
        if disk.is_read_only:
            hint = "remount it writable; an overlay or live image forgets the enrolment at its next boot"
            yield _block("disk_read_only", f"{disk.path} is on a read-only {disk.kind} file system", hint)
        elif disk.available_mib < (needed := FREE_MIB.get(disk.path, 0)):
            message = f"{disk.path} has {disk.available_mib} MiB free, {needed} MiB are needed"
            yield _block("disk_low", message, "free some room, for example old logs and package caches")
        if disk.is_noexec and disk.path in EXECUTABLE:
            hint = "mount it without noexec: the Nomad program lies there"
            yield _block("disk_noexec", f"{disk.path} is on a file system mounted noexec", hint)


def _clock(_host: Host, facts: Facts) -> Iterator[Finding]:
    offset_s = facts.clock_offset_s
    if offset_s is None or abs(offset_s) < CLOCK_WARN_S:
        return
    message = (
        f"its clock is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} the controller's"
    )
    hint = "set the clock and keep it by NTP (timedatectl set-ntp true): certificates and tokens depend on it"
    severity = Severity.BLOCK if abs(offset_s) >= CLOCK_BLOCK_S else Severity.WARN
    yield Finding("clock_off", severity, message, hint)


def _foreign_nomad(_host: Host, facts: Facts) -> Iterator[Finding]:
    nomad = facts.nomad
    if nomad.is_ours or nomad.is_interrupted or not (nomad.is_running or nomad.active == "active"):
        return
    version = f" ({nomad.agent_version})" if nomad.agent_version else ""
    jobs = f" with {nomad.allocations} allocations" if nomad.allocations else ""
    message = f"a Nomad agent{version} that ionetctl did not install runs here{jobs}"
    hint = "stop and disable it, or let ionetctl replace it with --takeover (its configuration is kept aside)"
    yield _block("foreign_nomad", message, hint)


def _locked(_host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.lock_owner:
        since = f" since {facts.lock_started_at}" if facts.lock_started_at else ""
        message = f"{facts.lock_owner} is at work on this host{since}"
        yield _block(
            "host_locked", message, "wait for that rollout to end, or stop it where it runs", ExitCode.LOCKED
        )


def _hardware(host: Host, facts: Facts) -> Iterator[Finding]:
    wanted = host.expect
    if wanted.cpu_cores and facts.cpu_cores is not None and facts.cpu_cores < wanted.cpu_cores:
        message = f"{facts.cpu_cores} CPU cores seen, {wanted.cpu_cores} promised"
        yield _block("cpu_mismatch", message, "look for a disabled core or SMT, or correct expect.cpu_cores")
    wanted_mib = (wanted.memory_gib or 0) * _MIB_PER_GIB
    if facts.memory_mib is not None and facts.memory_mib < wanted_mib * MEMORY_TOLERANCE:
        message = f"{facts.memory_mib / _MIB_PER_GIB:.1f} GiB of memory seen, {wanted.memory_gib:g} promised"
        yield _block(
            "memory_mismatch", message, "look for a lost memory module, or correct expect.memory_gib"
        )


def _gpus(host: Host, facts: Facts) -> Iterator[Finding]:
    promised = host.gpus
    if facts.gpus is None:
        if promised.count:
            message = (
                f"{promised.count} GPUs are promised, and the host cannot say what it has: {facts.gpu_source}"
            )
            yield _warn("gpu_unknown", message, "install the NVIDIA driver; nvidia-smi must list the cards")
        return
    if promised.count is not None and len(facts.gpus) != promised.count:
        message = f"{len(facts.gpus)} GPUs seen, {promised.count} promised"
        yield _block(
            "gpu_count_mismatch", message, "reseat the lost card and look at dmesg, or correct gpus.count"
        )
    if promised.model:
        yield from _gpu_models(promised.model, facts)


def _gpu_models(promised: str, facts: Facts) -> Iterator[Finding]:
    others = sorted({s.name for s in facts.gpus or () if not gpu.is_meant_by(promised, s.name, s.memory_mib)})
    if others:
        message = f"{promised} is promised, {' and '.join(others)} seen"
        yield _block("gpu_model_mismatch", message, "correct gpus.model, or give the host a group of its own")


def _reserved_gpus(host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.gpus is None:
        return
    known = {str(seen.index) for seen in facts.gpus} | {seen.uuid for seen in facts.gpus}
    unknown = [name for name in host.reserve.gpus if name not in known]
    if unknown:
        message = f"reserve.gpus names {', '.join(unknown)}, which this host does not have"
        yield _block(
            "reserved_gpu_unknown", message, "name GPUs by the index or UUID that nvidia-smi -L prints"
        )


def _leftovers(_host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.nomad.is_interrupted:
        message = "an earlier enrolment of this host was cut off"
        yield Finding("interrupted", Severity.INFO, message, "nothing to do: this one completes it")


CHECKS: Final[tuple[Callable[[Host, Facts], Iterator[Finding]], ...]] = (
    _root,
    _locked,
    _architecture,
    _system,
    _tools,
    _disks,
    _clock,
    _foreign_nomad,
    _hardware,
    _gpus,
    _reserved_gpus,
    _leftovers,
)


def _doubles(fleet: tuple[FleetHost, ...]) -> Iterator[tuple[HostName, Finding]]:
    """Hosts that are the same machine, or clones of one."""
    traits: tuple[tuple[str, str, str, Callable[[FleetHost], str | None]], ...] = (
        (
            "client_id_cloned",
            "Nomad client-id",
            f"images must not carry {layout.STATE_DIR}: stop Nomad, delete it on all but one",
            lambda one: one.facts.nomad.node_id,
        ),
        (
            "machine_id_doubled",
            "machine-id",
            "two addresses of one machine, or a cloned image: systemd-machine-id-setup makes a new one",
            lambda one: one.facts.machine_id,
        ),
    )
    for code, what, hint, trait in traits:
        for value, names in _groups(fleet, trait).items():
            for name in names:
                others = ", ".join(other for other in names if other != name)
                message = f"it has the same {what} ({value}) as {others}"
                yield name, _block(code, message, hint, ExitCode.TRUST)


def _groups(
    fleet: tuple[FleetHost, ...], trait: Callable[[FleetHost], str | None]
) -> dict[str, list[HostName]]:
    groups: defaultdict[str, list[HostName]] = defaultdict(list)
    for one in fleet:
        if value := trait(one):
            groups[value].append(one.host.name)
    return {value: names for value, names in groups.items() if len(names) > 1}


def _names_taken(
    fleet: tuple[FleetHost, ...], nodes: Mapping[RegionName, Iterable[NodeView]]
) -> Iterator[tuple[HostName, Finding]]:
    bearers: dict[tuple[str, str], list[NodeView]] = defaultdict(list)
    for region, views in nodes.items():
        for view in views:
            bearers[region, view.name].append(view)
    for one in fleet:
        others = [v for v in bearers[one.host.region, one.node_name] if v.id != one.facts.nomad.node_id]
        if others:
            message = f"{one.host.region} has another node of the name {one.node_name}: {others[0].id} ({others[0].status})"
            hint = "rename the host, set naming: unique, or purge the old node if it was this machine"
            yield one.host.name, _block("name_taken", message, hint)
