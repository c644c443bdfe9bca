"""GPUs that hosts do not have: an NVML stand-in and an ``nvidia-smi``, both of which read one file in the guest."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.e2e.namespaces import output_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ionetctl.lab.gpus import Gpu
    from tests.e2e.machines import Machine

CARD_FILE: Final = "etc/fake-nvml.conf"

_SOURCES: Final = Path(__file__).parent.parent / "nvml"
_FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


def build_nvml(directory: Path) -> Path:
    """Compile the stand-in for ``libnvidia-ml.so.1`` into ``directory``; raises ``RuntimeError`` without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler (cc)")
    library = directory / "libnvidia-ml.so.1"
    names = [f"-Wl,-soname,{library.name}", "-o", str(library), str(_SOURCES / "fake_nvml.c")]
    output_of([compiler, *_FLAGS, *names])
    return library


def install_driver(machine: Machine, library: Path, cards: Iterable[Gpu]) -> None:
    """Give a host a driver and these cards; Nomad's device plugin sees them when it starts next."""
    folder = machine.root / "usr/lib" / f"{platform.machine()}-linux-gnu"
    shutil.copy(library, folder / library.name)
    shutil.copy(_SOURCES / "nvidia-smi", machine.root / "usr/bin/nvidia-smi")
    write_cards(machine, cards)


def write_cards(machine: Machine, cards: Iterable[Gpu], lost: Collection[int] = ()) -> None:
    """Change the cards of a host; those whose index is in ``lost`` have fallen off the bus."""
    lines = []
    for card in cards:
        fields = [
            card.uuid,
            card.name,
            card.pci,
            str(card.memory_mib),
            *(["lost"] if card.index in lost else []),
        ]
        lines.append("\t".join(fields) + "\n")
    (machine.root / CARD_FILE).write_text("".join(lines))


def hang_driver(machine: Machine) -> None:
    """Make NVML and ``nvidia-smi`` of a host hang."""
    (machine.root / CARD_FILE).write_text("hang\n")


def remove_driver(machine: Machine) -> None:
    """Take driver and cards away."""
    folder = machine.root / "usr/lib" / f"{platform.machine()}-linux-gnu"
    for path in (folder / "libnvidia-ml.so.1", machine.root / "usr/bin/nvidia-smi", machine.root / CARD_FILE):
        path.unlink(missing_ok=True)
