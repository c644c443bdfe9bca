"""``render``: every file that a host would get, without touching the host. Secrets never appear.

What only a survey or the region can tell stands as a visible placeholder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.errors import UsageError
from ionetctl.core.model.facts import Facts, NomadState
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import BundleFile, Kind, Program
from ionetctl.core.observed import MachineFacts
from ionetctl.credentials.certificates import read_ca
from ionetctl.inventory.load import load_inventory
from ionetctl.inventory.select import select_hosts
from ionetctl.placement.region_choice import candidates
from ionetctl.plan.bundle import Door, Subject, build_bundle, wants_gpus, with_door
from ionetctl.remote import maintenance_script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Inventory

SURVEYED: Final = "<from the survey>"
MINTED: Final = "<issued at the enrolment>\n"
MASKED: Final = "*** (secret)\n"

_NOMAD: Final = NomadState(
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
_FACTS: Final = Facts(
    os_id=SURVEYED,
    os_version="",
    os_name="",
    kernel="",
    architecture="x86_64",
    init="systemd",
    is_root=True,
    clock_offset_s=None,
    machine_id=None,
    boot_id=None,
    cpu_cores=None,
    memory_mib=None,
    disks=(),
    gpus=None,
    gpu_source="no survey was made",
    nomad=_NOMAD,
    files={},
    links={},
    manifest={},
    node_certificate=None,
    machine=MachineFacts(verifies_signatures=True),
)


def render_host(source: str, name: str, region: str | None = None) -> Mapping[str, bytes]:
    """Path → content of every text file that the host would get, sorted; secrets and minted material masked.

    ``region`` is one of those that the inventory leaves open. Raises ``ConfigurationError`` for inventory, CA and
    templates, ``UsageError``: ``host_unknown``, ``region_open``.
    """
    inventory = load_inventory(source)
    chosen = [host for host in inventory.hosts if host.name == name] or select_hosts(inventory, name)
    if len(chosen) != 1:
        raise UsageError(
            "host_unknown", f"{name} names {len(chosen)} hosts", "name one host of the inventory"
        )
    bundle = build_bundle(_subject(inventory, _placed(chosen[0], inventory, region)))
    return {file.path: _shown(file) for file in bundle.files if file.kind not in {Kind.PROGRAM, Kind.LINK}}


def _placed(host: Host, inventory: Inventory, region: str | None) -> Host:
    """The host in the region that is asked for, or in the only one that it may join."""
    possible = candidates(host, inventory.regions)
    chosen = [name for name in possible if region in {None, name}]
    if len(chosen) != 1:
        message = f"{host.name} may join {', '.join(possible) or 'no region'}"
        raise UsageError("region_open", message, "name one of them with --region")
    return replace(host, region=chosen[0])


def _shown(file: BundleFile) -> bytes:
    if file.is_secret:
        return MASKED.encode()
    return file.content or MINTED.encode()


def _subject(inventory: Inventory, host: Host) -> Subject:
    region = inventory.regions[host.region]
    nomad = _program("nomad", inventory.nomad.version)
    plugin = _program(host_paths.DEVICE_PLUGIN, inventory.nomad.device_plugin_version)
    name = host.name if inventory.naming == "as-written" else f"{host.name}-{SURVEYED}"
    plugin_here = plugin if wants_gpus(host, _FACTS) else None
    drivers = inventory.nomad.drivers
    subject = Subject(host, name, _FACTS, region, read_ca(region), nomad, plugin_here, drivers)
    return with_door(subject, Door(inventory.nomad.signers, maintenance_script()))


def _program(name: str, version: str) -> Program:
    unknown = Digest("0" * 64)
    return Program(name, version, "amd64", unknown, 0, "", 0, unknown)
