"""What a survey found on one host.

Sizes carry their unit in the name. A field that may be unknown is ``None``, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ionetctl.core.model.names import Digest, NodeId
from ionetctl.core.model.plan import Form
from ionetctl.core.observed import MachineFacts, SeenGpu

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A regular file on a host: digest of its content, permission bits, owner as ``user:group``."""

    path: str
    digest: Digest
    mode: int
    owner: str


@dataclass(frozen=True, slots=True)
class Disk:
    """Free space and mount options of a path. ``path`` is the path that was asked for, ``kind`` the file system's type.

    ``mount`` is where that file system is mounted, empty where that is unknown. ``remounts_read_only``: it becomes read-only
    at its first error.
    """

    path: str
    available_mib: int
    kind: str
    is_read_only: bool
    is_noexec: bool
    mount: str = ""
    remounts_read_only: bool = False


@dataclass(frozen=True, slots=True)
class NomadState:
    """The host's Nomad agent, running or installed.

    ``is_ours``: our manifest is there. ``agent_version`` is the installed program's, ``active`` systemd's ActiveState
    (``active``, ``inactive``, ``failed``, ``activating`` …), ``is_running``: there is a Nomad agent process, whoever
    started it. ``allocations`` is the number of allocation directories.
    """

    is_ours: bool
    active: str
    is_enabled: bool
    is_running: bool
    agent_version: str | None
    node_id: NodeId | None
    stamp: str | None
    has_introduction_token: bool
    allocations: int
    is_interrupted: bool
    """An apply was interrupted between its first change and its last."""
    config_files: tuple[str, ...] = ()
    """Every file in the configuration directory that the agent would read."""


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """What tells a machine from others beside its machine-id and client-id, as a survey saw it.

    ``place`` is the host's (``Host.place``); ``product_uuid`` is ``None`` where it is not the machine's own.
    """

    place: str
    host_key: str | None = None
    product_uuid: str | None = None
    gpu_uuids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the survey found on one host. Sizes in MiB, time in seconds since the epoch (controller's and host's)."""

    os_id: str
    os_version: str
    os_name: str
    kernel: str
    architecture: str
    """``uname -m`` as it came: ``x86_64``, ``aarch64`` …"""
    init: str
    """``systemd`` or the name of process 1."""
    is_root: bool
    clock_offset_s: float | None
    machine_id: str | None
    boot_id: str | None
    cpu_cores: int | None
    memory_mib: int | None
    disks: tuple[Disk, ...]
    gpus: tuple[SeenGpu, ...] | None
    """``None`` where they could not be counted."""
    gpu_source: str
    """How ``gpus`` was found out, or why it is unknown: see ``GpuReading.source``."""
    nomad: NomadState
    files: Mapping[str, RemoteFile]
    links: Mapping[str, str]
    manifest: Mapping[str, Digest]
    """Path → digest as last installed by ionetctl; empty where nothing was."""
    node_certificate: str | None
    """The PEM chain that the node presents (public)."""
    node_public_key: str | None = None
    """The public key of the private key that the host has made itself: a SubjectPublicKeyInfo in base64."""
    lock_owner: str | None = None
    lock_started_at: str | None = None
    fence: int = 0
    """How often the host's lock was taken, by whomever."""
    has_gzip: bool = True
    best_form: Form = Form.GZIP
    """The best form of a program that can be unpacked there."""
    has_tar: bool = True
    has_openssl: bool = True
    machine: MachineFacts = MachineFacts()  # noqa: RUF009  (frozen, so it can be shared)
    is_driver_hanging: bool = False
    driver_version: str | None = None
    """As NVML reports it; ``machine.driver`` has what files and kernel report."""
    cuda_version: str | None = None
    host_key: str | None = None
    """The fingerprint of the SSH key that the host proved to hold when it was surveyed."""
