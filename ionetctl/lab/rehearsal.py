"""Setting a rehearsal up and taking it down: files first, then the region, then the hosts, then the inventory.

It is what ``ionetctl lab`` and ``ionetctl demo`` call. Nothing needs root, nothing leaves the loopback interface.
"""

from __future__ import annotations

import json
import shutil
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import UsageError
from ionetctl.lab import certificates, processes
from ionetctl.lab.host.programs import install_programs, install_tools
from ionetctl.lab.host.tree import build_tree
from ionetctl.lab.places import Places
from ionetctl.lab.release import write_releases
from ionetctl.lab.site import (
    HOSTS_PER_PROCESS,
    MAX_HOSTS,
    NODE_POOL,
    LabSpec,
    SiteHost,
    inventory_text,
    plan_site,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ionetctl.lab.documents import Document

_READY_S: Final = 30.0
_READY_PER_HOST_S: Final = 0.05
_REGION: Final = "region"
_MARK: Final = "lab.json"
"""Says that a directory is a rehearsal's, so that nothing else is ever taken down or removed."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A rehearsal that is up. ``faults`` says which host has which."""

    directory: Path
    inventory: Path
    hosts: int
    region: str
    faults: Mapping[str, str]
    pids: Mapping[str, int]


def lab_up(spec: LabSpec) -> Lab:
    """Set a rehearsal up and leave it running; it serves when this returns.

    Raises ``UsageError`` for a request that cannot be met or a directory that is in use, ``LabError`` when a process does
    not come up (nothing is left running then).
    """
    if not 1 <= spec.hosts <= MAX_HOSTS:
        raise UsageError(
            "lab_hosts_invalid", f"{spec.hosts} hosts", f"between 1 and {MAX_HOSTS} can be rehearsed"
        )
    hosts = plan_site(spec)
    places = _prepare_directory(spec.directory)
    try:
        return _build(spec, places, hosts)
    except BaseException:
        processes.end_processes(places, processes.names(places))
        raise


def lab_down(directory: Path) -> list[str]:
    """End a rehearsal's processes, by id; its files stay. Returns the names of those that were running.

    Raises ``UsageError`` where there is no rehearsal.
    """
    places = Places(directory.resolve())
    if not (places.root / _MARK).is_file():
        raise UsageError(
            "lab_not_found", f"there is no rehearsal in {directory}", "see ionetctl lab up --help"
        )
    return processes.end_processes(places, processes.names(places))


def lab_run(spec: LabSpec, on_ready: Callable[[Lab], None], wait: Callable[[], object]) -> None:
    """A rehearsal in the foreground: up, ``on_ready``, then down as soon as ``wait`` returns or raises."""
    lab = lab_up(spec)
    try:
        on_ready(lab)
        wait()
    finally:
        lab_down(lab.directory)


def _prepare_directory(directory: Path) -> Places:
    """An empty directory for the rehearsal; the files of one that is down are replaced."""
    root = directory.resolve()
    places = Places(root)
    if root.exists() and any(root.iterdir()):
        if not (root / _MARK).is_file():
            hint = "name a directory that is empty or does not exist"
            raise UsageError("lab_directory_in_use", f"{directory} holds something else", hint)
        if any(processes.is_running(places, name) for name in processes.names(places)):
            hint = f"take it down first: ionetctl lab down --dir {directory}"
            raise UsageError("lab_running", f"a rehearsal runs in {directory}", hint)
        shutil.rmtree(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / _MARK).write_text('{"schema": "ionetctl.lab/1"}\n')
    for folder in (places.run, places.pki, places.hosts):
        folder.mkdir(mode=0o700)
    return places


def _build(spec: LabSpec, places: Places, hosts: list[SiteHost]) -> Lab:
    faults = {host.name: host.faults[0] for host in hosts if host.faults}
    places.faults.write_text(json.dumps(faults, indent=2) + "\n")
    pids = {_REGION: _start_region(spec, places)}
    install_programs(places.programs)
    for host in hosts:
        machine = host.machine
        build_tree(places.tree(host.name), machine)
        install_tools(places.programs, places.tree(host.name), machine)
    write_releases(places.artifacts, spec.nomad_version, spec.device_plugin_version, spec.size_bytes)
    port = _free_port(hosts[0].address)
    host_keys = {host.name: asyncssh.generate_private_key("ssh-ed25519") for host in hosts}
    pids |= _start_hosts(places, hosts, host_keys, port)
    ready = processes.wait_ready(places, _REGION, _READY_S)
    for name in pids.keys() - {_REGION}:
        processes.wait_ready(places, name, _READY_S + spec.hosts * _READY_PER_HOST_S)
    ports = {"ssh": port, "api": ready["api_port"], "rpc": ready["rpc_port"]}
    public_keys = {name: _public(key) for name, key in host_keys.items()}
    places.inventory.write_text(inventory_text(spec, hosts, public_keys, ports))
    return Lab(places.root, places.inventory, len(hosts), spec.region, faults, pids)


def _start_region(spec: LabSpec, places: Places) -> int:
    authority = certificates.new_authority(f"Rehearsal CA {spec.region}")
    authority.write(places.pki / "ca.pem", places.pki / "ca-key.pem")
    server = certificates.issue(authority, f"server.{spec.region}.nomad")
    server.write(places.pki / "server.pem", places.pki / "server-key.pem")
    client = certificates.issue(authority, f"cli.{spec.region}.nomad")
    client.write(places.pki / "cli.pem", places.pki / "cli-key.pem")
    certificates.write_private(places.token, f"{uuid.uuid4()}\n".encode())
    plan = {
        "region": spec.region,
        "nomad_version": spec.nomad_version,
        "enforcement": spec.enforcement,
        "node_pools": [NODE_POOL],
        "federated_regions": list(spec.federated_regions),
    }
    places.plan(_REGION).write_text(json.dumps(plan))
    return processes.start_process(places, _REGION, "ionetctl.lab.region.process")


def _start_hosts(
    places: Places, hosts: list[SiteHost], host_keys: Mapping[str, asyncssh.SSHKey], port: int
) -> dict[str, int]:
    client_key = asyncssh.generate_private_key("ssh-ed25519", comment="ionetctl rehearsal")
    certificates.write_private(places.identity, client_key.export_private_key())
    pids = {}
    for start in range(0, len(hosts), HOSTS_PER_PROCESS):
        name = f"hosts-{start // HOSTS_PER_PROCESS + 1}"
        chosen = [_host_plan(host, host_keys[host.name]) for host in hosts[start : start + HOSTS_PER_PROCESS]]
        plan = {"port": port, "client_key": _public(client_key), "hosts": chosen}
        certificates.write_private(places.plan(name), json.dumps(plan).encode())
        pids[name] = processes.start_process(places, name, "ionetctl.lab.host.process", name)
    return pids


def _host_plan(host: SiteHost, key: asyncssh.SSHKey) -> Document:
    exported = key.export_private_key().decode()
    return {"name": host.name, "address": host.address, "host_key": exported, "faults": list(host.faults)}


def _public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


def _free_port(address: str) -> int:
    with socket.socket() as listening:
        listening.bind((address, 0))
        return int(listening.getsockname()[1])
