"""Parses a GPU probe's output to a ``GpuReading``. Pure; the input is not trusted.

The format is described in ``docs/explanation/gpu-probe.md``: the last record has the probe's result and its source, rows of nvidia-smi
come before it where NVML was not available. Counts, sizes and characters are bounded, every text is sanitized.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from ionetctl.core.errors import HostFailedError
from ionetctl.core.observed import (
    GpuMemoryHealth,
    GpuProcess,
    GpuReading,
    MigInstance,
    PcieLink,
    SeenGpu,
)
from ionetctl.core.sanitize import harmless
from ionetctl.facts.complete_output import records_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host

PROBE_LIMIT_BYTES: Final = 512 * 1024
GPU_LIMIT: Final = 256
_TEXT_LIMIT: Final = 300
_UUID: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,120}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def needs_probe(host: Host, facts: Facts) -> bool:
    """Whether a host is probed: not where its PCI bus has no NVIDIA device and the inventory promises none.

    Promised GPUs are always probed for: a virtual machine may have GPUs that are not on its PCI bus.
    """
    return facts.machine.gpus_on_bus != 0 or promises_gpus(host)


def promises_gpus(host: Host) -> bool:
    """Whether the inventory says that a host has GPUs."""
    return host.gpus.model is not None if host.gpus.count is None else host.gpus.count > 0


def without_probe(_facts: Facts) -> GpuReading:
    """The reading of a host that needs no probe: its PCI bus has no NVIDIA device."""
    return GpuReading((), "pci")


def parse_probe(output: bytes, nonce: str) -> GpuReading:
    """The reading in a probe's standard output.

    Lines after the closing one are ignored.

    Raises ``HostFailedError`` (``probe_malformed``), naming the field, where the output violates the format;
    ``HostUnreachableError`` (``probe_incomplete``, transient) where its beginning or its end is missing.
    """
    if len(output) > PROBE_LIMIT_BYTES:
        raise _malformed("output", f"more than {PROBE_LIMIT_BYTES} bytes")
    *rows, result = _records(output, nonce) or [""]
    kind, _, value = result.partition("\t")
    if kind not in _RESULTS:
        raise _malformed(kind, "no such record can be the last one")
    gpus = _gpus(rows)
    if gpus and kind != "source":
        raise _malformed(kind, "there are GPUs, and yet nobody who counted them")
    return _RESULTS[kind](value, gpus)


def _records(output: bytes, nonce: str) -> list[str]:
    """The lines between the opening and the closing one."""
    opening, ending = f"ionet-probe\t1\t{nonce}", f"ionet-probe-end\t{nonce}"
    message = "the probe's output is not whole: the connection dropped, or the host's shell gave up"
    return records_between(output, opening, ending, "probe_incomplete", message)


def _malformed(name: str, reason: str) -> HostFailedError:
    message = f"the probe's field {harmless(name)[:60]!r} is malformed: {reason}"
    hint = (
        "run `ionetctl probe` on the host: is python3 or nvidia-smi a wrapper there, or is it tampered with?"
    )
    return HostFailedError("probe_malformed", message, hint)


def _clean(text: str) -> str:
    return harmless(text, _TEXT_LIMIT)


# --- the last record: the result and its source ----------------------------------------------------------------------


def _source(value: str, gpus: tuple[SeenGpu, ...]) -> GpuReading:
    """The GPUs were counted by nvidia-smi, not by NVML."""
    return GpuReading(gpus, _clean(value))


def _unknown(value: str, _: tuple[SeenGpu, ...]) -> GpuReading:
    return GpuReading(None, _clean(value))


def _hanging(value: str, _: tuple[SeenGpu, ...]) -> GpuReading:
    return GpuReading(None, f"the driver hangs: no answer to {_clean(value)}", is_hanging=True)


def _empty(value: str, _: tuple[SeenGpu, ...]) -> GpuReading:
    """Neither NVML nor nvidia-smi is there, and the kernel shows no NVIDIA device on the bus."""
    if value:
        raise _malformed("empty", "it has a value")
    return GpuReading((), "pci")


def _nvml(value: str, _: tuple[SeenGpu, ...]) -> GpuReading:
    try:
        answer = _decoder.decode(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _malformed("nvml", _clean(str(error))) from None
    if answer.gpus is None:
        return _refused(answer)
    if len({gpu.index for gpu in answer.gpus}) < len(answer.gpus):
        raise _malformed("nvml.gpus.index", "given twice")
    return GpuReading(
        gpus=tuple(map(_seen, sorted(answer.gpus, key=lambda gpu: gpu.index))),
        source="nvml",
        driver_version=answer.driver_version and _clean(answer.driver_version),
        cuda_version=answer.cuda_version and _clean(answer.cuda_version),
        nvml_version=answer.nvml_version and _clean(answer.nvml_version),
        took_ms=answer.took_ms,
    )


_RESULTS: Final[dict[str, Callable[[str, tuple[SeenGpu, ...]], GpuReading]]] = {
    "nvml": _nvml,
    "source": _source,
    "unknown": _unknown,
    "hanging": _hanging,
    "empty": _empty,
}

REFUSALS: Final = {
    "NVML_ERROR_DRIVER_NOT_LOADED": "the driver is not loaded",
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": "the loaded driver and its library are of different versions",
    "NVML_ERROR_NO_PERMISSION": "the driver's devices may not be opened",
}
"""Explanations of NVML's errors; they are shown together with the error's name."""


def _refused(answer: _Answer) -> GpuReading:
    """The reading where NVML is installed and cannot be used."""
    if answer.error is None:
        raise _malformed("nvml.gpus", "neither GPUs nor an error")
    if answer.devices_on_bus == 0 and answer.error == "NVML_ERROR_DRIVER_NOT_LOADED":
        return GpuReading((), "pci", took_ms=answer.took_ms)
    reason = f"{REFUSALS.get(answer.error, 'NVML cannot be asked')} ({_clean(answer.error)})"
    if answer.devices_on_bus:
        reason += f"; NVIDIA devices on the PCI bus: {answer.devices_on_bus}"
    return GpuReading(None, reason, took_ms=answer.took_ms)


# --- NVML's answers, as gpu_probe.py writes them ---------------------------------------------------------------------

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Small = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
_Index = Annotated[int, msgspec.Meta(ge=0, lt=GPU_LIMIT)]
_Celsius = Annotated[int, msgspec.Meta(ge=-300, le=1000)]
_Watts = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The probe and this module are of one release, so unknown fields were not written by the probe."""


