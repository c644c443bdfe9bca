"""The programs of rehearsal hosts: stand-ins, and of this machine's own those that cannot do harm or mislead.

Where they lie: ``common`` is on every host's PATH, a folder named like a fault on that of the hosts that have it,
``tools`` are linked into the trees of the hosts that have them installed, ``system`` links to this machine's programs (a
folder more for each set of programs that some hosts lack).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.lab.host.machine import Machine

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMON: Final = "common"
TOOLS: Final = "tools"
SYSTEM: Final = "system"
PYTHON: Final = "python"
SAYS: Final = "says"
LENT: Final = "run/lab/system"
"""Where a host finds what this machine lends it."""
_STANDINS: Final = Path(__file__).parents[1] / "standins"
_ALSO_CALLED: Final = {"systemctl": ("journalctl", "nomad-config-validate")}
_PACKAGERS: Final = "apk apt apt-cache apt-get apt-mark dnf dpkg dpkg-query pacman rpm snap yum zypper"
_CONTAINERS: Final = "containerd docker dockerd nerdctl nomad nvidia-ctk podman"
_MACHINERY: Final = (
    "dmesg halt hostname hostnamectl journalctl loginctl poweroff reboot shutdown systemctl timedatectl"
)
_KERNEL: Final = "insmod ldconfig lspci modinfo modprobe mokutil nvidia-smi rmmod sysctl systemd-detect-virt"
_FIREWALLS: Final = "firewall-cmd ip6tables iptables nft ufw"
_NOT_FOR_HOSTS: Final = frozenset(
    f"{_PACKAGERS} {_CONTAINERS} {_MACHINERY} {_KERNEL} {_FIREWALLS} python python3".split()
)
"""Programs of this machine that would tell a host of the machine below it, or change that machine."""


def install_programs(programs: Path) -> None:
    """Copy the stand-ins to ``programs``."""
    for folder in (_STANDINS / COMMON, _STANDINS / TOOLS, *sorted((_STANDINS / "faults").iterdir())):
        _copy(folder, programs / folder.name, mode=0o755)
    _copy(_STANDINS / PYTHON, programs / PYTHON, mode=0o644)


def install_tools(programs: Path, tree: Path, machine: Machine) -> None:
    """Let a host have its tools, and what this machine lends it.

    Tools are hard links, since a host's links must not lead out of its tree.
    """
    for path in (*machine.tools, *(f"usr/bin/{name}" for name in machine.says)):
        tool = tree / path
        tool.parent.mkdir(parents=True, exist_ok=True)
        os.link(programs / TOOLS / (SAYS if tool.name in machine.says else tool.name), tool)
    lent = programs / "-".join((SYSTEM, *sorted(machine.lacks)))
    if not lent.is_dir():
        _link_system(lent, _NOT_FOR_HOSTS | machine.lacks)
    (tree / LENT).symlink_to(lent)


def search_path(programs: Path, tree: Path, faults: Iterable[str]) -> str:
    """The PATH of a host's commands; there is nothing of this machine in it but what it lends."""
    special = [programs / fault for fault in faults if (programs / fault).is_dir()]
    return ":".join(map(str, (*special, programs / COMMON, tree / "usr/bin", tree / LENT)))


def _copy(source: Path, target: Path, *, mode: int) -> None:
    target.mkdir(parents=True)
    for file in sorted(path for path in source.iterdir() if path.is_file()):
        for name in (file.name, *_ALSO_CALLED.get(file.name, ())):
            shutil.copyfile(file, target / name)
            (target / name).chmod(mode)


def _link_system(target: Path, kept_back: frozenset[str]) -> None:
    """The first program of each name, as the shell would find it."""
    target.mkdir()
    for folder in map(Path, SYSTEM_PATH.split(":")):
        for program in folder.iterdir() if folder.is_dir() else ():
            link = target / program.name
            if program.name not in kept_back and not link.is_symlink():
                link.symlink_to(program)
