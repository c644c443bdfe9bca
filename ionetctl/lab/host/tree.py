"""The file tree that stands for ``/`` on a rehearsal host, written once, when the rehearsal is set up.

What the scripts read there is what ``Machine`` says; what they write there is theirs.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.lab.cards import GPU_FILE, write_driver
from ionetctl.lab.host.machine import SAYS_DIR

if TYPE_CHECKING:
    from ionetctl.lab.host.machine import Machine

LAB_DIR: Final = "run/lab"
DOCKER_FILE: Final = "run/lab/docker.json"
NETWORK_FILE: Final = "run/lab/network.json"
_FOLDERS: Final = (
    "etc/systemd/system",
    "home/miner",
    "proc/sys/kernel/random",
    SAYS_DIR,
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
_NOT_CALLED: Final = """#!/bin/sh
# Stands for a program that no rehearsal calls.
exit 1
"""


def build_tree(tree: Path, machine: Machine) -> None:
    """Make a host's tree; it must not exist yet."""
    for folder in _FOLDERS:
        (tree / folder).mkdir(parents=True)
    says = {f"{SAYS_DIR}/{program}": text for program, text in machine.says.items()}
    for path, text in {**machine.files, **says, **_of_this_boot()}.items():
        _write(tree / path, text)
    for path in machine.executables:
        _write(tree / path, _NOT_CALLED, mode=0o755)
    for path, target in machine.links.items():
        (tree / path).symlink_to(target)
    _plug_in(tree, machine)
    _write_states(tree, machine)
    if machine.has_foreign_nomad:
        _install_foreign_nomad(tree)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _of_this_boot() -> dict[str, str]:
    return {"proc/sys/kernel/random/boot_id": f"{uuid.uuid4()}\n"}


def _plug_in(tree: Path, machine: Machine) -> None:
    for gpu in machine.gpus:
        device = tree / "sys/bus/pci/devices" / gpu.pci.lower()
        device.mkdir()
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030000\n")


def _write_states(tree: Path, machine: Machine) -> None:
    """What stands for the driver, the Docker daemon and the network: files that the stand-ins read."""
    if machine.driver is not None:
        write_driver(tree / GPU_FILE, machine.driver)
    if machine.docker is not None:
        (tree / DOCKER_FILE).write_text(json.dumps(asdict(machine.docker), indent=2) + "\n")
    (tree / NETWORK_FILE).write_text(json.dumps(asdict(machine.way)) + "\n")


def _install_foreign_nomad(tree: Path) -> None:
    _write(tree / "usr/bin/nomad", _FOREIGN_NOMAD, mode=0o755)
    _write(tree / "etc/nomad.d/nomad.hcl", _FOREIGN_CONFIG)
    _write(tree / "etc/systemd/system/nomad.service", _FOREIGN_UNIT)
    _write(tree / "opt/nomad/data/client/client-id", str(uuid.uuid4()))
    (tree / "opt/nomad/data/alloc" / str(uuid.uuid4())).mkdir(parents=True)


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