class _Process(_Strict, frozen=True):
    pid: _Count
    name: _Text
    memory_mib: _Count | None


class _MigInstance(_Strict, frozen=True):
    uuid: _Text
    profile: _Text
    memory_mib: _Count | None


class _Link(_Strict, frozen=True):
    generation: _Small | None = None
    generation_max: _Small | None = None
    width: _Small | None = None
    width_max: _Small | None = None


class _MemoryHealth(_Strict, frozen=True):
    is_ecc_on: bool | None = None
    ecc_corrected: _Count | None = None
    ecc_uncorrected: _Count | None = None
    retired_pages: _Count | None = None
    remapped_corrected: _Count | None = None
    remapped_uncorrected: _Count | None = None
    pending_repair: bool | None = None
    has_remap_failed: bool | None = None


class _Gpu(_Strict, frozen=True):
    index: _Index
    name: _Text
    uuid: _Text
    is_lost: bool
    memory_mib: _Count | None = None
    pci_bus_id: _Text | None = None
    link: _Link = _Link()
    memory_health: _MemoryHealth = _MemoryHealth()
    power_limit_w: _Watts | None = None
    power_default_w: _Watts | None = None
    power_max_w: _Watts | None = None
    temperature_c: _Celsius | None = None
    slowdown_c: _Celsius | None = None
    utilization_percent: _Small | None = None
    is_persistent: bool | None = None
    is_mig_on: bool | None = None
    mig: Annotated[list[_MigInstance], msgspec.Meta(max_length=16)] = []
    has_display: bool | None = None
    processes: Annotated[list[_Process], msgspec.Meta(max_length=256)] | None = None
    nvlinks: _Small | None = None
    nvlinks_max: _Small | None = None
    fabric_state: _Text | None = None
    unreadable: Annotated[list[_Text], msgspec.Meta(max_length=32)] = []


class _Answer(_Strict, frozen=True):
    took_ms: _Count
    devices_on_bus: _Count | None
    gpus: Annotated[list[_Gpu], msgspec.Meta(max_length=GPU_LIMIT)] | None = None
    error: _Text | None = None
    driver_version: _Text | None = None
    cuda_version: _Text | None = None
    nvml_version: _Text | None = None


_decoder = msgspec.json.Decoder(_Answer)


def _seen(gpu: _Gpu) -> SeenGpu:
    """The GPU with every text sanitized; its UUID must be valid, or empty where the GPU did not report one."""
    plain = msgspec.structs.asdict(gpu)
    return SeenGpu(
        **plain
        | {
            "name": _clean(gpu.name),
            "uuid": gpu.uuid and _uuid(gpu.uuid),
            "pci_bus_id": gpu.pci_bus_id and _clean(gpu.pci_bus_id),
            "link": PcieLink(**msgspec.structs.asdict(gpu.link)),
            "memory_health": GpuMemoryHealth(**msgspec.structs.asdict(gpu.memory_health)),
            "mig": tuple(
                MigInstance(_uuid(each.uuid), _clean(each.profile), each.memory_mib) for each in gpu.mig
            ),
            "processes": None if gpu.processes is None else tuple(map(_process, gpu.processes)),
            "fabric_state": gpu.fabric_state and _clean(gpu.fabric_state),
            "unreadable": tuple(map(_clean, gpu.unreadable)),
        }
    )


def _process(process: _Process) -> GpuProcess:
    return GpuProcess(process.pid, _clean(process.name), process.memory_mib)


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise _malformed("uuid", f"{harmless(text)[:60]!r} is not of the form that it must have")
    return text


# --- rows of nvidia-smi ----------------------------------------------------------------------------------------------


def _gpus(rows: list[str]) -> tuple[SeenGpu, ...]:
    if len(rows) > GPU_LIMIT:
        raise _malformed("gpu", f"more than {GPU_LIMIT} of them")
    gpus = {gpu.index: gpu for gpu in map(_row, rows)}
    if len(gpus) < len(rows):
        raise _malformed("gpu", "given twice")
    return tuple(gpus[index] for index in sorted(gpus))


def _row(row: str) -> SeenGpu:
    try:
        kind, index, name, uuid, memory, bus = row.split("\t")
    except ValueError:
        raise _malformed(row.partition("\t")[0], "it has not the values that it must have") from None
    if kind != "gpu":
        raise _malformed(kind, "nothing is known by that name, or not in that place")
    memory_mib = _int(kind, memory) if memory else None
    # nvidia-smi goes on listing a card that does not answer any more, and cannot name it.
    return SeenGpu(
        _int(kind, index),
        _clean(name),
        uuid and _uuid(uuid),
        memory_mib,
        _clean(bus) or None,
        is_lost=not uuid,
    )


def _int(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise _malformed(name, f"{harmless(value)[:60]!r} is no number")
    return int(value)
