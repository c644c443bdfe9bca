"""The file tree that stands for ``/`` on a rehearsal host, and the programs that stand for a host's.

Written once, when the rehearsal is set up. What the scripts read there: os-release, machine-id, a few files of
``/proc`` and ``/sys``. What they write there is theirs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ionetctl.lab.gpus import GPU_FILE, Gpu, write_gpus

LAB_DIR: Final = "run/lab"
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDERS: Final = (
    "etc/systemd/system",
    "home/miner",
    "opt",
    "proc/1",
    "proc/sys/kernel/random",
    LAB_DIR,
    "sys/bus/pci/devices",
    "tmp",
    "usr/bin",
    "usr/local/bin",
    "var/lib",
)
_OS_RELEASE: Final = 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="{name}"\n'
_STANDINS: Final = Path(__file__).parent / "standins"
_ALSO_CALLED: Final = {"systemctl": ("journalctl", "nomad-config-validate")}
_FOREIGN_NOMAD: Final = """#!/bin/sh
# Stands for a Nomad that somebody else has installed.
echo 'Nomad v1.6.5'
"""
_FOREIGN_UNIT: Final = """[Unit]
Description=Nomad
[Service]
Type=notify
ExecStart=/usr/bin/nomad agent -config /etc/nomad.d
[Install]
WantedBy=multi-user.target
"""
_FOREIGN_CONFIG: Final = """data_dir = "/opt/nomad/data"
client {
  enabled = true
  servers = ["nomad.example:4647"]
}
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a host pretends to be."""

    name: str
    cpu_cores: int
    memory_gib: int
    gpus: tuple[Gpu, ...]
    os_name: str = "Ubuntu 24.04.1 LTS (rehearsal)"
    has_foreign_nomad: bool = False


def build_tree(tree: Path, machine: Machine) -> None:
    """Make a host's tree; it must not exist yet."""
    for folder in _FOLDERS:
        (tree / folder).mkdir(parents=True)
    for path, text in _files(machine).items():
        (tree / path).write_text(text)
    write_gpus(tree / GPU_FILE, list(machine.gpus))
    if not machine.gpus:
        (tree / GPU_FILE).unlink()
    for gpu in machine.gpus:
        device = tree / "sys/bus/pci/devices" / gpu.pci.lower()
        device.mkdir()
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030000\n")
    if machine.has_foreign_nomad:
        _install_foreign_nomad(tree)


def _files(machine: Machine) -> dict[str, str]:
    identity = hashlib.sha256(machine.name.encode()).hexdigest()
    processors = "".join(
        f"processor\t: {number}\nmodel name\t: Rehearsal CPU\n\n" for number in range(machine.cpu_cores)
    )
    return {
        "etc/os-release": _OS_RELEASE.format(name=machine.os_name),
        "etc/machine-id": f"{identity[:32]}\n",
        "proc/1/comm": "systemd\n",
        "proc/cpuinfo": processors,
        "proc/meminfo": f"MemTotal:       {machine.memory_gib << 20} kB\n",
        "proc/sys/kernel/random/boot_id": f"{uuid.uuid4()}\n",
    }


def _install_foreign_nomad(tree: Path) -> None:
    program = tree / "usr/bin/nomad"
    program.write_text(_FOREIGN_NOMAD)
    program.chmod(0o755)
    (tree / "etc/nomad.d").mkdir()
    (tree / "etc/nomad.d/nomad.hcl").write_text(_FOREIGN_CONFIG)
    (tree / "etc/systemd/system/nomad.service").write_text(_FOREIGN_UNIT)
    state = tree / "opt/nomad/data/client"
    state.mkdir(parents=True)
    (state / "client-id").write_text(str(uuid.uuid4()))
    (tree / "opt/nomad/data/alloc" / str(uuid.uuid4())).mkdir(parents=True)


def install_programs(programs: Path) -> None:
    """Copy the stand-in programs: ``common`` for every host, one folder more for each fault that has some."""
    for folder in (_STANDINS / "common", *sorted((_STANDINS / "faults").iterdir())):
        target = programs / folder.name
        target.mkdir(parents=True)
        for source in sorted(folder.iterdir()):
            for name in (source.name, *_ALSO_CALLED.get(source.name, ())):
                shutil.copyfile(source, target / name)
                (target / name).chmod(0o755)


def hold_lock(tree: Path) -> None:
    """Let another rollout hold the host: a lock in the form of ``receive.sh``, with this very process as its holder."""
    boot_id = (tree / "proc/sys/kernel/random/boot_id").read_text().strip()
    fields = (
        "r-rehearsed",
        "somebody@elsewhere",
        "2026-01-01T00:00:00Z",
        str(os.getpid()),
        _start_ticks(),
        boot_id,
    )
    lock = tree / "var/lib/ionet/lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.unlink(missing_ok=True)
    lock.symlink_to("\t".join(fields))


def _start_ticks() -> str:
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
