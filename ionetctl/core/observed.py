"""Hardware and software found on a host: the records that ``model.facts.Facts`` is made of. No I/O, no parsing.

Units are in the names. ``None`` means unknown, never zero, none or off; an empty tuple means that there is nothing.
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
    """A compute process on a GPU; ``name`` is its program's base name, empty where it could not be read."""

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
    """Generation and width of a GPU's PCIe link, now and at most. An idle GPU lowers the generation, never the width."""

    generation: int | None = None
    generation_max: int | None = None
    width: int | None = None
    width_max: int | None = None


@dataclass(frozen=True, slots=True)
class GpuMemoryHealth:
    """ECC errors, retired pages and remapped rows, counted over the GPU's life.

    ``pending_repair``: a retired page or a remapped row takes effect at the next reset; ``has_remap_failed``: a row could
    not be remapped, the GPU must be replaced.
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
    """A GPU as the driver reports it. All beyond the identity is known only through NVML.

    ``is_lost``: NVML or nvidia-smi lists the GPU and cannot access it any more. ``nvlinks``: the number of active links, of
    ``nvlinks_max``. ``fabric_state`` is NVML's (``completed``, ``in_progress`` …) where the GPU is in a fabric.
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
    """A probe's result; ``gpus`` is ``None`` where they could not be counted.

    ``source`` is ``nvml``, ``nvidia-smi`` (with its error), ``pci`` (the bus has no NVIDIA device) or the reason why
    ``gpus`` is unknown. ``is_hanging``: the driver did not answer in time. ``driver_version`` is the loaded driver's, by
    NVML; ``cuda_version`` the newest CUDA version that it supports (``12.4``).
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
    """An NVIDIA driver error in this boot's kernel log (``NVRM: Xid``): 79 is a GPU that has fallen off the bus.

    ``pci_bus_id`` is empty where the log does not name it.
    """

    code: int
    pci_bus_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Driver:
    """The NVIDIA driver, from files and kernel.

    ``module_version`` is the loaded module's (``/proc/driver/nvidia/version``), ``library_version`` that of the
    libnvidia-ml that programs would load; the two differ after an upgrade without a reboot. ``is_nouveau_loaded``:
    the free driver is loaded, and may use the GPUs. ``is_run_file``: NVIDIA's installer put it there, no package owns it.
    ``held`` are packages of a driver that are on hold.
    """

    module_version: str | None = None
    library_version: str | None = None
    package: str | None = None
    held: tuple[str, ...] | None = None
    is_run_file: bool | None = None
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
    """The Docker daemon. ``version`` ``None``: the client is installed and the daemon did not answer."""

    version: str | None
    cgroup_driver: str | None = None
    cgroup_version: str | None = None
    root_dir: str | None = None
    runtimes: tuple[str, ...] = ()
    default_runtime: str | None = None
    is_snap: bool = False


@dataclass(frozen=True, slots=True)
class Firewall:
    """An active firewall. ``blocks_outbound``: its policy for outbound traffic is to drop or reject."""

    kind: FirewallKind
    blocks_outbound: bool | None = None
    allows_rpc: bool | None = None
    """Where it blocks: whether a rule lets TCP 4647 out."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A miner or io.net worker found on the host: a process, unit or container; ``unit`` is its systemd unit."""

    name: str
    pid: int | None = None
    unit: str | None = None


MiningSignKind = Literal["unit", "crontab", "start_file", "screen", "process"]


@dataclass(frozen=True, slots=True)
class MiningSign:
    """Something that mines or will start a miner; ``name`` is a unit's, a screen session's, a program's, or a file's path."""

    kind: MiningSignKind
    name: str


@dataclass(frozen=True, slots=True)
class Rig:
    """A mining system on the host, and what its panel calls the host. Its password is never read."""

    system: str
    version: str | None = None
    rig_id: str | None = None
    rig_name: str | None = None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Facts of the machine beyond those that an enrolment needs; the checks use them."""

    hostname: str | None = None
    systemd_version: int | None = None
    verifies_signatures: bool | None = None
    """Whether its ssh-keygen checks signatures (OpenSSH 8.2 and later); ``None`` where there is none."""
    cgroups: CgroupVersion | None = None
    cgroup_controllers: tuple[str, ...] | None = None
    """Names of the controllers that can be used (``cpu``, ``memory``, ``pids`` …); read-only ones are left out."""
    cpu_model: str | None = None
    product: str | None = None
    """The machine's name in DMI, vendor first."""
    product_uuid: str | None = None
    """The machine's UUID in DMI, in lower case; cheap boards have one that is not theirs alone."""
    virtualization: str | None = None
    """As systemd-detect-virt reports it; ``none`` on bare metal."""
    swap_mib: int | None = None
    hugepages_mib: int | None = None
    has_mitigations: bool | None = None
    """Whether the kernel's command line leaves the mitigations of processor faults on."""
    is_on_stick: bool | None = None
    """Whether the root file system is on a USB device or a memory card."""
    unpartitioned_mib: int | None = None
    """What no partition has, of the disk on which the root's partition is."""
    is_time_synchronized: bool | None = None
    is_ntp_on: bool | None = None
    """Whether a time service runs; right after its start the clock is not synchronized yet."""
    has_python: bool | None = None
    package_manager: str | None = None
    """``apt``, ``dnf`` or another that was found."""
    needs_reboot: bool | None = None
    modules: tuple[str, ...] | None = None
    """Those of bridge, br_netfilter, overlay, nvidia and nouveau that are loaded or built into the kernel."""
    docker: Docker | None = None
    """``None``: no docker program, or Podman's stand-in for it."""
    is_docker_podman: bool = False
    is_docker_remapped: bool | None = None
    """Whether Docker gives its containers users of their own: their root is none of the host's then."""
    has_landlock: bool | None = None
    """Whether processes can fence themselves with the kernel's Landlock."""
    can_refuse_links: bool | None = None
    """Whether a mount can be told to follow no symbolic link (``nosymfollow``)."""
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
    """Processes that are known miners."""
    rig: Rig | None = None
    mining_signs: tuple[MiningSign, ...] | None = None
    watchdog_cards: tuple[str, ...] = ()
    """Processes that feed a card which would reset the board without them."""
    is_vpn_by_rig: bool = False
    """The mining system started the VPN that runs; nobody else would."""
    ionet_workers: tuple[Workload, ...] | None = None
    loopback_ports: tuple[int, ...] | None = None
    """TCP ports on which something listens for the host itself alone, but for Nomad's; at most 32."""
    nomad_region: str | None = None
    """The region that the host's own Nomad configuration names."""
    nomad_drivers: tuple[str, ...] | None = None
    """The task drivers that ionetctl's configuration on the host lets jobs use; ``None`` where it limits them not."""
