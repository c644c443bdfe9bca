"""Checks of what the host works for already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import GpuProcess, Workload

MINING_SYSTEMS: Final = frozenset({"HiveOS", "minerstat", "RaveOS", "SimpleMining", "mmpOS"})
"""What the survey calls systems that are made for mining, whether they mine just now or not."""


def nomad_of_others(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a Nomad agent works here for somebody else."""
    nomad = facts.nomad
    if nomad.is_ours or nomad.is_interrupted or not (nomad.is_running or nomad.active == "active"):
        return
    version = f" ({nomad.agent_version})" if nomad.agent_version else ""
    jobs = f" with {nomad.allocations} allocations" if nomad.allocations else ""
    message = f"a Nomad agent{version} that ionetctl did not install runs here{jobs}"
    yield found("foreign_nomad", message)


def miners(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the host mines, or is made to."""
    seen = facts.machine.miners or ()
    systems = sorted({one.name for one in seen if one.name in MINING_SYSTEMS})
    running = [one for one in seen if one.name not in MINING_SYSTEMS]
    if systems:
        yield found("mining_os", f"this is {listed(systems)}")
    if running:
        yield found("miner_running", f"a miner runs: {_named(running)}")


def workers(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether an io.net worker of another kind runs."""
    if facts.machine.ionet_workers:
        message = f"an io.net worker runs: {_named(facts.machine.ionet_workers)}"
        yield found("ionet_worker_present", message)


def _named(workloads: Iterable[Workload]) -> str:
    names = {f"{one.name} ({one.unit})" if one.unit else one.name for one in workloads}
    return ", ".join(sorted(names))


def strangers(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether programs that nobody knows compute on the cards; those of our own jobs are known to the region."""
    if facts.nomad.is_ours and facts.nomad.allocations:
        return
    machine = facts.machine
    known = {one.pid for one in (*(machine.miners or ()), *(machine.ionet_workers or ()))}
    unknown = [
        process for one in facts.gpus or () for process in one.processes or () if process.pid not in known
    ]
    if unknown:
        names = ", ".join(sorted({_program(process) for process in unknown}))
        yield found("gpu_busy", f"programs compute on the GPUs: {names}")


def _program(process: GpuProcess) -> str:
    return process.name or f"process {process.pid}"


def leftovers(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether an earlier enrolment was cut off."""
    if facts.nomad.is_interrupted:
        yield found("interrupted", "an earlier enrolment of this host was cut off")
