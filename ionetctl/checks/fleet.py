"""Checks that need the whole fleet, or the nodes that its regions have already."""

from __future__ import annotations

import ipaddress
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.checks.finding import Code, found, listed
from ionetctl.checks.system import CLOCK_WARN_S
from ionetctl.core import host_paths
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.core.versions import precedence_of_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ionetctl.core.model.facts import Facts, MachineIdentity, NomadState
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import NomadSettings
    from ionetctl.core.model.node import NodeView

DEFAULT_CONNECTIONS: Final = 100
"""Nomad's limits.rpc_max_conns_per_client where it is not set or may not be read; 0 is no limit."""
NAMES_SHOWN: Final = 6
FEWEST_CLOCKS: Final = 3
"""The least number of clocks whose median says more than the controller's."""


@dataclass(frozen=True, slots=True)
class FleetHost:
    """A surveyed host for the checks over the fleet; ``node_name`` is what it will be called in its region."""

    host: Host
    facts: Facts
    node_name: str


@dataclass(frozen=True, slots=True)
class KnownMachine:
    """A node that the catalog or a region knows, by what it was known then; ``None`` is what nobody noted.

    ``address`` is the inventory's in the catalog; in a region, which alone has a ``datacenter``, the machine's own there.
    """

    name: str
    address: str
    node_id: str
    machine_id: str | None = None
    identity: MachineIdentity | None = None
    datacenter: str | None = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every surveyed host, the nodes of their regions, and how many connections each region takes of one address.

    ``known`` are the catalog's machines, ``listed`` all hosts of the inventory: those that are not in this run too.
    """

    hosts: tuple[FleetHost, ...]
    nodes: Mapping[RegionName, Iterable[NodeView]] = field(default_factory=dict)
    connection_limits: Mapping[RegionName, int | None] = field(default_factory=dict)
    releases: NomadSettings | None = None
    """What the hosts are to get."""
    known: tuple[KnownMachine, ...] = ()
    listed: tuple[Host, ...] = ()
    own_keys: frozenset[RegionName] = frozenset()
    """The regions whose hosts make their nodes' private keys themselves."""


Findings = tuple[HostName, Finding]


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that no two hosts may share; ``what`` is its name in a sentence.

    One machine under two names shares everything: unless ``is_always_reported``, hosts of one machine-id have that
    finding alone.
    """

    code: Code
    what: str
    values: Callable[[FleetHost], Iterable[str | None]]
    is_always_reported: bool = False
    noted: Callable[[MachineIdentity], Iterable[str | None]] | None = None
    """The same of a machine that the catalog knows."""


def _addresses(member: FleetHost) -> Iterator[str]:
    """The addresses that the host connects from, each with its datacenter: private addresses recur from site to site."""
    for reach in member.facts.machine.reaches:
        address = _address(reach.local_address)
        if address and not address.is_loopback:
            yield f"{address} in {member.host.datacenter}"


def _rigs(member: FleetHost) -> Iterator[str]:
    """The number that the host has in its panel; each system counts for itself."""
    rig = member.facts.machine.rig
    if rig and rig.rig_id:
        yield f"{rig.system} {rig.rig_id}"


CONTAINERS: Final = frozenset(
    [
        "systemd-nspawn",
        "lxc",
        "lxc-libvirt",
        "docker",
        "podman",
        "rkt",
        "openvz",
        "wsl",
        "proot",
        "pouch",
        "container-other",
    ]
)
"""What systemd-detect-virt (``--container``) calls what has no DMI of its own."""
NOBODYS_UUIDS: Final = frozenset(
    {"03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc"}
)
"""What makers of boards leave in DMI instead of a UUID; also those of one repeated digit."""


def own_product_uuid(facts: Facts) -> str | None:
    """The machine's UUID in DMI, where it looks like one that somebody made for it; a container sees that of its machine."""
    machine = facts.machine
    uuid = machine.product_uuid or ""
    is_own = machine.virtualization not in CONTAINERS and uuid not in NOBODYS_UUIDS
    return uuid if is_own and len(set(uuid.replace("-", ""))) > 1 else None


CLIENT_ID_CLONED: Final = Code(
    "client_id_cloned",
    Severity.BLOCK,
    "two hosts have one Nomad client id",
    looks_at="The client-id files of all surveyed hosts.",
    matters="Both would take turns being one node of the region.",
    remedy="images must not carry /opt/nomad/data/client: stop Nomad, delete it on all but one",
    exit_code=ExitCode.TRUST,
    may_be_waived=False,
)

