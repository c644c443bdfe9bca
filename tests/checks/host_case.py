"""Every check's cases as data: what it looks for, and the controls on which it must be silent.

A case changes the sample host, its facts, what was seen of the machine, or its first card. ``expected`` are the
findings in order, each ``code severity``, and ``message`` what the first of them says, where the words depend on the
case.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from ionetctl.core.model.facts import Disk, Facts
from ionetctl.core.model.host import GpuPromise, Host
from ionetctl.core.observed import (
    Docker,
    Driver,
    Firewall,
    GpuMemoryHealth,
    GpuProcess,
    Interface,
    MachineFacts,
    PcieLink,
    Reach,
    Rig,
    SeenGpu,
)
from tests.support.sample import BARE, HOST

Fields = dict[str, Any]

DOCKER: Final = Docker(
    "27.3.1", "systemd", "2", "/var/lib/docker", ("io.containerd.runc.v2", "nvidia", "runc")
)
CNI: Final = ("bridge", "dhcp", "firewall", "host-local", "loopback", "portmap")
DRIVER: Final = Driver(module_version="550.54.15", library_version="550.54.15", package="nvidia-driver-550")
SEEN: Final = MachineFacts(
    hostname="rey1-a01-g1",
    systemd_version=255,
    cgroups="v2",
    cgroup_controllers=("cpuset", "cpu", "io", "memory", "hugetlb", "pids"),
    swap_mib=0,
    hugepages_mib=0,
    has_mitigations=True,
    is_on_stick=False,
    is_time_synchronized=True,
    is_ntp_on=True,
    needs_reboot=False,
    modules=("bridge", "br_netfilter", "nvidia", "overlay"),
    docker=DOCKER,
    is_docker_remapped=True,
    has_landlock=True,
    can_refuse_links=True,
    loopback_ports=(),
    toolkit_version="1.17.0",
    cni_plugins=CNI,
    driver=DRIVER,
    gpus_on_bus=2,
    xids=(),
    interfaces=(Interface("eno1", "02:00:00:00:00:01", 1500, is_up=True, has_default_route=True),),
    reaches=(Reach("nomad-1", 4647, 12.5, local_address="10.20.1.1", peer_address="10.0.0.1"),),
    firewalls=(),
    miners=(),
    ionet_workers=(),
)
"""A host on which everything was looked at, and nothing is wrong."""

CARD: Final = SeenGpu(
    0,
    "NVIDIA GeForce RTX 4090",
    "GPU-1",
    24_564,
    link=PcieLink(1, 4, 16, 16),
    power_limit_w=450.0,
    power_default_w=450.0,
    temperature_c=45,
    slowdown_c=95,
    is_persistent=True,
    is_mig_on=False,
    has_display=False,
    processes=(),
)
NO_GPU: Final = {"gpus": None, "gpu_source": "no driver"}
ON_BUS: Final = {"driver": Driver(), "gpus_on_bus": 2}


@dataclass(frozen=True)
class Case:
    """``card`` and ``second`` change the two cards."""

    expected: tuple[str, ...] = ()
    host: Fields = field(default_factory=dict)
    facts: Fields = field(default_factory=dict)
    machine: Fields = field(default_factory=dict)
    card: Fields = field(default_factory=dict)
    second: Fields = field(default_factory=dict)
    message: str = ""
    hint: str = ""
    besides: str = ""
    """A code that the case is not about: its words are not looked at."""

    @property
    def host_and_facts(self) -> tuple[Host, Facts]:
        """The host and its facts."""
        first = replace(CARD, **self.card)
        other = replace(CARD, index=1, uuid="GPU-2")
        other = replace(other, **self.second)
        machine = replace(SEEN, **self.machine)
        facts = replace(BARE, machine=machine, gpus=(first, other), driver_version="550.54.15")
        return replace(HOST, **self.host), replace(facts, **self.facts)


def disk(path: str = "/opt/nomad", available_mib: int = 50_000, kind: str = "ext4", **rest: Any) -> Fields:
    return disks((path, available_mib), kind=kind, **rest)


def disks(*places: tuple[str, int], kind: str = "ext4", **rest: Any) -> Fields:
    """Several places with their free MiB, all of this kind and with these rights and mount."""
    fields = {"is_read_only": False, "is_noexec": False} | rest
    return {"disks": tuple(Disk(path, available_mib, kind, **fields) for path, available_mib in places)}


HIVE: Final = Rig("HiveOS", "0.6-201", "1234567", "rig07")


def reached(*failures: str | None, rtt_ms: float = 12.5) -> tuple[Reach, ...]:
    """One attempt for each, to ``s0``, ``s1`` …; ``None`` succeeds."""
    return tuple(
        Reach(f"s{number}", 4647, None if failure else rtt_ms, failure)  # type: ignore[arg-type]
        for number, failure in enumerate(failures)
    )


def promised(model: str | None = None, count: int | None = None) -> Fields:
    return {"gpus": GpuPromise(model, count)}


FOREIGN: Final = replace(
    BARE.nomad, active="active", is_running=True, agent_version="Nomad v1.9.0", allocations=3
)
OURS: Final = replace(BARE.nomad, is_ours=True, active="active", is_running=True, allocations=2)
BLOCKING_FIREWALL: Final = Firewall("ufw", blocks_outbound=True, allows_rpc=False)
UNKNOWN_PROCESS: Final = (GpuProcess(7, "python3"),)


def health(**changes: object) -> Fields:
    return {"memory_health": GpuMemoryHealth(**changes)}  # type: ignore[arg-type]
