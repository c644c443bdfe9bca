"""Writes the directory that stands for ``/`` on a rehearsal host, from its ``Machine``, when the rehearsal is set up.

Scripts that run on the host read and change these files afterwards; ``Machine`` is not consulted again.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.nvidia_driver import write_driver
from ionetctl.lab.host.standin_files import DOCKER_FILE, GPU_FILE, NETWORK_FILE, OUTPUTS_DIR

if TYPE_CHECKING:
    from ionetctl.lab.host.machine import Machine

BOOT_ID: Final = "proc/sys/kernel/random/boot_id"
_DIRECTORIES: Final = (
    "etc/systemd/system",
    "home/miner",
    "proc/sys/kernel/random",
    OUTPUTS_DIR,
    "sys/bus/pci/devices",
    "tmp",
    "usr/local/bin",
    "usr/bin",
    "var/lib/docker",
)
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
_NEVER_RUN: Final = """#!/bin/sh
# Stands for a program that no rehearsal runs.
exit 1
"""


def build_tree(tree: Path, machine: Machine) -> None:
    """Create the host's tree; raises ``FileExistsError`` where it exists already."""
    for directory in _DIRECTORIES:
        (tree / directory).mkdir(parents=True)
    outputs = {f"{OUTPUTS_DIR}/{program}": text for program, text in machine.outputs.items()}
    for path, text in {**machine.files, **outputs, BOOT_ID: f"{uuid.uuid4()}\n"}.items():
        _write(tree / path, text)
    for path in machine.executables:
        _write(tree / path, _NEVER_RUN, mode=0o755)
    for path, target in machine.links.items():
        (tree / path).symlink_to(target)
    _write_pci_devices(tree, machine)
    _write_standin_files(tree, machine)
    if machine.has_foreign_nomad:
        _install_foreign_nomad(tree)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _write_pci_devices(tree: Path, machine: Machine) -> None:
    for gpu in machine.gpus:
        device = tree / "sys/bus/pci/devices" / gpu.pci.lower()
        device.mkdir()
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030000\n")


def _write_standin_files(tree: Path, machine: Machine) -> None:
    """Write the JSON files from which the stand-ins for driver, Docker and network answer."""
    if machine.driver is not None:
        write_driver(tree / GPU_FILE, machine.driver)
    if machine.docker is not None:
        (tree / DOCKER_FILE).write_text(json.dumps(asdict(machine.docker), indent=2) + "\n")
    (tree / NETWORK_FILE).write_text(json.dumps(asdict(machine.network)) + "\n")


def _install_foreign_nomad(tree: Path) -> None:
    _write(tree / "usr/bin/nomad", _FOREIGN_NOMAD, mode=0o755)
    _write(tree / "etc/nomad.d/nomad.hcl", _FOREIGN_CONFIG)
    _write(tree / "etc/systemd/system/nomad.service", _FOREIGN_UNIT)
    _write(tree / "opt/nomad/data/client/client-id", str(uuid.uuid4()))
    (tree / "opt/nomad/data/alloc" / str(uuid.uuid4())).mkdir(parents=True)


def hold_lock(tree: Path) -> None:
    """Lock the host as another rollout would: the lock of ``receive.sh``, with this process as its owner."""
    boot_id = (tree / BOOT_ID).read_text().strip()
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
    """This process's start time, in clock ticks since boot (proc(5), field 22 of ``stat``)."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
