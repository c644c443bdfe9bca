"""Checks of what runs on the host already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found
from ionetctl.checks.mining import named_workloads
from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding
    from ionetctl.core.observed import GpuProcess

FOREIGN_NOMAD: Final = Code(
    "foreign_nomad",
    Severity.BLOCK,
    "a Nomad agent that ionetctl did not install runs there",
    looks_at="Nomad's processes and service, and whether the files are ours.",
    matters="It works for somebody: replacing it ends its jobs. Their number is told.",
    remedy="stop and disable it, or let ionetctl replace it with --takeover (its configuration is kept aside)",
    may_be_waived=False,
)


def foreign_nomad(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether a Nomad agent that is not ours runs here."""
    nomad = facts.nomad
    if nomad.is_ours or nomad.is_interrupted or not (nomad.is_running or nomad.active == "active"):
        return
    version = f" ({nomad.agent_version})" if nomad.agent_version else ""
    jobs = f" with {counted(nomad.allocations, 'allocation')}" if nomad.allocations else ""
    message = f"a Nomad agent{version} that ionetctl did not install runs here{jobs}"
    yield found(FOREIGN_NOMAD, message)


IONET_WORKER_PRESENT: Final = Code(
    "ionet_worker_present",
    Severity.WARN,
    "an io.net worker of another kind runs",
    looks_at="io.net's own launchers and containers (io-worker…, io-launch…).",
    matters="The same cards would be offered twice.",
    remedy="retire the worker in io.net's console, then stop its containers and launcher",
)


def workers(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether an io.net worker of another kind runs."""
    if facts.machine.ionet_workers:
        message = f"an io.net worker runs: {named_workloads(facts.machine.ionet_workers)}"
        yield found(IONET_WORKER_PRESENT, message)


GPU_BUSY: Final = Code(
    "gpu_busy",
    Severity.WARN,
    "unknown programs compute on the GPUs",
    looks_at="The compute processes of each card, but for known miners and workers; quiet where our own Nomad runs jobs.",
    matters="Somebody uses the cards: a miner under another name, or a user of the host.",
    remedy="nvidia-smi shows the processes; end what is not needed",
)


def gpu_processes(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether unknown programs compute on the cards; where our own agent runs jobs, they are taken for those."""
    if facts.nomad.is_ours and facts.nomad.allocations:
        return
    machine = facts.machine
    known = {workload.pid for workload in (*(machine.miners or ()), *(machine.ionet_workers or ()))}
    unknown = [
        process for card in facts.gpus or () for process in card.processes or () if process.pid not in known
    ]
    if unknown:
        names = ", ".join(sorted({_program(process) for process in unknown}))
        yield found(GPU_BUSY, f"programs compute on the GPUs: {names}")


def _program(process: GpuProcess) -> str:
    return process.name or f"process {process.pid}"


INTERRUPTED: Final = Code(
    "interrupted",
    Severity.INFO,
    "an earlier enrolment of the host was cut off",
    looks_at="The mark that an apply leaves between its first change and its last.",
    matters="Nothing is lost: an apply looks before it acts, and completes what was begun.",
    remedy="nothing to do: this one completes it",
)


def interrupted_enrolment(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether an earlier enrolment was cut off."""
    if facts.nomad.is_interrupted:
        yield found(INTERRUPTED, "an earlier enrolment of this host was cut off")