MACHINE_ID_DOUBLED: Final = Code(
    "machine_id_doubled",
    Severity.BLOCK,
    "two hosts have one machine-id",
    looks_at="/etc/machine-id of all surveyed hosts.",
    matters="It is one machine under two addresses, or a cloned image. Unique names are made from it.",
    remedy="two addresses of one machine, or a cloned image: systemd-machine-id-setup makes a new one",
    exit_code=ExitCode.TRUST,
    may_be_waived=False,
)

GPU_DOUBLED: Final = Code(
    "gpu_doubled",
    Severity.BLOCK,
    "two hosts have one GPU",
    looks_at="The UUIDs of all GPUs that were seen, those too that the catalog knows of hosts of the inventory that this run left out: then a warning.",
    matters="A card is in one machine only: it is one machine under two addresses, or somebody counts cards twice.",
    remedy="leave out one of the hosts; if a card was moved, look at both hosts in one run",
    exit_code=ExitCode.TRUST,
    may_be_waived=False,
)

HOST_KEY_DOUBLED: Final = Code(
    "host_key_doubled",
    Severity.BLOCK,
    "two hosts have one SSH host key",
    looks_at="The SSH host keys of all surveyed hosts, and those that the catalog knows of hosts of the inventory that this run left out.",
    matters=(
        "They are clones of an image that was copied with its keys, or one machine under two addresses. Whoever has the "
        "image, or root on one of them, can answer as any of them."
    ),
    remedy="make new keys on each (rm /etc/ssh/ssh_host_*; ssh-keygen -A), restart sshd, and pin those",
    exit_code=ExitCode.TRUST,
)

PRODUCT_UUID_DOUBLED: Final = Code(
    "product_uuid_doubled",
    Severity.WARN,
    "two hosts have one UUID in DMI",
    looks_at=(
        "The product UUIDs in DMI, those too that the catalog knows of hosts of the inventory that this run left out; those that "
        "makers of boards leave in all of them do not count."
    ),
    matters="Cloned virtual machines, one machine under two addresses, or boards whose maker gave all of them one UUID.",
    remedy="see whether it is one machine twice; waive this where the boards are known for it",
)

MAC_DOUBLED: Final = Code(
    "mac_doubled",
    Severity.WARN,
    "two hosts have one MAC address",
    looks_at="The addresses of physical interfaces.",
    matters="In one network both lose packets by turns. Cloned virtual machines and cheap adapters have them.",
    remedy="give each its own address; it does no harm in networks apart",
)

HOSTNAME_DOUBLED: Final = Code(
    "hostname_doubled",
    Severity.WARN,
    "two hosts call themselves by one name",
    looks_at="The host names that the machines give themselves; what the inventory calls them is another matter.",
    matters="Logs and metrics of both run together. Often the sign of a cloned image.",
    remedy="hostnamectl set-hostname",
)

RIG_DOUBLED: Final = Code(
    "rig_doubled",
    Severity.WARN,
    "two hosts are one rig to their panel",
    looks_at="The system and the number that the panel gave each rig, in the mining systems' own configurations.",
    matters="A cloned stick: what the panel says to one of them reaches either, and the number tells nobody which host it is.",
    remedy="register one of them anew in its panel; waive this where the panel is not used any more",
)

ADDRESS_DOUBLED: Final = Code(
    "address_doubled",
    Severity.WARN,
    "two hosts of a datacenter have one address",
    looks_at="The address from which each host connects to the region's servers.",
    matters="In one network only one of them can be reached; what connects to it may reach the other.",
    remedy="give each its own address; waive this where they are in networks apart",
)


TRAITS: Final = (
    Trait(
        CLIENT_ID_CLONED,
        "Nomad client-id",
        lambda member: (member.facts.nomad.node_id,),
        is_always_reported=True,
    ),
    Trait(
        MACHINE_ID_DOUBLED, "machine-id", lambda member: (member.facts.machine_id,), is_always_reported=True
    ),
    Trait(
        GPU_DOUBLED,
        "GPU",
        lambda member: (gpu.uuid for gpu in member.facts.gpus or ()),
        noted=lambda identity: identity.gpu_uuids,
    ),
    Trait(
        HOST_KEY_DOUBLED,
        "SSH host key",
        lambda member: (member.facts.host_key,),
        noted=lambda identity: (identity.host_key,),
    ),
    Trait(
        PRODUCT_UUID_DOUBLED,
        "UUID in DMI",
        lambda member: (own_product_uuid(member.facts),),
        noted=lambda identity: (identity.product_uuid,),
    ),
    Trait(
        MAC_DOUBLED,
        "MAC address",
        lambda member: (each.mac for each in member.facts.machine.interfaces or ()),
    ),
    Trait(HOSTNAME_DOUBLED, "host name", lambda member: (member.facts.machine.hostname,)),
    Trait(RIG_DOUBLED, "rig", _rigs),
    Trait(ADDRESS_DOUBLED, "address", _addresses),
)


