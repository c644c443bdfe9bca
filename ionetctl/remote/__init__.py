"""The programs that run on hosts: POSIX sh, and Python where NVML is asked; static, parameters are arguments.

What they read and write is described in ``docs/explanation/host-protocol.md`` and ``docs/explanation/gpu-probe.md``. This module hands out their
text and knows nothing else.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from ionetctl.remote.packing import pack, source_of


@cache
def survey_script() -> bytes:
    """The survey, for the standard input of ``sh -s -- NONCE SERVERS PATH…``."""
    parts = ("machine", "disks", "network", "work")
    return _joined("programs", "docker", *(f"survey_{part}" for part in parts), "survey")


@cache
def receive_script() -> str:
    """What takes the lock and the payload: the third argument of ``sh -c … sh NONCE ROLLOUT OWNER STARTED SIZE``."""
    return _text("receive.sh").decode()


@cache
def read_script() -> bytes:
    """What prints text files for ``--diff``, for the standard input of ``sh -s -- NONCE PATH…``."""
    return _text("read.sh")


@cache
def apply_script() -> bytes:
    """What carries out a payload; it travels as the payload's first member."""
    parts = ("dialogue", "files", "stage", "backup", "install", "service")
    return _joined("programs", "report", *(f"apply_{part}" for part in parts), "apply")


@cache
def probe_script() -> str:
    """What has the GPUs asked: the third argument of ``sh -c … ionet-probe NONCE``."""
    return _text("probe_start.sh").decode()


@cache
def probe_program() -> bytes:
    """What the probe takes from its standard input: its own text, the collector, and what that uses of pynvml.

    Raises ``ImportError`` where the package is installed without pynvml.
    """
    program = pack(source_of("pynvml"), _text("gpu_probe.py").decode(), always="NVML_ERROR_")
    return _joined("programs", "probe") + program


@cache
def prepare_script() -> bytes:
    """What carries out preparations; it travels in the place of an apply's script."""
    parts = ("packages", "machine", "gpus", "miners")
    return _joined("programs", "docker", "report", *(f"prepare_{part}" for part in parts), "prepare")


@cache
def restore_miner_script() -> bytes:
    """What puts a miner back that a preparation stopped; it stays on the host."""
    return _text("restore_miner.sh")


def _joined(*names: str) -> bytes:
    """One script of several parts: functions first, what calls them last."""
    return b"\n".join(_text(f"{name}.sh") for name in names)


def _text(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
