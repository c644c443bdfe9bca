"""The GPU probe on this very machine: what hosts are asked over SSH, without SSH."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError
from ionetctl.facts.gpu_output import PROBE_LIMIT_BYTES, parse_probe
from ionetctl.host.dependencies import NONCE_BYTES
from ionetctl.remote import probe_program, probe_script

if TYPE_CHECKING:
    from ionetctl.core.observed import GpuReading

SHELL: Final = "/bin/sh"
TIMEOUT_S: Final = 60.0
"""Well beyond the probe's own deadlines, which hold unless the machine itself stands still."""


def probe_here(shell: str = SHELL, timeout_s: float = TIMEOUT_S) -> GpuReading:
    """What this machine's GPUs say of themselves.

    Raises ``HostFailedError`` where the probe says nothing in time (``probe_timeout``) or no sense
    (``probe_malformed``), ``HostUnreachableError`` (``probe_incomplete``) where it ended early.
    """
    nonce = secrets.token_hex(NONCE_BYTES)
    argv = [shell, "-c", probe_script(), "ionet-probe", nonce]
    try:
        run = subprocess.run(argv, input=probe_program(), capture_output=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        message = f"the GPU probe did not end within {timeout_s:.0f} s"
        raise HostFailedError(
            "probe_timeout", message, "is the machine out of memory, or its disk gone?"
        ) from None
    return parse_probe(run.stdout[: PROBE_LIMIT_BYTES + 1], nonce)