def duplicates(fleet: Fleet) -> Iterator[Findings]:
    """Hosts that are the same machine, or clones of one; a host has one finding of each kind.

    Those that the catalog knows and this run did not look at count as it knows them. A card may have been moved meanwhile.
    """
    absent = {host.name.casefold() for host in fleet.listed}.difference(*map(_names, fleet.hosts))
    noted = [one for one in fleet.known if one.name.casefold() in absent]
    for trait in TRAITS:
        reported: set[HostName] = set()
        for value, sharing in _sharing(fleet.hosts, trait).items():
            names = [member.host.name for member in sharing]
            message = f"the same {trait.what} ({value}) on {_shown(names)}"
            yield from ((name, found(trait.code, message)) for name in names if name not in reported)
            reported.update(names)
        severity = Severity.WARN if trait.code is GPU_DOUBLED else trait.code.severity
        for member, value, other in _noted_of_another(fleet.hosts, trait, noted):
            if member.host.name not in reported:
                message = f"the same {trait.what} ({value}) as {other.name} had when it was last looked at"
                yield member.host.name, found(trait.code, message, severity=severity)
                reported.add(member.host.name)


def _noted_of_another(
    hosts: Iterable[FleetHost], trait: Trait, known: Iterable[KnownMachine]
) -> Iterator[tuple[FleetHost, str, KnownMachine]]:
    """What hosts share with those that are ``known``; one machine-id is ``known_as_another``'s."""
    holders = {
        value: one for one in known if trait.noted and one.identity for value in trait.noted(one.identity)
    }
    for member in hosts:
        for value in trait.values(member):
            other = holders.get(value) if value else None
            if value and other and other.machine_id != member.facts.machine_id:
                yield member, value, other


def _names(member: FleetHost) -> set[str]:
    return {member.host.name.casefold(), member.node_name.casefold()}


def _shown(names: Sequence[HostName]) -> str:
    """The first of them, and how many more there are: a cloned image may be a whole fleet's."""
    more = len(names) - NAMES_SHOWN
    return f"{', '.join(names[:NAMES_SHOWN])} and {more:,} more" if more > 0 else listed(names)


def _sharing(hosts: Iterable[FleetHost], trait: Trait) -> dict[str, list[FleetHost]]:
    sharing: defaultdict[str, list[FleetHost]] = defaultdict(list)
    for member in hosts:
        for value in dict.fromkeys(trait.values(member)):
            if value:
                sharing[value].append(member)
    return {
        value: group
        for value, group in sharing.items()
        if len(group) > 1 and (trait.is_always_reported or not _is_one_machine(group))
    }


def _is_one_machine(hosts: Iterable[FleetHost]) -> bool:
    machine_ids = {member.facts.machine_id for member in hosts}
    return len(machine_ids) == 1 and None not in machine_ids


KNOWN_AS_ANOTHER: Final = Code(
    "known_as_another",
    Severity.BLOCK,
    "the host answers as another machine that is known",
    looks_at=(
        "The host's machine-id and Nomad client-id, against those that the catalog and the region's nodes have for other names. A "
        "machine that was renamed has no finding: the inventory has the old name no more, and the same address, port and jump hosts."
    ),
    matters=(
        "Addresses were swapped, an image was cloned, or somebody answers in another's place: what is meant for one "
        "machine would be done to another."
    ),
    remedy="find out which machine it is; waive this once for a machine that was renamed and moved",
    exit_code=ExitCode.TRUST,
)


def known_as_another(fleet: Fleet) -> Iterator[Findings]:
    """Hosts that have the machine-id or client-id of a machine that is known by another name.

    Not a machine that was renamed: it is where it was, and the inventory has no host of its old name any more. Two hosts of
    this run that share an id have a finding already.
    """
    machines = _known_machines(fleet)
    listed = {host.name.casefold() for host in fleet.listed}.union(*map(_names, fleet.hosts))
    shared = {value for trait in TRAITS[:2] for value in _sharing(fleet.hosts, trait)}
    at = Counter(host.address for host in fleet.listed)
    for member in fleet.hosts:
        ids = {"machine-id": member.facts.machine_id, "Nomad client-id": member.facts.nomad.node_id}
        for what, value in ids.items():
            others = machines.get(value or "", ()) if value not in shared else ()
            strange = [
                one
                for one in others
                if one.name.casefold() not in _names(member)
                and (one.name.casefold() in listed or not _is_where_it_was(one, member, at))
            ]
            if strange:
                other = strange[0]
                where = other.identity.place if other.identity else other.address
                message = f"it has the {what} ({value}) of {other.name} at {where}"
                yield member.host.name, found(KNOWN_AS_ANOTHER, message)
                break


