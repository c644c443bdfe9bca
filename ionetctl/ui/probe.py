"""The GPUs of one machine as a table. Pure: reading in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ionetctl.core.plural import counted
from ionetctl.gpu import standard_name, with_mig
from ionetctl.ui import phrases
from ionetctl.ui.tables import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.observed import GpuReading, MigInstance, PcieLink, SeenGpu

COLUMNS = ["gpu", "name", "standard name", "memory", "pci", "link", "power", "temp", "notes"]
UNKNOWN = "-"


def probe_view(reading: GpuReading) -> Iterator[Text]:
    """What ``probe`` shows: a row for each GPU and MIG device, then the total and its source."""
    if reading.gpus is None:
        yield Text.assemble(("nobody can say", "bold red"), f": {phrases.plain(reading.source)}")
        return
    if reading.gpus:
        yield from table(COLUMNS, [row for gpu in reading.gpus for row in _rows(gpu)], frozenset({"memory"}))
    yield Text(phrases.plain(_total(reading)), style="dim")


def _total(reading: GpuReading) -> str:
    count = len(reading.gpus or ())
    gpus = counted(count, "GPU")
    driver = f"driver {reading.driver_version}" if reading.driver_version else ""
    cuda = f"CUDA {reading.cuda_version}" if reading.cuda_version else ""
    took = f"{reading.took_ms} ms" if reading.took_ms is not None else ""
    return ", ".join(filter(None, (f"{gpus} by {reading.source}", driver, cuda, took)))


def _rows(gpu: SeenGpu) -> Iterator[list[str | Text]]:
    whole = standard_name(gpu.name, gpu.memory_mib) if gpu.name else ""
    yield [
        str(gpu.index),
        gpu.name or UNKNOWN,
        whole or UNKNOWN,
        _mib(gpu.memory_mib),
        gpu.pci_bus_id or UNKNOWN,
        _link(gpu.link),
        UNKNOWN if gpu.power_limit_w is None else f"{gpu.power_limit_w:.0f} W",
        UNKNOWN if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
        Text(phrases.plain(", ".join(notes(gpu))), style="red" if gpu.is_lost else "yellow"),
    ]
    for number, device in enumerate(gpu.mig):
        yield _mig_row(gpu, number, device, whole)


def _mig_row(gpu: SeenGpu, number: int, device: MigInstance, whole: str) -> list[str | Text]:
    named = with_mig(whole, device.profile) if whole else UNKNOWN
    return [
        f"{gpu.index}:{number}",
        f"MIG {device.profile}",
        named,
        _mib(device.memory_mib),
        *[UNKNOWN] * 4,
        "",
    ]


def notes(gpu: SeenGpu) -> Iterator[str]:
    """Short notes on what an admin should look at."""
    health = gpu.memory_health
    if gpu.is_lost:
        yield "lost"
    if health.ecc_uncorrected:
        yield f"{health.ecc_uncorrected} uncorrected ECC errors"
    if health.pending_repair:
        yield "memory repair waits for a reset"
    if health.has_remap_failed:
        yield "a row could not be remapped"
    if gpu.nvlinks_max and gpu.nvlinks != gpu.nvlinks_max:
        yield f"{gpu.nvlinks} of {gpu.nvlinks_max} NVLinks"
    if gpu.fabric_state not in (None, "completed"):
        yield f"fabric {gpu.fabric_state}"
    if gpu.has_display:
        yield "drives a display"
    if gpu.processes:
        yield "busy: " + " ".join(sorted({process.name or str(process.pid) for process in gpu.processes}))
    if gpu.unreadable and not gpu.is_lost:
        yield "; ".join(gpu.unreadable)


def _link(link: PcieLink) -> str:
    if link.generation is None or link.width is None:
        return UNKNOWN
    widest = f" of {link.width_max}" if link.width_max not in (None, link.width) else ""
    return f"gen{link.generation} x{link.width}{widest}"


def _mib(size_mib: int | None) -> str:
    return UNKNOWN if size_mib is None else f"{size_mib:,} MiB"
