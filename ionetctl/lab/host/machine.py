"""The description of a rehearsal host as one value: its files, programs and their output, GPUs and driver. Pure.

``sound_machine`` has no fault; ``faults.conditions`` makes faulty ones from it. Paths are relative to the host's root.
Files include those of ``/proc`` and ``/sys``, which a kernel would provide.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.lab.host.nvidia_driver import DRIVER_VERSION, Gpu, NvidiaDriver
from ionetctl.lab.host.standin_files import FREE_KIB_FILE, SYSTEMD_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

ConnectResult = Literal["open", "refused", "timeout", "unreachable"]
NameResolution = Literal["resolved", "unresolved", "astray"]
"""Whether names are resolved; ``astray``: every name resolves to an address where nothing listens."""

KERNEL: Final = "6.8.0-45-generic"
LIBRARY_DIR: Final = "usr/lib/x86_64-linux-gnu"
ARCHITECTURE: Final = "proc/sys/kernel/arch"
"""Without this file the host has the architecture of the machine that runs the rehearsal."""
MACHINE_ID: Final = "etc/machine-id"
HOSTNAME: Final = "proc/sys/kernel/hostname"
MEMINFO: Final = "proc/meminfo"
OS_KERNEL: Final = "proc/sys/kernel/osrelease"
OS_RELEASE: Final = "etc/os-release"
MOUNTS: Final = "proc/mounts"
MODULES: Final = "proc/modules"
MODULE_VERSION: Final = "proc/driver/nvidia/version"
INTERFACE: Final = "sys/class/net/eth0"
ROOT_DEVICE: Final = "sys/class/block/nvme0n1p2"


@dataclass(frozen=True, slots=True)
class DockerDaemon:
    """What ``docker info`` prints; with ``version`` ``None`` the daemon does not answer."""

    version: str | None = "27.3.1"
    cgroup_driver: str = "systemd"
    cgroup_version: str = "2"
    root_dir: str = "/var/lib/docker"
    runtimes: tuple[str, ...] = ("io.containerd.runc.v2", "nvidia", "runc")
    default_runtime: str = "runc"
    security_options: tuple[str, ...] = ("name=seccomp,profile=builtin", "name=cgroupns", "name=userns")
    containers: tuple[str, ...] = ()
    """Names of the running ones; each has an image of the same name."""


@dataclass(frozen=True, slots=True)
class Network:
    """The network as the host's programs see it. The field names are the keys of ``run/lab/network.json``.

    ``address`` is the host's source address, ``way_out`` how a connection attempt ends, ``delay_ms`` how long one takes.
    """

    address: str = "10.77.0.1"
    way_out: ConnectResult = "open"
    names: NameResolution = "resolved"
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """One host. ``gpus`` are those on its PCI bus; ``driver`` is ``None`` where its library is not installed.

    ``tools`` are the paths of installed stand-ins, ``outputs`` the texts of programs that always print the same (by
    program), ``missing_programs`` usual programs that this host does not have. ``links`` maps path to target.
    ``executables`` are paths of programs that must exist and are never run.
    """

    name: str
    gpus: tuple[Gpu, ...]
    driver: NvidiaDriver | None
    docker: DockerDaemon | None = field(default_factory=DockerDaemon)
    network: Network = field(default_factory=Network)
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    executables: tuple[str, ...] = ()
    tools: frozenset[str] = frozenset()
    outputs: Mapping[str, str] = field(default_factory=dict)
    missing_programs: frozenset[str] = frozenset()
    has_foreign_nomad: bool = False


CNI_PLUGINS: Final = ("bridge", "firewall", "host-local", "loopback", "portmap")
_OUTPUTS: Final[Mapping[str, str]] = {
    "apt-get": "",
    "dmesg": "[    0.000000] Linux version 6.8.0-45-generic (rehearsal)\n",
    "dpkg-query": "ii  nvidia-driver-550-server\n",
    "iptables": "-P OUTPUT ACCEPT\n",
    "modprobe": "",
    "nft": "",
    "nvidia-ctk": "NVIDIA Container Toolkit CLI version 1.17.2\n",
    "sshd": "authorizedkeyscommand none\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n",
    "systemd-detect-virt": "none\n",
    "timedatectl": "NTP=yes\nNTPSynchronized=yes\n",
    "unshare": "nosymfollow\n",
}
_TOOLS: Final = frozenset({"usr/bin/docker", "usr/bin/nvidia-smi", "usr/bin/python3"})


def sound_machine(
    name: str, *, cpu_cores: int, memory_gib: int, gpus: tuple[Gpu, ...], address: str = "10.77.0.1"
) -> Machine:
    """A host without faults: a bare-metal Ubuntu server with Docker, and with an NVIDIA driver where it has GPUs."""
    return Machine(
        name,
        gpus,
        NvidiaDriver(gpus) if gpus else None,
        network=Network(address),
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
        outputs=_OUTPUTS,
    )


def host_digest(name: str) -> str:
    """64 hexadecimal digits derived from the host's name: its machine-id and MAC address are parts of them."""
    return hashlib.sha256(name.encode()).hexdigest()


def _system_files(name: str) -> dict[str, str]:
    return {
        OS_RELEASE: 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.1 LTS (rehearsal)"\n',
        "etc/hostname": f"{name}\n",
        MACHINE_ID: f"{host_digest(name)[:32]}\n",
        "proc/1/comm": "systemd\n",
        HOSTNAME: f"{name}\n",
        OS_KERNEL: f"{KERNEL}\n",
        MOUNTS: "/dev/nvme0n1p2 / ext4 rw,relatime 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec 0 0\n",
        MODULES: "".join(
            f"{module} 32768 0 - Live 0x0000000000000000\n"
            for module in ("nvidia", "br_netfilter", "bridge", "overlay")
        ),
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
        SYSTEMD_FILE: "255 (255.4-1ubuntu8.4)\n",
        FREE_KIB_FILE: f"{800 << 20}\n",
    }


def _hardware_files(name: str, cpu_cores: int, memory_gib: int) -> dict[str, str]:
    processors = (f"processor\t: {number}\nmodel name\t: Rehearsal CPU\n\n" for number in range(cpu_cores))
    digits = host_digest(name)
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
