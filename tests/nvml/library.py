"""Builds the NVML stand-in of ``fake_nvml.c``, which says what its file can hold."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

NVIDIA_SMI: Final = Path(__file__).parent / "nvidia-smi"
_SOURCE: Final = Path(__file__).parent / "fake_nvml.c"
_FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


def build_nvml(directory: Path, *age: str) -> Path:
    """Compile the stand-in for ``libnvidia-ml.so.1`` into ``directory``; raises ``RuntimeError`` without a compiler.

    ``age`` may be ``-DOLD_DRIVER`` or ``-DANCIENT_DRIVER``.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler (cc)")
    library = directory / "libnvidia-ml.so.1"
    names = [f"-Wl,-soname,{library.name}", "-o", str(library), str(_SOURCE)]
    subprocess.run([compiler, *_FLAGS, *age, *names], check=True)
    return library
