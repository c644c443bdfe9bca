"""GPUs that hosts do not have: an NVML stand-in and an ``nvidia-smi``, both of which read one file in the guest."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, Final

from tests.nvml.library import NVIDIA_SMI

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from ionetctl.lab.host.nvidia_driver import Gpu
    from tests.e2e.machines import Machine

CARD_FILE: Final = "etc/fake-nvml.conf"


def install_driver(machine: Machine, library: Path, cards: Iterable[Gpu]) -> None:
    """Give a host a driver and these cards; Nomad's device plugin sees them when it starts next."""
    folder = machine.root / "usr/lib" / f"{platform.machine()}-linux-gnu"
    shutil.copy(library, folder / library.name)
    shutil.copy(NVIDIA_SMI, machine.root / "usr/bin/nvidia-smi")
    write_cards(machine, cards)


def write_cards(machine: Machine, cards: Iterable[Gpu], lost: Collection[int] = ()) -> None:
    """Change the cards of a host; those whose index is in ``lost`` have fallen off the bus."""
    (machine.root / CARD_FILE).write_text(card_text(cards, lost))


def card_text(cards: Iterable[Gpu], lost: Collection[int] = ()) -> str:
    """What the stand-ins read of some cards."""
    rows = ((card.uuid, card.name, card.pci, str(card.memory_mib), card.index in lost) for card in cards)
    return "".join("\t".join([*fields, *(["lost"] if is_lost else [])]) + "\n" for *fields, is_lost in rows)


def hang_driver(machine: Machine) -> None:
    """Make NVML and ``nvidia-smi`` of a host hang."""
    (machine.root / CARD_FILE).write_text("hang\n")


def remove_driver(machine: Machine) -> None:
    """Take driver and cards away."""
    folder = machine.root / "usr/lib" / f"{platform.machine()}-linux-gnu"
    for path in (folder / "libnvidia-ml.so.1", machine.root / "usr/bin/nvidia-smi", machine.root / CARD_FILE):
        path.unlink(missing_ok=True)
