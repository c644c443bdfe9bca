"""The files of a rehearsal host that its stand-ins read and write: paths relative to the host's root."""

from __future__ import annotations

from typing import Final

LAB_DIR: Final = "run/lab"
GPU_FILE: Final = "run/lab/gpus.json"
"""What NVML answers; without the file the driver's library is not installed."""
DOCKER_FILE: Final = "run/lab/docker.json"
"""What ``docker info`` prints; without the file there is no Docker."""
NETWORK_FILE: Final = "run/lab/network.json"
"""How the host's connections behave."""
OUTPUTS_DIR: Final = "run/lab/says"
"""Has a file for each program that always prints the same, with its output."""
SYSTEMD_FILE: Final = "run/lab/systemd"
"""The version that ``systemctl --version`` prints after ``systemd``."""
FREE_KIB_FILE: Final = "run/lab/room.kib"
"""The free space on the root file system, in KiB; of each other one a line with its mount point after a space."""
UNITS_DIR: Final = "run/lab/units"
"""Has a file for each unit that ``systemd-run`` started, with its process id."""
SYSTEM_LINK: Final = "run/lab/system"
"""A link to the directory of machine programs that the host may run."""