def _is_where_it_was(one: KnownMachine, member: FleetHost, at: Mapping[str, int]) -> bool:
    """Whether a host is found where a machine was; ``at`` counts the inventory's hosts by address.

    An address says so by itself where it is one host's alone: many are behind one NAT, and private ones recur from site to site.
    """
    if one.identity:
        return one.identity.place == member.host.place
    own = {reach.local_address for reach in member.facts.machine.reaches}
    if one.datacenter is not None:
        return one.datacenter == member.host.datacenter and one.address in own
    return at[one.address] <= 1 and one.address in own | {member.host.address}


def _known_machines(fleet: Fleet) -> dict[str, list[KnownMachine]]:
    """The machines of catalog and regions, by machine-id and by client-id; what the catalog knows needs no region's word."""
    noted = {one.node_id for one in fleet.known}
    by_id: defaultdict[str, list[KnownMachine]] = defaultdict(list)
    for one in fleet.known:
        for value in {one.node_id, one.machine_id}:
            if value:
                by_id[value].append(one)
    for view in (view for views in fleet.nodes.values() for view in views if view.id not in noted):
        by_id[view.id].append(KnownMachine(view.name, view.address, view.id, datacenter=view.datacenter))
    return by_id


NAME_TAKEN: Final = Code(
    "name_taken",
    Severity.BLOCK,
    "another node of the region bears the host's name",
    looks_at="The names of the region's nodes, against the name that this one will have.",
    matters="Nomad allows it, and nobody could tell the two apart any more.",
    remedy="rename the host, set naming: unique, or purge the old node if it was this machine",
    may_be_waived=False,
)


def names_taken(fleet: Fleet) -> Iterator[Findings]:
    """Hosts whose name another node of their region has."""
    namesakes: dict[tuple[str, str], list[NodeView]] = defaultdict(list)
    for region, views in fleet.nodes.items():
        for view in views:
            namesakes[region, view.name].append(view)
    for member in fleet.hosts:
        others = [
            v for v in namesakes[member.host.region, member.node_name] if v.id != member.facts.nomad.node_id
        ]
        if others:
            message = f"{member.host.region} has another node of the name {member.node_name}: {others[0].id} ({others[0].status})"
            yield member.host.name, found(NAME_TAKEN, message)


_PLUGIN_PROGRAM: Final = re.compile(re.escape(host_paths.device_plugin_program("@")).replace("@", "([^/]+)"))
NOMAD_DOWNGRADE: Final = Code(
    "nomad_downgrade",
    Severity.BLOCK,
    "the host runs a newer Nomad or device plugin than the inventory names",
    looks_at=(
        "The version of the Nomad there (with --takeover also one that ionetctl did not install) and of its node in the region, against "
        "nomad.version; the release of the device plugin that is linked there, against nomad.device_plugin_version. Where no version can "
        "be learnt, since the program does not run and no region shows the node, nothing is known to be newer, and the host gets the release."
    ),
    matters="An older release brings back the holes that a newer one closed, and may not read the newer one's data. Nobody should get it unnoticed.",
    remedy="correct nomad.version or nomad.device_plugin_version, or say nomad.allow_downgrade: true in the inventory",
    may_be_waived=False,
)


def downgrades(fleet: Fleet) -> Iterator[Findings]:
    """Hosts on which something is newer than the release that is to take its place: Nomad, or the device plugin."""
    releases = fleet.releases
    if releases is None:
        return
    severity = Severity.WARN if releases.allow_downgrade else Severity.BLOCK
    in_region: dict[tuple[RegionName, NodeId | None], str] = {
        (name, view.id): view.version for name, views in fleet.nodes.items() for view in views
    }
    for member in fleet.hosts:
        of_node = in_region.get((member.host.region, member.facts.nomad.node_id), "")
        nomad, plugin = _agent_version(member.facts.nomad, of_node), _plugin_version(member)
        newer = []
        if precedence_of_agent(nomad) > precedence_of_agent(releases.version):
            version = nomad.removeprefix("Nomad ").removeprefix("v")
            newer.append(f"it runs Nomad {version}, and would get {releases.version}")
        if precedence_of_agent(plugin) > precedence_of_agent(releases.device_plugin_version):
            newer.append(f"its device plugin is {plugin}, and would be {releases.device_plugin_version}")
        if newer:
            yield member.host.name, found(NOMAD_DOWNGRADE, "; ".join(newer), severity=severity)


