"""Codes about processor and memory."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "cpu_mismatch",
        Severity.BLOCK,
        "fewer CPU cores than promised",
        "Logical cores against expect.cpu_cores.",
        "The site promised more than the host has: a core is switched off, or the inventory is wrong.",
        "look for a disabled core or SMT, or correct expect.cpu_cores",
    ),
    Row(
        "memory_mismatch",
        Severity.BLOCK,
        "less memory than promised",
        "Memory against expect.memory_gib; 7 % are forgiven, which firmware takes.",
        "A memory module was lost, or the inventory is wrong.",
        "look for a lost memory module, or correct expect.memory_gib",
    ),
    Row(
        "memory_low_for_gpus",
        Severity.WARN,
        "little memory for the GPUs that the host has",
        "Memory against that of the largest card, and against 4 GiB for each card.",
        "What is loaded into a card passes through the host's memory, and each process that computes on one holds some "
        "gigabytes of its own. Jobs that fit the cards fail here.",
        "fit more memory, or keep the host to jobs that are content with less (node_class, tags)",
    ),
    Row(
        "swap_on",
        Severity.INFO,
        "swap space is switched on",
        "SwapTotal in /proc/meminfo.",
        "Jobs that exceed their memory become slow instead of being ended. On a USB stick swap also wears out the "
        "system disk.",
        "swapoff -a, and take it out of /etc/fstab, if jobs are to be ended rather than slow",
    ),
    Row(
        "hugepages_reserved",
        Severity.WARN,
        "huge pages are held back from everything else",
        "Huge pages reserved by the kernel (/proc/meminfo).",
        "Miners of CPU coins reserve gigabytes of them. Nomad counts that memory as free for jobs, which cannot have it.",
        "sysctl vm.nr_hugepages=0, and take it out of /etc/sysctl.d",
    ),
)
