"""Checks of processor and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found
from ionetctl.core.model.outcome import Severity
from ionetctl.core.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

MEMORY_TOLERANCE: Final = 0.93
"""Firmware and integrated graphics take their share of what is sold as memory."""
MEMORY_PER_GPU_MIB: Final = 4096
"""What a process that computes on a card holds in the host's memory: CUDA's own state and a buffer."""
HUGEPAGES_PERCENT: Final = 5
"""Of the memory: what is held back for that is missed by jobs."""
_MIB_PER_GIB: Final = 1024

CPU_MISMATCH: Final = Code(
    "cpu_mismatch",
    Severity.BLOCK,
    "fewer CPU cores than promised",
    looks_at="Logical cores against expect.cpu_cores.",
    matters="The site promised more than the host has: a core is switched off, or the inventory is wrong.",
    remedy="look for a disabled core or SMT, or correct expect.cpu_cores",
)


def cores(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the promised cores are there."""
    wanted = host.expect.cpu_cores
    if wanted and facts.cpu_cores is not None and facts.cpu_cores < wanted:
        yield found(CPU_MISMATCH, f"{facts.cpu_cores} CPU cores seen, {wanted} promised")


MEMORY_MISMATCH: Final = Code(
    "memory_mismatch",
    Severity.BLOCK,
    "less memory than promised",
    looks_at="Memory against expect.memory_gib; 7 % are forgiven, which firmware takes.",
    matters="A memory module was lost, or the inventory is wrong.",
    remedy="look for a lost memory module, or correct expect.memory_gib",
)


def memory(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the promised memory is there."""
    wanted_gib = host.expect.memory_gib or 0
    if facts.memory_mib is not None and facts.memory_mib < wanted_gib * _MIB_PER_GIB * MEMORY_TOLERANCE:
        seen = f"{facts.memory_mib / _MIB_PER_GIB:.1f}"
        yield found(MEMORY_MISMATCH, f"{seen} GiB of memory seen, {wanted_gib:g} promised")


MEMORY_LOW_FOR_GPUS: Final = Code(
    "memory_low_for_gpus",
    Severity.WARN,
    "little memory for the GPUs that the host has",
    looks_at="Memory against that of the largest card, and against 4 GiB for each card.",
    matters=(
        "What is loaded into a card passes through the host's memory, and each process that computes on one holds some "
        "gigabytes of its own. Jobs that fit the cards fail here."
    ),
    remedy="fit more memory, or keep the host to jobs that are content with less (node_class, tags)",
)


def memory_for_gpus(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs that fill the cards have the memory to do so."""
    seen = facts.gpus or ()
    largest_mib = max((gpu.memory_mib or 0 for gpu in seen), default=0)
    needed_mib = max(largest_mib, MEMORY_PER_GPU_MIB * len(seen))
    if facts.memory_mib is not None and facts.memory_mib < needed_mib * MEMORY_TOLERANCE:
        has, needed = facts.memory_mib / _MIB_PER_GIB, needed_mib / _MIB_PER_GIB
        message = f"{has:.0f} GiB of memory for {counted(len(seen), 'GPU')}, {needed:.0f} GiB would do"
        yield found(MEMORY_LOW_FOR_GPUS, message)


SWAP_ON: Final = Code(
    "swap_on",
    Severity.INFO,
    "swap space is switched on",
    looks_at="SwapTotal in /proc/meminfo.",
    matters=(
        "Jobs that exceed their memory become slow instead of being ended. On a USB stick swap also wears out the "
        "system disk."
    ),
    remedy="swapoff -a, and take it out of /etc/fstab, if jobs are to be ended rather than slow",
)


def swap(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs may be swapped out."""
    if facts.machine.swap_mib:
        yield found(SWAP_ON, f"{facts.machine.swap_mib} MiB of swap space are on")


HUGEPAGES_RESERVED: Final = Code(
    "hugepages_reserved",
    Severity.WARN,
    "huge pages are held back from everything else",
    looks_at=(
        "Huge pages reserved by the kernel (/proc/meminfo). A warning from 5 % of the memory on, below that for information."
    ),
    matters="Miners of CPU coins reserve gigabytes of them. Nomad counts that memory as free for jobs, which cannot have it.",
    remedy="sysctl vm.nr_hugepages=0, and take it out of /etc/sysctl.d",
)


def hugepages(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether memory is held back as huge pages."""
    reserved_mib, memory_mib = facts.machine.hugepages_mib, facts.memory_mib
    if not reserved_mib:
        return
    of_memory = f" of {memory_mib} MiB of memory" if memory_mib else ""
    is_little = reserved_mib * 100 < (memory_mib or 0) * HUGEPAGES_PERCENT
    message = f"{reserved_mib} MiB{of_memory} are reserved as huge pages"
    yield found(HUGEPAGES_RESERVED, message, severity=Severity.INFO if is_little else Severity.WARN)
