"""What a rehearsal host pretends to be, as one value: its files, its programs and their answers, its GPUs and driver. Pure.

``sound_machine`` is a host that nothing is wrong with; ``conditions`` changes it. Paths are relative to the host's
root, and a file is its text: what the kernel would show in ``/proc`` and ``/sys`` is among them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.lab.cards import DRIVER_VERSION, Gpu, NvidiaDriver

if TYPE_CHECKING:
    from collections.abc import Mapping

WayOut = Literal["open", "refused", "timeout", "unreachable"]
Names = Literal["resolved", "unresolved", "astray"]
"""Whether the host's resolver knows names; astray, it leads to an address where nobody listens."""

KERNEL: Final = "6.8.0-45-generic"
LIBRARY_DIR: Final = "usr/lib/x86_64-linux-gnu"
ARCHITECTURE: Final = "proc/sys/kernel/arch"
"""Where there is none, the host is of this machine's architecture."""
MACHINE_ID: Final = "etc/machine-id"
HOSTNAME: Final = "proc/sys/kernel/hostname"
MEMINFO: Final = "proc/meminfo"
OS_KERNEL: Final = "proc/sys/kernel/osrelease"
OS_RELEASE: Final = "etc/os-release"
MOUNTS: Final = "proc/mounts"
MODULES: Final = "proc/modules"
MODULE_VERSION: Final = "proc/driver/nvidia/version"
SYSTEMD: Final = "run/lab/systemd"
"""Its version, as ``systemctl --version`` words it."""
ROOM: Final = "run/lab/room.kib"
INTERFACE: Final = "sys/class/net/eth0"
SAYS_DIR: Final = "run/lab/says"
"""What a program says whenever it is called, in a file of its name."""


@dataclass(frozen=True, slots=True)
class DockerDaemon:
    """What ``docker info`` shows; ``version`` ``None`` is a daemon that does not answer."""

    version: str | None = "27.3.1"
    cgroup_driver: str = "systemd"
    cgroup_version: str = "2"
    root_dir: str = "/var/lib/docker"
    runtimes: tuple[str, ...] = ("io.containerd.runc.v2", "nvidia", "runc")
    default_runtime: str = "runc"
    containers: tuple[str, ...] = ()
    """Names of those that run, each of an image of the same name."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the host's programs find the network: from which address, whether it lets them out, by which names, how far it is."""

    address: str = "10.77.0.1"
    way_out: WayOut = "open"
    names: Names = "resolved"
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """One host. ``gpus`` are those on its bus; ``driver`` is ``None`` where its library is not installed.

    ``tools`` are the paths of stand-ins that it has installed, ``says`` the texts of programs that always say the same,
    ``lacks`` programs that every system has and this one has not. ``links`` go from path to target, ``executables`` are
    programs that nobody calls here.
    """

    name: str
    gpus: tuple[Gpu, ...]
    driver: NvidiaDriver | None
    docker: DockerDaemon | None = field(default_factory=DockerDaemon)
    way: Way = field(default_factory=Way)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    executables: tuple[str, ...] = ()
    tools: frozenset[str] = frozenset()
    says: Mapping[str, str] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()
    has_foreign_nomad: bool = False


CNI_PLUGINS: Final = ("bridge", "firewall", "host-local", "loopback", "portmap")
_SAYS: Final[Mapping[str, str]] = {
    "apt-get": "",
    "dmesg": "[    0.000000] Linux version 6.8.0-45-generic (rehearsal)\n",
    "dpkg-query": "ii  nvidia-driver-550-server\n",
    "iptables": "-P OUTPUT ACCEPT\n",
    "nft": "",
    "nvidia-ctk": "NVIDIA Container Toolkit CLI version 1.17.2\n",
    "systemd-detect-virt": "none\n",
    "timedatectl": "NTP=yes\nNTPSynchronized=yes\n",
}
_TOOLS: Final = frozenset({"usr/bin/docker", "usr/bin/nvidia-smi", "usr/bin/python3"})


def sound_machine(
    name: str, *, cpu_cores: int, memory_gib: int, gpus: tuple[Gpu, ...], address: str = "10.77.0.1"
) -> Machine:
    """A host on bare metal that nothing is wrong with: a stock Ubuntu server with Docker, and a driver for its GPUs."""
    return Machine(
        name,
        gpus,
        NvidiaDriver(gpus) if gpus else None,
        way=Way(address),
        files={
            **_system_files(name),
            **_hardware_files(name, cpu_cores, memory_gib),
            **_network_files(name),
            MODULE_VERSION: f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {DRIVER_VERSION}  Thu Mar  7 06:12:00 UTC 2024\n",
            f"{LIBRARY_DIR}/libnvidia-ml.so.{DRIVER_VERSION}": "",
        },
        links={f"{LIBRARY_DIR}/libnvidia-ml.so.1": f"libnvidia-ml.so.{DRIVER_VERSION}"},
        executables=tuple(f"opt/cni/bin/{plugin}" for plugin in CNI_PLUGINS),
        tools=_TOOLS,
        says=_SAYS,
    )


def identity_of(name: str) -> str:
    """64 hexadecimal digits that are a host's own, the same in every rehearsal."""
    return hashlib.sha256(name.encode()).hexdigest()


def _system_files(name: str) -> dict[str, str]:
    return {
        OS_RELEASE: 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.1 LTS (rehearsal)"\n',
        "etc/hostname": f"{name}\n",
        MACHINE_ID: f"{identity_of(name)[:32]}\n",
        "proc/1/comm": "systemd\n",
        HOSTNAME: f"{name}\n",
        OS_KERNEL: f"{KERNEL}\n",
        MOUNTS: "/dev/nvme0n1p2 / ext4 rw,relatime 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec 0 0\n",
        MODULES: "".join(
            f"{module} 32768 0 - Live 0x0000000000000000\n"
            for module in ("nvidia", "br_netfilter", "bridge", "overlay")
        ),
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
        SYSTEMD: "255 (255.4-1ubuntu8.4)\n",
        ROOM: f"{800 << 20}\n",
    }


def _hardware_files(name: str, cpu_cores: int, memory_gib: int) -> dict[str, str]:
    processors = (f"processor\t: {number}\nmodel name\t: Rehearsal CPU\n\n" for number in range(cpu_cores))
    digits = identity_of(name)
    return {
        "proc/cpuinfo": "".join(processors),
        MEMINFO: (
            f"MemTotal:       {memory_gib << 20} kB\nSwapTotal:             0 kB\n"
            "HugePages_Total:       0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n"
        ),
        "sys/class/dmi/id/product_name": "Rehearsal Server\n",
        "sys/class/dmi/id/sys_vendor": "Loopback\n",
        f"{INTERFACE}/address": f"02:{':'.join(digits[place : place + 2] for place in range(0, 10, 2))}\n",
    }


def _network_files(name: str) -> dict[str, str]:
    header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    return {
        "etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n",
        f"{INTERFACE}/device/vendor": "0x8086\n",
        f"{INTERFACE}/mtu": "1500\n",
        f"{INTERFACE}/operstate": "up\n",
        f"{INTERFACE}/speed": "10000\n",
        "proc/net/route": f"{header}eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
    }
