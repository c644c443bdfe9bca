"""What a probe's output means: a ``GpuReading``. Pure; nothing that a host says is believed to be well-formed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.errors import HostFailedError
from ionetctl.observed import GpuReading

if TYPE_CHECKING:
    from ionetctl.model import Facts, Host

PROBE_LIMIT_BYTES: Final = 512 * 1024


def needs_probe(_host: Host, _facts: Facts) -> bool:
    """Whether a host may have NVIDIA GPUs, so that it is worth asking."""
    return False


def without_probe(facts: Facts) -> GpuReading:
    """The reading of a host that was not probed: what the survey saw."""
    return GpuReading(facts.gpus, facts.gpu_source)


def parse_probe(output: bytes, nonce: str) -> GpuReading:
    """The reading that a probe's standard output holds."""
    raise HostFailedError("probe_malformed", f"{len(output)} bytes, {nonce}", "")
