"""Checks of processor and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.outcome import Finding

MEMORY_TOLERANCE: Final = 0.93
"""Firmware and integrated graphics take their share of what is sold as memory."""
MEMORY_PER_GPU_MIB: Final = 4096
"""What a process that computes on a card holds in the host's memory: CUDA's own state and a buffer."""
_MIB_PER_GIB: Final = 1024


def cores(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the promised cores are there."""
    wanted = host.expect.cpu_cores
    if wanted and facts.cpu_cores is not None and facts.cpu_cores < wanted:
        yield found("cpu_mismatch", f"{facts.cpu_cores} CPU cores seen, {wanted} promised")


def memory(host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether the promised memory is there."""
    wanted_gib = host.expect.memory_gib or 0
    if facts.memory_mib is not None and facts.memory_mib < wanted_gib * _MIB_PER_GIB * MEMORY_TOLERANCE:
        seen = f"{facts.memory_mib / _MIB_PER_GIB:.1f}"
        yield found("memory_mismatch", f"{seen} GiB of memory seen, {wanted_gib:g} promised")


def memory_for_gpus(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs that fill the cards have the memory to do so."""
    seen = facts.gpus or ()
    largest_mib = max((gpu.memory_mib or 0 for gpu in seen), default=0)
    needed_mib = max(largest_mib, MEMORY_PER_GPU_MIB * len(seen))
    if facts.memory_mib is not None and facts.memory_mib < needed_mib * MEMORY_TOLERANCE:
        has, needed = facts.memory_mib / _MIB_PER_GIB, needed_mib / _MIB_PER_GIB
        message = f"{has:.0f} GiB of memory for {len(seen)} GPUs, {needed:.0f} GiB would do"
        yield found("memory_low_for_gpus", message)


def swap(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether jobs may be swapped out."""
    if facts.machine.swap_mib:
        yield found("swap_on", f"{facts.machine.swap_mib} MiB of swap space are on")


def hugepages(_host: Host, facts: Facts) -> Iterator[Finding]:
    """Whether memory is held back as huge pages."""
    if facts.machine.hugepages_mib:
        yield found("hugepages_reserved", f"{facts.machine.hugepages_mib} MiB are reserved as huge pages")
