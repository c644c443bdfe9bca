"""Installs the programs of rehearsal hosts: the stand-ins, and links to harmless programs of the machine itself.

Directories below ``bin/``: ``common`` is on every host's PATH; one that is named like a fault is on the PATH of the hosts
with that fault; ``agent`` is on that of the maintenance door alone; programs of ``tools`` are linked into the trees of the hosts that have them installed; ``system`` has
links to the machine's own programs (``system-NAME…`` is the same without these programs, for hosts that miss them).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.standin_files import SYSTEM_LINK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.lab.host.machine import Machine

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMON: Final = "common"
TOOLS: Final = "tools"
AGENT: Final = "agent"
"""What is found before all else by what asks the host's agent."""
SYSTEM: Final = "system"
PYTHON: Final = "python"
FIXED_OUTPUT: Final = "says"
"""The stand-in for every program that always prints the same."""
_STANDINS: Final = Path(__file__).parents[1] / "standins"
_ALIASES: Final = {"systemctl": ("agent-api", "journalctl", "nomad-config-validate")}
_PACKAGE_MANAGERS: Final = "apk apt apt-cache apt-get apt-mark dnf dpkg dpkg-query pacman rpm snap yum zypper"
_CONTAINERS: Final = "containerd docker dockerd nerdctl nomad nvidia-ctk podman"
_SERVICES: Final = (
    "dmesg halt hostname hostnamectl journalctl loginctl poweroff reboot shutdown systemctl timedatectl"
)
_KERNEL: Final = "insmod ldconfig lspci modinfo modprobe mokutil nvidia-smi rmmod sysctl systemd-detect-virt"
_FIREWALLS: Final = "firewall-cmd ip6tables iptables nft ufw"
_NOT_FOR_HOSTS: Final = frozenset(
    f"{_PACKAGE_MANAGERS} {_CONTAINERS} {_SERVICES} {_KERNEL} {_FIREWALLS} python python3".split()
)
"""Programs that would show a host the machine that runs the rehearsal, or change that machine."""


def install_programs(programs: Path) -> None:
    """Copy the stand-ins to ``programs``."""
    for folder in (
        _STANDINS / COMMON,
        _STANDINS / TOOLS,
        _STANDINS / AGENT,
        *sorted((_STANDINS / "faults").iterdir()),
    ):
        _copy(folder, programs / folder.name, mode=0o755)
    _copy(_STANDINS / PYTHON, programs / PYTHON, mode=0o644)


def install_tools(programs: Path, tree: Path, machine: Machine) -> None:
    """Install a host's tools in its tree, and link it to the machine's programs that it may run.

    Tools are hard links: a symbolic link of a host that leads out of its tree would not be followed (``rooted_path``).
    """
    for path in (*machine.tools, *(f"usr/bin/{name}" for name in machine.outputs)):
        tool = tree / path
        tool.parent.mkdir(parents=True, exist_ok=True)
        os.link(programs / TOOLS / (FIXED_OUTPUT if tool.name in machine.outputs else tool.name), tool)
    system = programs / "-".join((SYSTEM, *sorted(machine.missing_programs)))
    if not system.is_dir():
        _link_system(system, _NOT_FOR_HOSTS | machine.missing_programs)
    (tree / SYSTEM_LINK).symlink_to(system)


def search_path(programs: Path, tree: Path, faults: Iterable[str]) -> str:
    """The PATH of a host's commands; of the machine's own programs only those behind ``SYSTEM_LINK`` are on it."""
    of_faults = [programs / fault for fault in faults if (programs / fault).is_dir()]
    return ":".join(map(str, (*of_faults, programs / COMMON, tree / "usr/bin", tree / SYSTEM_LINK)))


def _copy(source: Path, target: Path, *, mode: int) -> None:
    target.mkdir(parents=True)
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        for name in (file.name, *_ALIASES.get(file.name, ())):
            shutil.copyfile(file, target / name)
            (target / name).chmod(mode)


def _link_system(target: Path, excluded: frozenset[str]) -> None:
    """Link the first program of each name on ``SYSTEM_PATH``, but for those that are ``excluded``."""
    target.mkdir()
    for folder in map(Path, SYSTEM_PATH.split(":")):
        for program in folder.iterdir() if folder.is_dir() else ():
            link = target / program.name
            if program.name not in excluded and not link.is_symlink():
                link.symlink_to(program)
