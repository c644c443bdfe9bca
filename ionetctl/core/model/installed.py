"""What an apply leaves on a host with a maintenance door, as the record keeps it: enough to plan a change without looking there.

It has digests of what is secret, never the content. A host of eight GPUs takes about 3 KiB.
"""

from __future__ import annotations

import msgspec

from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Form


class InstalledFile(msgspec.Struct, frozen=True, array_like=True):
    """A file or program; the digest of what the host itself makes is not known, and empty."""

    path: str
    digest: Digest
    mode: int
    owner: str


class InstalledGpu(msgspec.Struct, frozen=True, omit_defaults=True):
    """What node metadata and the device plugin's configuration are made of; ``mig`` are UUIDs and profiles of instances."""

    index: int
    name: str
    uuid: str
    memory_mib: int | None = None
    power_w: float | None = None
    mig: tuple[tuple[str, str], ...] = ()


class Installed(msgspec.Struct, frozen=True, omit_defaults=True):
    """The managed files and links, and of the survey what a bundle is made of."""

    files: tuple[InstalledFile, ...]
    links: dict[str, str]
    architecture: str
    form: Form = Form.GZIP
    os_id: str = ""
    os_version: str = ""
    machine_id: str | None = None
    memory_mib: int | None = None
    gpus: tuple[InstalledGpu, ...] | None = None
    driver: str | None = None
    cuda: str | None = None
    cpu: str | None = None
    product: str | None = None
    virtualization: str | None = None
    rig: tuple[str, str | None, str | None] | None = None
    """Mining system, and what its panel calls the host: id and name."""
    drivers: tuple[str, ...] | None = None
    """The task drivers that jobs may use there."""
