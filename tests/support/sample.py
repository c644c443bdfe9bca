"""A host, its facts and its bundle, to be varied by ``dataclasses.replace``."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ionetctl.core import host_paths
from ionetctl.core.model.facts import Disk, Facts, NomadState, RemoteFile
from ionetctl.core.model.host import GpuPromise, Host
from ionetctl.core.model.inventory import Issuer, RegionSettings, RegionTls, TaskDriver
from ionetctl.core.model.names import Digest, HostName, NodeId, RegionName
from ionetctl.core.model.node import Device, NodeView
from ionetctl.core.model.plan import Bundle, Kind, Program
from ionetctl.core.model.secret import SecretRef
from ionetctl.core.observed import SeenGpu
from ionetctl.plan.bundle import Door, Subject, build_bundle, new_stamp, sha256, with_door, with_stamp

NONCE: Final = "0123456789ab"
NODE_ID: Final = NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53")
EU_NORTH: Final = RegionName("eu-north")

HOST: Final = Host(HostName("rey1-a01-g1"), "10.20.1.1", EU_NORTH, "rey1", rack="a01", node_pool="gpu")

REGION: Final = RegionSettings(
    EU_NORTH,
    ("https://nomad-1.eu-north.example:4646",),
    ("nomad-1.eu-north.example:4647",),
    SecretRef("env", "TOKEN"),
    RegionTls(
        "/pki/ca.pem", "server.eu-north.nomad", None, Issuer("/pki/ca.pem", SecretRef("file", "/pki/key"))
    ),
)

OWN_KEYS: Final = replace(
    REGION,
    tls=replace(REGION.tls, node=Issuer("/pki/ca.pem", SecretRef("file", "/pki/key"), key_on_host=True)),
)
"""The same region where hosts make their private keys themselves."""

NOMAD: Final = Program(
    *("nomad", "2.0.5", "amd64", Digest("aa" * 32), 110_000_000),
    *("/cache/nomad.gz", 32_000_000, Digest("a9" * 32)),
)
PLUGIN: Final = Program(
    *("nomad-device-nvidia", "1.1.0", "amd64", Digest("bb" * 32), 21_000_000),
    *("/cache/plugin.gz", 8_000_000, Digest("b9" * 32)),
)

BARE_NOMAD: Final = NomadState(
    is_ours=False,
    active="inactive",
    is_enabled=False,
    is_running=False,
    agent_version=None,
    node_id=None,
    stamp=None,
    has_introduction_token=False,
    allocations=0,
    is_interrupted=False,
)

BARE: Final = Facts(
    os_id="ubuntu",
    os_version="24.04",
    os_name="Ubuntu 24.04.3 LTS",
    kernel="6.8.0-45-generic",
    architecture="x86_64",
    init="systemd",
    is_root=True,
    clock_offset_s=0.2,
    machine_id="a" * 32,
    boot_id="6a2e6f7c-0000-4000-8000-000000000001",
    cpu_cores=16,
    memory_mib=32_000,
    disks=(Disk("/opt/nomad", 50_000, "ext4", is_read_only=False, is_noexec=False),),
    gpus=(
        SeenGpu(0, "NVIDIA GeForce RTX 4090", "GPU-1", 24_564),
        SeenGpu(1, "NVIDIA GeForce RTX 4090", "GPU-2", 24_564),
    ),
    gpu_source="nvidia-smi",
    nomad=BARE_NOMAD,
    files={},
    links={},
    manifest={},
    node_certificate=None,
)
"""A host that nobody has touched yet."""


DOCKER: Final[tuple[TaskDriver, ...]] = ("docker",)


SIGNERS: Final = ("ssh-ed25519 AAAAone", "sk-ssh-ed25519@openssh.com AAAAtwo")
VERIFYING: Final = replace(BARE, machine=replace(BARE.machine, verifies_signatures=True))
"""A host that can have a maintenance door."""


def subject(
    host: Host = HOST,
    facts: Facts = BARE,
    drivers: tuple[TaskDriver, ...] = DOCKER,
    region: RegionSettings = REGION,
    signers: tuple[str, ...] = (),
) -> Subject:
    """What the host's bundle is made of; with the device plugin where GPUs are wanted."""
    plugin = None if host.gpus.count == 0 else PLUGIN
    plain = Subject(host, host.name, facts, region, b"CA PEM\n", NOMAD, plugin, drivers)
    return with_door(plain, Door(signers, b"#!/bin/sh\n"))


def bundle(
    host: Host = HOST,
    facts: Facts = BARE,
    drivers: tuple[TaskDriver, ...] = DOCKER,
    region: RegionSettings = REGION,
    signers: tuple[str, ...] = (),
) -> Bundle:
    """The host's bundle."""
    return build_bundle(subject(host, facts, drivers, region, signers))


def converged(wanted: Bundle, facts: Facts = BARE, nonce: str = NONCE) -> Facts:
    """The facts of a host that has everything of its bundle and runs it."""
    stamp = new_stamp(wanted, nonce)
    minted = {Kind.CERTIFICATE: b"chain", Kind.KEY: b"key", Kind.OWN_KEY: b"key"}
    not_sent = {host_paths.NODE_CERT, host_paths.NODE_KEY} if wanted.key_on_host else set()
    files = {}
    for file in wanted.files:
        if file.kind is Kind.LINK:
            continue
        content = minted.get(file.kind, with_stamp(file.content, stamp))
        digest = file.digest if file.kind is Kind.PROGRAM else sha256(content)
        files[file.path] = RemoteFile(file.path, digest, file.mode, file.owner)
    return replace(
        facts,
        files=files,
        links={file.path: file.target for file in wanted.files if file.kind is Kind.LINK},
        manifest={path: file.digest for path, file in files.items() if path not in not_sent},
        node_certificate="chain",
        machine=replace(facts.machine, nomad_drivers=("docker",)),
        nomad=replace(
            BARE_NOMAD,
            is_ours=True,
            active="active",
            is_enabled=True,
            is_running=True,
            agent_version="Nomad v2.0.5",
            node_id=NODE_ID,
            stamp=stamp,
            config_files=(host_paths.CLIENT_CONFIG, host_paths.DOCKER_CONFIG, host_paths.NVIDIA_CONFIG),
        ),
    )


def drifted(wanted: Bundle) -> Facts:
    """The facts of a converged host on which somebody edited Docker's configuration."""
    facts = converged(wanted)
    edited = replace(facts.files[host_paths.DOCKER_CONFIG], digest=Digest("0" * 64))
    return replace(facts, files={**facts.files, host_paths.DOCKER_CONFIG: edited})


def promised(model: str | None, count: int | None) -> Host:
    """The host with another promise of GPUs."""
    return replace(HOST, gpus=GpuPromise(model, count))


CARDS: Final = (Device("nvidia", "gpu", "NVIDIA GeForce RTX 4090", ("GPU-1", "GPU-2"), 2, 24_564),)
"""The GPUs of ``BARE`` as a region shows them."""


def view(
    name: str = HOST.name,
    node_id: NodeId = NODE_ID,
    *,
    status: str = "ready",
    eligibility: str = "eligible",
    pool: str = "gpu",
    devices: tuple[Device, ...] | None = CARDS,
) -> NodeView:
    """The host's node as its region lists it."""
    return NodeView(
        node_id,
        name,
        "10.20.1.1",
        "rey1",
        pool,
        "",
        status,
        eligibility,
        "2.0.5",
        ("docker",),
        devices,
        ("nvidia", "runc"),
    )
