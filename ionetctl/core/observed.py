"""What a host was seen to have, piece by piece: the records that ``model.Facts`` is made of. No I/O, no parsing.

Sizes and units stand in the names. ``None`` means that nobody could say, never zero, none or off; an empty tuple means
that somebody looked and found nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CgroupVersion = Literal["v1", "v2", "hybrid"]
FirewallKind = Literal["ufw", "firewalld", "nftables", "iptables"]
ReachFailure = Literal["unresolved", "refused", "timeout", "unreachable", "no_tool"]


# --- GPUs, as the probe reads them -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that computes on a GPU; ``name`` is its program's base name, empty where it could not be read."""

    pid: int
    name: str
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A MIG device: ``profile`` as NVIDIA writes it (``1g.5gb``), its own UUID."""

    uuid: str
    profile: str
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True)
class PcieLink:
    """Generation and width of a card's link, now and at most. An idle card lowers its generation, never its width."""

    generation: int | None = None
    generation_max: int | None = None
    width: int | None = None
    width_max: int | None = None


@dataclass(frozen=True, slots=True)
class GpuMemoryHealth:
    """ECC and what it has had to put out of use.

    Counts are aggregate over the card's life. ``pending_repair``: a retired page or a remapped row waits for a reset;
    ``has_remap_failed``: a row could not be remapped, the card is to be replaced.
    """

    is_ecc_on: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    retired_pages: int | None = None
    remapped_corrected: int | None = None
    remapped_uncorrected: int | None = None
    pending_repair: bool | None = None
    has_remap_failed: bool | None = None


@dataclass(frozen=True, slots=True)
class SeenGpu:
    """A GPU as the driver names it. All beyond the identity is known only where NVML was asked.

    ``is_lost``: NVML knows the card and cannot talk to it any more. ``nvlinks``: active links of those that the card
    has. ``fabric_state`` is NVML's word (``completed``, ``in_progress`` …) where the card has a fabric at all.
    """

    index: int
    name: str
    uuid: str
    memory_mib: int | None = None
    pci_bus_id: str | None = None
    is_lost: bool = False
    link: PcieLink = PcieLink()
    memory_health: GpuMemoryHealth = GpuMemoryHealth()
    power_limit_w: float | None = None
    power_default_w: float | None = None
    power_max_w: float | None = None
    temperature_c: int | None = None
    slowdown_c: int | None = None
    utilization_percent: int | None = None
    is_persistent: bool | None = None
    is_mig_on: bool | None = None
    mig: tuple[MigInstance, ...] = ()
    has_display: bool | None = None
    processes: tuple[GpuProcess, ...] | None = None
    nvlinks: int | None = None
    nvlinks_max: int | None = None
    fabric_state: str | None = None
    unreadable: tuple[str, ...] = ()
    """What NVML answered with an error other than "not supported", as ``question: error``."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What a probe says: ``gpus`` is ``None`` when nobody could count, and ``source`` then says why.

    ``source`` is ``nvml``, ``nvidia-smi`` (with what it complained of), ``pci`` (the bus has no NVIDIA device) or the
    reason why nobody could say. ``is_hanging``: the driver did not answer in time. ``driver_version`` is the loaded
    driver's word through NVML, ``cuda_version`` the newest CUDA that it runs (``12.4``).
    """

    gpus: tuple[SeenGpu, ...] | None
    source: str
    is_hanging: bool = False
    driver_version: str | None = None
    cuda_version: str | None = None
    nvml_version: str | None = None
    took_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Xid:
    """An NVIDIA driver error in this boot's kernel log (``NVRM: Xid``): 79 is a card that fell off its bus."""

    code: int
    pci_bus_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver as far as files and kernel tell.

    ``module_version`` is the loaded module's (``/proc/driver/nvidia/version``), ``library_version`` that of the
    libnvidia-ml that programs would load; the two differ after an upgrade without a reboot. ``is_nouveau_loaded``:
    the free driver has the cards.
    """

    module_version: str | None = None
    library_version: str | None = None
    package: str | None = None
    is_held: bool | None = None
    is_nouveau_loaded: bool | None = None
    is_secure_boot_on: bool | None = None


# --- the machine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reach:
    """One attempt to open a TCP connection from the host; ``rtt_ms`` is how long the handshake took.

    ``local_address`` and ``peer_address`` are the connection's two ends as the host sees them.
    """

    host: str
    port: int
    rtt_ms: float | None = None
    failure: ReachFailure | None = None
    local_address: str | None = None
    peer_address: str | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """A physical network interface; ``mac`` in lower case with colons."""

    name: str
    mac: str
    mtu: int | None = None
    is_up: bool | None = None
    speed_mbps: int | None = None
    has_default_route: bool = False


@dataclass(frozen=True, slots=True)
class Docker:
    """The Docker daemon. ``version`` ``None``: the client is there and the daemon did not answer."""

    version: str | None
    cgroup_driver: str | None = None
    cgroup_version: str | None = None
    root_dir: str | None = None
    runtimes: tuple[str, ...] = ()
    default_runtime: str | None = None
    is_snap: bool = False


@dataclass(frozen=True, slots=True)
class Firewall:
    """A firewall that is in force. ``blocks_outbound``: its policy for what leaves is to drop or reject."""

    kind: FirewallKind
    blocks_outbound: bool | None = None
    allows_rpc: bool | None = None
    """Where it blocks: whether a rule lets TCP 4647 out."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A process, unit or container that the host works for already; ``unit`` is the systemd unit it runs in."""

    name: str
    pid: int | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """All that surrounds the GPUs on a host: what the checks beyond the bare enrolment look at."""

    hostname: str | None = None
    systemd_version: int | None = None
    cgroups: CgroupVersion | None = None
    cgroup_controllers: tuple[str, ...] | None = None
    """Names of the controllers that can be used (``cpu``, ``memory``, ``pids`` …); read-only ones are left out."""
    cpu_model: str | None = None
    product: str | None = None
    """The machine's name in DMI, vendor first."""
    virtualization: str | None = None
    """systemd-detect-virt's word; ``none`` on bare metal."""
    swap_mib: int | None = None
    hugepages_mib: int | None = None
    is_time_synchronized: bool | None = None
    is_ntp_on: bool | None = None
    """Whether a time service runs; right after its start the clock is not synchronized yet."""
    has_python: bool | None = None
    package_manager: str | None = None
    """``apt``, ``dnf`` or another that was found."""
    needs_reboot: bool | None = None
    modules: tuple[str, ...] | None = None
    """Of the kernel modules that matter here (bridge, br_netfilter, overlay, nvidia, nouveau) those loaded or built in."""
    docker: Docker | None = None
    """``None``: no docker program."""
    toolkit_version: str | None = None
    """NVIDIA container toolkit (``nvidia-ctk --version``); ``None`` where it is not installed."""
    cni_plugins: tuple[str, ...] | None = None
    """Programs in /opt/cni/bin; ``None`` where there is no such directory."""
    driver: Driver = Driver()
    gpus_on_bus: int | None = None
    xids: tuple[Xid, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    reaches: tuple[Reach, ...] = ()
    firewalls: tuple[Firewall, ...] | None = None
    miners: tuple[Workload, ...] | None = None
    ionet_workers: tuple[Workload, ...] | None = None
    nomad_region: str | None = None
    """The region that the host's own Nomad configuration names."""
