"""The document of ``probe -o json``: the reading, with standard names added. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.errors import ExitCode
from ionetctl.gpu import standard_name, with_mig

if TYPE_CHECKING:
    from ionetctl.core.observed import GpuReading, SeenGpu
    from ionetctl.summary.rollout_summary import Failure

SCHEMA: Final = "ionetctl.probe/1"


def exit_code_of(reading: GpuReading) -> ExitCode:
    """``FAILED`` where the GPUs could not be counted; a machine without GPUs is ``OK``."""
    return ExitCode.FAILED if reading.gpus is None else ExitCode.OK


def document(
    reading: GpuReading, exit_code: ExitCode | None = None, failure: Failure | None = None
) -> dict[str, Any]:
    """The document: every field of the reading, ``gpus`` is null where they could not be counted."""
    error = failure and {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return {
        "schema": SCHEMA,
        "exit_code": int(exit_code_of(reading) if exit_code is None else exit_code),
        **asdict(reading),
        "gpus": None if reading.gpus is None else [gpu_row(gpu) for gpu in reading.gpus],
        "error": error,
    }


def gpu_row(gpu: SeenGpu) -> dict[str, Any]:
    """One GPU, with the standard names of it and of its MIG devices (``null`` where it has no name)."""
    whole = standard_name_of(gpu)
    mig = [asdict(each) | {"standard_name": whole and with_mig(whole, each.profile)} for each in gpu.mig]
    return {"standard_name": whole, **asdict(gpu), "mig": mig}


def standard_name_of(gpu: SeenGpu) -> str | None:
    """The standard name of a GPU; ``None`` for a lost GPU without a name."""
    return standard_name(gpu.name, gpu.memory_mib) if gpu.name else None