def _agent_version(nomad: NomadState, of_node: str) -> str:
    """The newest version of the agent that ours is or takes the place of, or whose data it finds; empty for none, or an unknown one."""
    is_used = nomad.is_ours or nomad.is_running or nomad.active == "active" or nomad.node_id is not None
    return max(nomad.agent_version or "", of_node, key=precedence_of_agent) if is_used else ""


def _plugin_version(member: FleetHost) -> str:
    """The version of the device plugin that a host has of us and will have again; empty where there is none."""
    link = member.facts.links.get(f"{host_paths.PLUGIN_DIR}/{host_paths.DEVICE_PLUGIN}", "")
    installed = _PLUGIN_PROGRAM.fullmatch(link)
    return installed[1] if installed and member.host.gpus.count != 0 else ""


OPENSSL_MISSING: Final = Code(
    "openssl_missing",
    Severity.BLOCK,
    "the host is to make its private key itself, and has no openssl",
    looks_at="Whether openssl is found, where the region's tls.issuer says key_on_host.",
    matters="Nothing else on a usual host makes a private key and a request for its certificate.",
    remedy="install the package openssl on the host, or leave key_on_host out",
    may_be_waived=False,
)


def key_makers(fleet: Fleet) -> Iterator[Findings]:
    """Hosts that cannot make the private key that they are to make."""
    for member in fleet.hosts:
        if member.host.region in fleet.own_keys and not member.facts.has_openssl:
            message = f"{member.host.region} has its hosts make their private keys, and there is no openssl"
            yield member.host.name, found(OPENSSL_MISSING, message)


CLOCK_APART: Final = Code(
    "clock_apart",
    Severity.WARN,
    "the host's clock differs from those of the other hosts",
    looks_at="The offset of its clock against the fleet's median, where at least three hosts told theirs: from 30 s on.",
    matters="Where the controller's own clock is wrong, all hosts seem to be off; this names those that really are.",
    remedy="set the clock and keep it by NTP (timedatectl set-ntp true)",
)


def clocks(fleet: Fleet) -> Iterator[Findings]:
    """Hosts whose clock differs from those of the others."""
    offsets_s = {
        member.host.name: member.facts.clock_offset_s
        for member in fleet.hosts
        if member.facts.clock_offset_s is not None
    }
    if len(offsets_s) < FEWEST_CLOCKS:
        return
    median_s = statistics.median(offsets_s.values())
    for name, offset_s in offsets_s.items():
        apart_s = offset_s - median_s
        if abs(apart_s) >= CLOCK_WARN_S:
            direction = "ahead of" if apart_s > 0 else "behind"
            message = f"its clock is {abs(apart_s):.0f} s {direction} those of the other hosts"
            yield name, found(CLOCK_APART, message)


NAT_CONNECTIONS: Final = Code(
    "nat_connections",
    Severity.WARN,
    "more hosts behind one address than the region allows",
    looks_at=(
        "Hosts of a datacenter with private addresses that reach public servers, against the region's "
        "limits.rpc_max_conns_per_client (100 unless it says otherwise)."
    ),
    matters="Behind NAT all of them come from one address: the servers cut off those beyond the limit, others at each try.",
    remedy="raise limits { rpc_max_conns_per_client } on the region's servers, or give the site more addresses",
)


def connections(fleet: Fleet) -> Iterator[Findings]:
    """Hosts that share an address with more others than their region's servers accept."""
    sites: defaultdict[tuple[RegionName, str], list[HostName]] = defaultdict(list)
    for member in fleet.hosts:
        if _is_behind_nat(member.facts):
            sites[member.host.region, member.host.datacenter].append(member.host.name)
    for (region, datacenter), names in sites.items():
        limit = fleet.connection_limits.get(region)
        if limit is None:
            limit = DEFAULT_CONNECTIONS
        if 0 < limit < len(names):
            message = (
                f"{len(names)} hosts of {datacenter} reach {region} from private addresses: behind one public address "
                f"{limit} of them are let in"
            )
            yield from ((name, found(NAT_CONNECTIONS, message)) for name in names)


def _is_behind_nat(facts: Facts) -> bool:
    """Whether the host reaches a public address from a private one."""
    ends = [(_address(reach.local_address), _address(reach.peer_address)) for reach in facts.machine.reaches]
    return any(local and peer and peer.is_global and not local.is_global for local, peer in ends)


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host names, if it is one."""
    try:
        return ipaddress.ip_address(text or "")
    except ValueError:
        return None
