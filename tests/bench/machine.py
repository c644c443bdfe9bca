"""What a run was made with: versions, cores, memory, load."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.programs import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def describe(peers: Mapping[str, str]) -> dict[str, object]:
    """The machine and the versions of all that was measured; ``peers`` are the versions of what is in their environment."""
    return {
        "date": now(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "versions": {
            "python": platform.python_version(),
            "ionetctl": importlib.metadata.version("ionetctl"),
            "asyncssh": importlib.metadata.version("asyncssh"),
            "cryptography": importlib.metadata.version("cryptography"),
            **_openssh(),
            **peers,
        },
    }


def now() -> str:
    """The time, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _openssh() -> dict[str, str]:
    program = path_of("ssh")
    if program is None:
        return {}
    shown = subprocess.run([program, "-V"], capture_output=True, text=True, check=True)
    return {"openssh": shown.stderr.strip()}
