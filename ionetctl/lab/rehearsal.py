"""Sets a rehearsal up and takes it down, for ``ionetctl lab`` and ``ionetctl demo``.

The order is: region, files of the hosts, hosts, inventory. Needs no root; everything listens on loopback addresses.
"""

from __future__ import annotations

import errno
import json
import shutil
import socket
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.core.errors import UsageError
from ionetctl.lab import certificates, processes
from ionetctl.lab.host.file_tree import build_tree
from ionetctl.lab.host.programs import install_programs, install_tools
from ionetctl.lab.modelled.kinds import kind_of, refuse_unmodelled, template_plan, templates_of
from ionetctl.lab.paths import LabPaths
from ionetctl.lab.release_mirror import write_releases
from ionetctl.lab.site import (
    MAX_HOSTS,
    NODE_POOL,
    LabSpec,
    SiteHost,
    inventory_text,
    plan_site,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ionetctl.lab.json_object import JsonObject

_READY_TIMEOUT_S: Final = 30.0
_READY_TIMEOUT_PER_HOST_S: Final = 0.05
_PORT_TRIES: Final = 20
_REGION: Final = "region"
_MARKER: Final = "lab.json"
"""Marks a directory as a rehearsal's: no other directory is taken down or removed."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A rehearsal that is up. ``faults`` maps hosts to faults, ``pids`` process names to process ids."""

    directory: Path
    inventory: Path
    hosts: int
    region: str
    faults: Mapping[str, str]
    pids: Mapping[str, int]


def lab_up(spec: LabSpec) -> Lab:
    """Set a rehearsal up; returns once all its processes serve, and leaves them running.

    Raises ``UsageError`` for an impossible number of hosts or faults or a directory that is in use, and ``LabError`` when
    a process does not start; no process is left running then.
    """
    if not 1 <= spec.hosts <= MAX_HOSTS:
        raise UsageError(
            "lab_hosts_invalid", f"{spec.hosts} hosts", f"between 1 and {MAX_HOSTS} can be rehearsed"
        )
    hosts = plan_site(spec)
    if spec.modelled:
        refuse_unmodelled(hosts)
    paths = _prepare_directory(spec.directory)
    try:
        return _build(spec, paths, hosts)
    except BaseException:
        processes.end_processes(paths, processes.process_names(paths))
        raise


def lab_down(directory: Path) -> list[str]:
    """End a rehearsal's processes and keep its files; returns the names of the processes that were running.

    Raises ``UsageError`` when the directory has no rehearsal, ``LabError`` when a process does not end.
    """
    paths = LabPaths(directory.resolve())
    if not (paths.root / _MARKER).is_file():
        raise UsageError(
            "lab_not_found", f"there is no rehearsal in {directory}", "see ionetctl lab up --help"
        )
    return processes.end_processes(paths, processes.process_names(paths))


def lab_run(spec: LabSpec, on_ready: Callable[[Lab], None], wait: Callable[[], object]) -> None:
    """Set a rehearsal up, call ``on_ready`` and ``wait``, and take it down when ``wait`` returns or raises."""
    lab = lab_up(spec)
    try:
        on_ready(lab)
        wait()
    finally:
        lab_down(lab.directory)


def _prepare_directory(directory: Path) -> LabPaths:
    """Create the directory; the files of a rehearsal that is down are removed. Raises ``UsageError`` when it is in use."""
    root = directory.resolve()
    paths = LabPaths(root)
    if root.exists() and any(root.iterdir()):
        if not (root / _MARKER).is_file():
            hint = "name a directory that is empty or does not exist"
            raise UsageError("lab_directory_in_use", f"{directory} holds something else", hint)
        if any(processes.is_running(paths, name) for name in processes.process_names(paths)):
            hint = f"take it down first: ionetctl lab down --dir {directory}"
            raise UsageError("lab_running", f"a rehearsal runs in {directory}", hint)
        shutil.rmtree(root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / _MARKER).write_text('{"schema": "ionetctl.lab/1"}\n')
    for subdirectory in (paths.run, paths.pki, paths.hosts):
        subdirectory.mkdir(mode=0o700)
    return paths


def _build(spec: LabSpec, paths: LabPaths, hosts: list[SiteHost]) -> Lab:
    faults = {host.name: host.faults[0] for host in hosts if host.faults}
    paths.faults.write_text(json.dumps(faults, indent=2) + "\n")
    pids = {_REGION: _start_region(spec, paths)}
    install_programs(paths.programs)
    write_releases(paths.artifacts, spec.nomad_version, spec.device_plugin_version, spec.nomad_size_bytes)
    addresses = [host.address for host in hosts]
    port = port_free_on_all(addresses, (_free_port(addresses[0]) for _ in range(_PORT_TRIES)))
    host_keys = {host.name: asyncssh.generate_private_key("ssh-ed25519") for host in hosts}
    pids |= _start_hosts(spec, paths, hosts, host_keys, port)
    ready = processes.wait_ready(paths, _REGION, _READY_TIMEOUT_S)
    other_ports: dict[str, int] = {}
    for name in pids.keys() - {_REGION}:
        serving = processes.wait_ready(paths, name, _READY_TIMEOUT_S + spec.hosts * _READY_TIMEOUT_PER_HOST_S)
        other_ports |= serving.get("ports", {})
    ports = {"ssh": port, "api": ready["api_port"], "rpc": ready["rpc_port"]}
    public_keys = {name: _public(key) for name, key in host_keys.items()}
    paths.inventory.write_text(inventory_text(spec, hosts, public_keys, ports, other_ports))
    return Lab(paths.root, paths.inventory, len(hosts), spec.region, faults, pids)


def _start_region(spec: LabSpec, paths: LabPaths) -> int:
    certificates.write_region_pki(paths.pki, spec.region)
    certificates.write_private(paths.token, f"{uuid.uuid4()}\n".encode())
    plan = {
        "region": spec.region,
        "nomad_version": spec.nomad_version,
        "enforcement": spec.enforcement,
        "node_pools": [NODE_POOL],
        "federated_regions": list(spec.federated_regions),
    }
    paths.plan(_REGION).write_text(json.dumps(plan))
    return processes.start_process(paths, _REGION, "ionetctl.lab.region.process")


def _start_hosts(
    spec: LabSpec,
    paths: LabPaths,
    hosts: list[SiteHost],
    host_keys: Mapping[str, asyncssh.SSHKey],
    port: int,
) -> dict[str, int]:
    client_key = asyncssh.generate_private_key("ssh-ed25519", comment="ionetctl rehearsal")
    certificates.write_private(paths.identity, client_key.export_private_key())
    pids = {}
    for number, start in enumerate(range(0, len(hosts), spec.hosts_per_process), 1):
        name = f"hosts-{number}"
        chosen = hosts[start : start + spec.hosts_per_process]
        templates = templates_of(chosen, number) if spec.modelled else {}
        for host in templates.values() if spec.modelled else chosen:
            _install_host(paths, host)
        plan: JsonObject = {
            "port": port,
            "client_key": _public(client_key),
            "hosts": [_host_plan(host, host_keys[host.name], templates) for host in chosen],
            "templates": [template_plan(template) for template in templates.values()],
        }
        certificates.write_private(paths.plan(name), json.dumps(plan).encode())
        module = "ionetctl.lab.modelled.process" if spec.modelled else "ionetctl.lab.host.process"
        pids[name] = processes.start_process(paths, name, module, name)
    return pids


def _install_host(paths: LabPaths, host: SiteHost) -> None:
    machine = host.machine
    build_tree(paths.tree(host.name), machine)
    install_tools(paths.programs, paths.tree(host.name), machine)


def _host_plan(
    host: SiteHost, key: asyncssh.SSHKey, templates: Mapping[tuple[str, ...], SiteHost]
) -> JsonObject:
    exported = key.export_private_key().decode()
    plan = {"name": host.name, "address": host.address, "host_key": exported, "faults": list(host.faults)}
    return plan | ({"template": templates[kind_of(host)].name} if templates else {})


def _public(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])


def port_free_on_all(addresses: Sequence[str], candidates: Iterable[int]) -> int:
    """The first of the ports at which nothing listens on any of the addresses.

    Raises ``LabError`` where there is none.
    """
    for port in candidates:
        if all(_is_free(address, port) for address in addresses):
            return port
    message = f"no port is free on all addresses from {addresses[0]} to {addresses[-1]}"
    raise processes.LabError("lab_not_ready", message, "take other rehearsals down")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as listening:
        try:
            listening.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _free_port(address: str) -> int:
    with socket.socket() as listening:
        listening.bind((address, 0))
        return int(listening.getsockname()[1])
