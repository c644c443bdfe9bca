"""Cases of the checks over the whole fleet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from ionetctl.checks.fleet import Fleet, FleetHost, KnownMachine
from ionetctl.core import host_paths
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.host import GpuPromise, Host, Jump, SshSettings
from ionetctl.core.model.inventory import NomadSettings
from ionetctl.core.model.names import HostName, NodeId, RegionName
from ionetctl.core.model.node import NodeView
from ionetctl.core.observed import Interface, Reach, Rig
from tests.checks.host_case import CARD, SEEN
from tests.support.sample import BARE, EU_NORTH, HOST, NODE_ID

US_WEST: Final = RegionName("us-west")


def fleet_host(
    name: str, *, machine_id: str | None = "", datacenter: str = "rey1", **changes: Any
) -> FleetHost:
    """A sound host that shares nothing with the others; ``changes`` are of its facts, or of the machine."""
    seen = replace(
        SEEN,
        hostname=name,
        interfaces=(Interface("eno1", f"02:{name}", 1500),),
        reaches=(Reach("s0", 4647, 9.0, local_address=f"fd00::{ord(name[0]):x}", peer_address="fd00::"),),
    )
    of_machine = {key: value for key, value in changes.items() if hasattr(seen, key)}
    of_facts = {key: value for key, value in changes.items() if key not in of_machine}
    facts = replace(
        BARE,
        machine=replace(seen, **of_machine),
        machine_id=f"machine-{name}" if machine_id == "" else machine_id,
        gpus=(replace(CARD, uuid=f"GPU-{name}"),),
    )
    host = replace(HOST, name=HostName(name), datacenter=datacenter)
    return FleetHost(host, replace(facts, **of_facts), name)


def plugin(version: str, below: str = "") -> dict[str, str]:
    """The links of a host that has that release of the device plugin."""
    link = f"{host_paths.PLUGIN_DIR}/{host_paths.DEVICE_PLUGIN}"
    return {link: below + host_paths.device_plugin_program(version)}


def without_gpus(member: FleetHost) -> FleetHost:
    return replace(member, host=replace(member.host, gpus=GpuPromise(None, 0)))


def node(name: str, node_id: str) -> NodeView:
    return NodeView(NodeId(node_id), name, "127.0.0.1", "rey1", "gpu", "", "ready", "eligible", "2.0.5")


def machine(
    name: str,
    *,
    address: str = "10.9.9.9",
    node_id: str = "0000",
    machine_id: str | None = None,
    identity: MachineIdentity | None = None,
) -> KnownMachine:
    return KnownMachine(name, address, node_id, machine_id, identity)


def listed(*names: str, address: str = "10.9.9.9") -> tuple[Host, ...]:
    """Hosts of the inventory, in the run or not."""
    return tuple(replace(HOST, name=HostName(name), address=address) for name in names)


def reached(name: str, port: int | None = None, *jump: Jump) -> FleetHost:
    """A host on a port of an address that it shares with others, or behind a jump host."""
    member = fleet_host(name)
    return replace(member, host=replace(member.host, ssh=SshSettings(port=port, jump=jump or None)))


def behind_nat(name: str, local: str | None, peer: str | None = "8.8.8.8") -> FleetHost:
    return fleet_host(name, reaches=(Reach("s0", 4647, 9.0, local_address=local, peer_address=peer),))


def with_gpu(uuid: str) -> tuple[object, ...]:
    return (replace(CARD, uuid=uuid),)


UUID: Final = "6f1c11d5-5fd1-4e23-9c39-1f2e3a4b5c6d"
OURS: Final = replace(BARE.nomad, node_id=NODE_ID)
STICK: Final = Rig("HiveOS", "0.6-201", "7", "rig07")
BASTION: Final = Jump("Bastion.example.", 2222, "ops")
OTHER_SITE: Final = Jump("bastion-2.example")
A_BEHIND: Final = machine(
    "z", address=HOST.address, machine_id="machine-a", identity=MachineIdentity(reached("z", 2201).host.place)
)
"""The machine of the host a, as it was known by another name on port 2201 of their common address."""
ABSENT: Final = machine(
    "b",
    machine_id="machine-b",
    identity=MachineIdentity("10.9.9.9 port 22", "SHA256:k", UUID, ("GPU-7", "GPU-9")),
)
"""A host of the inventory as its last survey saw it."""
LAN: Final = tuple(behind_nat(name, f"10.0.0.{number}") for number, name in enumerate("abc"))


@dataclass(frozen=True)
class FleetCase:
    """``expected`` are the findings as ``host code severity``, ``message`` what the first of them says."""

    hosts: tuple[FleetHost, ...]
    expected: tuple[str, ...] = ()
    nodes: dict[RegionName, list[NodeView]] = field(default_factory=dict)
    limits: dict[RegionName, int | None] = field(default_factory=dict)
    message: str = ""
    releases: NomadSettings | None = None
    known: tuple[KnownMachine, ...] = ()
    listed: tuple[Host, ...] = ()
    own_keys: frozenset[RegionName] = frozenset()

    @property
    def fleet(self) -> Fleet:
        return Fleet(
            self.hosts, self.nodes, self.limits, self.releases, self.known, self.listed, self.own_keys
        )


RELEASES: Final = NomadSettings("2.0.5", "1.1.0")
INSTALLED: Final = replace(OURS, is_ours=True, agent_version="Nomad v2.0.5")
NEWER: Final = replace(INSTALLED, agent_version="Nomad v2.0.6")
FOREIGN: Final = replace(NEWER, is_ours=False, node_id=None, is_running=False, active="inactive")
FROM_2_0_6: Final = ("a nomad_downgrade block",)
SAYS_2_0_6: Final = "it runs Nomad 2.0.6, and would get 2.0.5"

CASES: Final = (
    FleetCase((fleet_host("a"),), releases=RELEASES),
    FleetCase(
        (fleet_host("a"), fleet_host("b")),
        ("a exec_allowed warn", "b exec_allowed warn"),
        message="jobs may use the driver exec",
        releases=replace(RELEASES, drivers=("docker", "exec")),
    ),
    FleetCase(
        (fleet_host("a"),),
        ("a host_drivers_allowed warn",),
        message="jobs may use java, qemu and raw_exec",
        releases=replace(RELEASES, drivers=("java", "qemu", "raw_exec")),
    ),
    FleetCase(
        (fleet_host("a"),),
        ("a exec_allowed warn", "a host_drivers_allowed warn"),
        releases=replace(RELEASES, drivers=("exec", "raw_exec")),
    ),
    FleetCase(
        (
            fleet_host("a", verifies_signatures=True),
            fleet_host("b"),
            fleet_host("c", verifies_signatures=False),
        ),
        ("a door_opens_exec warn", "b door_unsupported warn", "c door_unsupported warn"),
        message="jobs may use the driver exec: the door's task does",
        releases=replace(RELEASES, signers=("ssh-ed25519 AAAA",)),
    ),
    FleetCase(
        (fleet_host("a", verifies_signatures=True, has_openssl=False),),
        ("a door_unsupported warn",),
        message="it has no openssl",
        releases=replace(RELEASES, signers=("ssh-ed25519 AAAA",)),
    ),
    FleetCase(
        (fleet_host("a"),),
        ("a door_unsupported warn",),
        message="it has no ssh-keygen that checks signatures",
        releases=replace(RELEASES, signers=("ssh-ed25519 AAAA",)),
    ),
    FleetCase((fleet_host("a", nomad=NEWER),), FROM_2_0_6, message=SAYS_2_0_6, releases=RELEASES),
    FleetCase((fleet_host("a", nomad=NEWER),)),
    FleetCase((fleet_host("a", nomad=INSTALLED),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=FOREIGN),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=replace(FOREIGN, is_running=True)),), FROM_2_0_6, releases=RELEASES),
    FleetCase((fleet_host("a", nomad=replace(FOREIGN, active="active")),), FROM_2_0_6, releases=RELEASES),
    FleetCase((fleet_host("a", nomad=replace(FOREIGN, node_id=NODE_ID)),), FROM_2_0_6, releases=RELEASES),
    FleetCase(
        (fleet_host("a", nomad=replace(FOREIGN, is_running=True, agent_version=None)),), releases=RELEASES
    ),
    FleetCase((fleet_host("a", nomad=INSTALLED, links=plugin("1.1.0")),), releases=RELEASES),
    FleetCase(
        (fleet_host("a", nomad=INSTALLED, links=plugin("1.1.1")),),
        FROM_2_0_6,
        message="its device plugin is 1.1.1, and would be 1.1.0",
        releases=RELEASES,
    ),
    FleetCase(
        (fleet_host("a", nomad=NEWER, links=plugin("1.2.0")),),
        FROM_2_0_6,
        message=f"{SAYS_2_0_6}; its device plugin is 1.2.0, and would be 1.1.0",
        releases=RELEASES,
    ),
    FleetCase((without_gpus(fleet_host("a", nomad=INSTALLED, links=plugin("1.2.0"))),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=INSTALLED, links=plugin("\x1b[2J9")),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=INSTALLED, links=plugin("1.2.0", "/elsewhere")),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=replace(NEWER, agent_version="\x1b[2J9.9.9")),), releases=RELEASES),
    FleetCase((fleet_host("a", nomad=replace(NEWER, node_id=None)),), FROM_2_0_6, releases=RELEASES),
    FleetCase(
        (fleet_host("a", nomad=NEWER),),
        ("a nomad_downgrade warn",),
        releases=replace(RELEASES, allow_downgrade=True),
    ),
    FleetCase(
        (fleet_host("a", nomad=replace(INSTALLED, agent_version=None)), fleet_host("b")),
        FROM_2_0_6,
        {EU_NORTH: [replace(node("a", NODE_ID), version="2.0.6")]},
        message=SAYS_2_0_6,
        releases=RELEASES,
    ),
    FleetCase(
        (fleet_host("a", nomad=INSTALLED),),
        nodes={US_WEST: [replace(node("a", NODE_ID), version="2.0.6")]},
        releases=RELEASES,
    ),
    FleetCase(()),
    FleetCase((fleet_host("a"), fleet_host("b"), fleet_host("c"))),
    FleetCase(
        (fleet_host("a", nomad=OURS), fleet_host("b", nomad=OURS), fleet_host("c")),
        ("a client_id_cloned block", "b client_id_cloned block"),
        message=f"the same Nomad client-id ({NODE_ID}) on a and b",
    ),
    FleetCase(
        (fleet_host("a", machine_id="m"), fleet_host("b", machine_id="m"), fleet_host("c", machine_id="m")),
        ("a machine_id_doubled block", "b machine_id_doubled block", "c machine_id_doubled block"),
        message="the same machine-id (m) on a, b and c",
    ),
    FleetCase((fleet_host("a", machine_id=None), fleet_host("b", machine_id=None))),
    FleetCase(
        tuple(fleet_host(name, machine_id="m") for name in "abcdef"),
        tuple(f"{name} machine_id_doubled block" for name in "abcdef"),
        message="the same machine-id (m) on a, b, c, d, e and f",
    ),
    FleetCase(
        tuple(fleet_host(name, machine_id="m") for name in "abcdefg"),
        tuple(f"{name} machine_id_doubled block" for name in "abcdefg"),
        message="the same machine-id (m) on a, b, c, d, e, f and 1 more",
    ),
    FleetCase(
        (
            fleet_host("a", gpus=with_gpu("GPU-9")),
            fleet_host("b", gpus=with_gpu("GPU-9")),
            fleet_host("c", gpus=None),
        ),
        ("a gpu_doubled block", "b gpu_doubled block"),
        message="the same GPU (GPU-9) on a and b",
    ),
    FleetCase(
        (
            fleet_host("a", gpus=(*with_gpu("GPU-8"), *with_gpu("GPU-9"))),
            fleet_host("b", gpus=(*with_gpu("GPU-8"), *with_gpu("GPU-9"))),
        ),
        ("a gpu_doubled block", "b gpu_doubled block"),
    ),
    FleetCase((fleet_host("a", gpus=(*with_gpu("GPU-9"), *with_gpu("GPU-9"))),)),
    FleetCase(
        (fleet_host("a", machine_id="m", hostname="rig"), fleet_host("b", machine_id="m", hostname="rig")),
        ("a machine_id_doubled block", "b machine_id_doubled block"),
    ),
    FleetCase(
        (fleet_host("a", machine_id=None, hostname="rig"), fleet_host("b", machine_id=None, hostname="rig")),
        ("a hostname_doubled warn", "b hostname_doubled warn"),
        message="the same host name (rig) on a and b",
    ),
    FleetCase((fleet_host("a", hostname=None), fleet_host("b", hostname=None))),
    FleetCase(
        (fleet_host("a", host_key="SHA256:k"), fleet_host("b", host_key="SHA256:k"), fleet_host("c")),
        ("a host_key_doubled block", "b host_key_doubled block"),
        message="the same SSH host key (SHA256:k) on a and b",
    ),
    FleetCase(
        (
            fleet_host("a", machine_id="m", host_key="SHA256:k", product_uuid=UUID),
            fleet_host("b", machine_id="m", host_key="SHA256:k", product_uuid=UUID),
        ),
        ("a machine_id_doubled block", "b machine_id_doubled block"),
    ),
    FleetCase(
        (fleet_host("a", product_uuid=UUID), fleet_host("b", product_uuid=UUID)),
        ("a product_uuid_doubled warn", "b product_uuid_doubled warn"),
        message=f"the same UUID in DMI ({UUID}) on a and b",
    ),
    *(
        FleetCase(tuple(fleet_host(name, product_uuid=uuid, virtualization=kind) for name in "ab"))
        for uuid, kind in (
            ("03000200-0400-0500-0006-000700080009", "none"),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", "none"),
            (None, "none"),
            (UUID, "systemd-nspawn"),
        )
    ),
    FleetCase(
        (fleet_host("a"), fleet_host("c")),
        ("a known_as_another block",),
        known=(machine("b", machine_id="machine-a"), machine("c", machine_id="machine-c")),
        message="it has the machine-id (machine-a) of b at 10.9.9.9",
    ),
    FleetCase(
        (fleet_host("a"), fleet_host("b")),
        ("a known_as_another block", "b known_as_another block"),
        known=(
            machine("a", address="10.9.9.1", machine_id="machine-b"),
            machine("b", machine_id="machine-a"),
        ),
    ),
    FleetCase(
        (fleet_host("a", nomad=OURS), fleet_host("b")),
        ("a known_as_another block",),
        {EU_NORTH: [node("z", NODE_ID)]},
        message=f"it has the Nomad client-id ({NODE_ID}) of z at 127.0.0.1",
    ),
    FleetCase(
        (fleet_host("a", machine_id=None, nomad=OURS),),
        ("a known_as_another block",),
        known=(machine("b", node_id=NODE_ID, machine_id="machine-a"),),
        message=f"it has the Nomad client-id ({NODE_ID}) of b at 10.9.9.9",
    ),
    FleetCase((fleet_host("a"),), known=(machine("A", machine_id="machine-a"),)),
    FleetCase((fleet_host("a"),), known=(machine("b", address=HOST.address, machine_id="machine-a"),)),
    FleetCase((fleet_host("a"),), known=(machine("b", address="fd00::61", machine_id="machine-a"),)),
    FleetCase(
        (fleet_host("a"),),
        ("a known_as_another block",),
        known=(machine("b", address=HOST.address, machine_id="machine-a"),),
        listed=listed("a", "B"),
    ),
    FleetCase(
        (fleet_host("a"), fleet_host("b")),
        ("a known_as_another block", "b known_as_another block"),
        known=(
            machine("a", address=HOST.address, machine_id="machine-b"),
            machine("b", address=HOST.address, machine_id="machine-a"),
        ),
    ),
    FleetCase(
        (fleet_host("a"),),
        ("a known_as_another block",),
        known=(machine("z", address=HOST.address, machine_id="machine-a"),),
        listed=listed("a", "b", address=HOST.address),
    ),
    FleetCase(
        (fleet_host("a"),),
        ("a known_as_another block",),
        known=(
            machine("z", address=HOST.address, machine_id="machine-a"),
            machine("b", machine_id="machine-a"),
        ),
        message="it has the machine-id (machine-a) of b at 10.9.9.9",
    ),
    FleetCase((reached("a", 2201),), known=(A_BEHIND,), listed=listed("a", "b", address=HOST.address)),
    FleetCase(
        (reached("a", 2202),),
        ("a known_as_another block",),
        known=(A_BEHIND,),
        message=f"it has the machine-id (machine-a) of z at {HOST.address} port 2201",
    ),
    FleetCase((reached("a", 2201),), ("a known_as_another block",), known=(A_BEHIND,), listed=listed("z")),
    *(
        FleetCase(
            (reached("a", None, jump),),
            expected,
            known=(replace(A_BEHIND, identity=MachineIdentity(reached("z", 22, BASTION).host.place)),),
        )
        for jump, expected in (
            (replace(BASTION, address="bastion.example", user="root"), ()),
            (replace(BASTION, port=None), ("a known_as_another block",)),
            (OTHER_SITE, ("a known_as_another block",)),
        )
    ),
    FleetCase(
        (fleet_host("a", nomad=OURS, reaches=(Reach("s0", 4647, 9.0, local_address="127.0.0.1"),)),),
        nodes={EU_NORTH: [node("z", NODE_ID)]},
    ),
    *(
        FleetCase(
            (
                fleet_host(
                    "a",
                    nomad=OURS,
                    datacenter=datacenter,
                    reaches=(Reach("s0", 4647, 9.0, local_address="127.0.0.1"),),
                ),
            ),
            ("a known_as_another block",),
            nodes={EU_NORTH: [node("z", NODE_ID)]},
            listed=listed(*names),
        )
        for datacenter, names in (("rey1", ("a", "z")), ("rey2", ("a",)))
    ),
    FleetCase(
        (fleet_host("a", nomad=OURS),),
        nodes={EU_NORTH: [node("z", NODE_ID)]},
        known=(machine("a", node_id=NODE_ID),),
    ),
    FleetCase(
        (fleet_host("a", machine_id="m"), fleet_host("b", machine_id="m")),
        ("a machine_id_doubled block", "b machine_id_doubled block"),
        known=(machine("z", machine_id="m"),),
    ),
    *(
        FleetCase(
            (fleet_host("a", **change),),
            (f"a {code}",),
            known=(ABSENT,),
            listed=listed("a", "b"),
            message=message,
        )
        for change, code, message in (
            (
                {"host_key": "SHA256:k"},
                "host_key_doubled block",
                "the same SSH host key (SHA256:k) as b had when it was last looked at",
            ),
            (
                {"product_uuid": UUID},
                "product_uuid_doubled warn",
                f"the same UUID in DMI ({UUID}) as b had when it was last looked at",
            ),
            (
                {"gpus": (*with_gpu("GPU-9"), *with_gpu("GPU-7"))},
                "gpu_doubled warn",
                "the same GPU (GPU-9) as b had when it was last looked at",
            ),
        )
    ),
    FleetCase((fleet_host("a", host_key="SHA256:k"),), known=(ABSENT,), listed=listed("a")),
    FleetCase(
        (fleet_host("a", host_key="SHA256:k"), fleet_host("b")), known=(ABSENT,), listed=listed("a", "b")
    ),
    FleetCase((fleet_host("a", host_key=None),), known=(ABSENT,), listed=listed("a", "b")),
    FleetCase(
        (fleet_host("a", host_key="SHA256:k"),),
        known=(replace(ABSENT, identity=None),),
        listed=listed("a", "b"),
    ),
    FleetCase(
        (fleet_host("a", machine_id="machine-b", host_key="SHA256:k"),),
        ("a known_as_another block",),
        known=(ABSENT,),
        listed=listed("a", "b"),
        message="it has the machine-id (machine-b) of b at 10.9.9.9 port 22",
    ),
    FleetCase(
        (fleet_host("a", gpus=with_gpu("GPU-9")), fleet_host("c", gpus=with_gpu("GPU-9"))),
        ("a gpu_doubled block", "c gpu_doubled block"),
        known=(ABSENT,),
        listed=listed("a", "b", "c"),
    ),
    FleetCase(
        (
            fleet_host("a", interfaces=(Interface("eno1", "02:aa"),)),
            fleet_host("b", interfaces=(Interface("eno1", "02:bb"), Interface("eno2", "02:aa"))),
            fleet_host("c", interfaces=None),
        ),
        ("a mac_doubled warn", "b mac_doubled warn"),
        message="the same MAC address (02:aa) on a and b",
    ),
    FleetCase(
        (behind_nat("a", "10.0.0.7", "10.0.0.1"), behind_nat("b", "10.0.0.7", "10.0.0.1")),
        ("a address_doubled warn", "b address_doubled warn"),
        message="the same address (10.0.0.7 in rey1) on a and b",
    ),
    FleetCase(
        (
            behind_nat("a", "10.0.0.7", "10.0.0.1"),
            replace(behind_nat("b", "10.0.0.7", "10.0.0.1"), host=replace(HOST, datacenter="rey2")),
        )
    ),
    FleetCase(
        (
            fleet_host("a", rig=STICK),
            fleet_host("b", rig=STICK),
            fleet_host("c", rig=Rig("RaveOS", None, "7")),
        ),
        ("a rig_doubled warn", "b rig_doubled warn"),
        message="the same rig (HiveOS 7) on a and b",
    ),
    FleetCase((fleet_host("a", rig=Rig("mmpOS")), fleet_host("b", rig=Rig("mmpOS")))),
    FleetCase((behind_nat("a", "127.0.0.1"), behind_nat("b", "127.0.0.1"))),
    FleetCase((behind_nat("a", None), behind_nat("b", None))),
    FleetCase(
        (behind_nat("a", "nonsense"), behind_nat("b", "nonsense"), behind_nat("c", "10.0.0.9", "nonsense")),
        limits={EU_NORTH: 1},
    ),
    FleetCase(
        (behind_nat("a", "100.64.0.7"), behind_nat("b", "192.168.0.7")),
        ("a nat_connections warn", "b nat_connections warn"),
        limits={EU_NORTH: 1},
    ),
    FleetCase(
        (fleet_host("a"), fleet_host("b")),
        ("a name_taken block",),
        {EU_NORTH: [node("a", "0000")]},
        message="eu-north has another node of the name a: 0000 (ready)",
    ),
    FleetCase((fleet_host("a", nomad=OURS),), (), {EU_NORTH: [node("a", NODE_ID)]}),
    FleetCase((fleet_host("a", nomad=OURS),), (), {US_WEST: [node("a", "0000")]}),
    FleetCase(
        (
            fleet_host("a", clock_offset_s=100.0),
            fleet_host("b", clock_offset_s=100.0),
            fleet_host("c", clock_offset_s=130.0),
        ),
        ("c clock_apart warn",),
        message="its clock is 30 s ahead of those of the other hosts",
    ),
    FleetCase(
        (
            fleet_host("a", clock_offset_s=100.0),
            fleet_host("b", clock_offset_s=100.0),
            fleet_host("c", clock_offset_s=60.0),
        ),
        ("c clock_apart warn",),
        message="its clock is 40 s behind those of the other hosts",
    ),
    FleetCase(
        (
            fleet_host("a", clock_offset_s=0.0),
            fleet_host("b", clock_offset_s=0.0),
            fleet_host("c", clock_offset_s=29.9),
        )
    ),
    FleetCase((fleet_host("a", clock_offset_s=0.0), fleet_host("b", clock_offset_s=99.0))),
    FleetCase(
        (
            fleet_host("a", clock_offset_s=0.0),
            fleet_host("b", clock_offset_s=99.0),
            fleet_host("c", clock_offset_s=None),
        )
    ),
    FleetCase(
        LAN,
        ("a nat_connections warn", "b nat_connections warn", "c nat_connections warn"),
        limits={EU_NORTH: 2},
        message="3 hosts of rey1 reach eu-north from private addresses: behind one public address 2 of them are let in",
    ),
    FleetCase(LAN, limits={EU_NORTH: 3}),
    FleetCase(LAN, limits={EU_NORTH: 0}),
    FleetCase(LAN, limits={EU_NORTH: None}),
    FleetCase(
        tuple(behind_nat(f"{number:03}", f"10.0.1.{number}") for number in range(101)),
        tuple(f"{number:03} nat_connections warn" for number in range(101)),
    ),
    FleetCase((*LAN[:2], behind_nat("c", "8.8.4.4")), limits={EU_NORTH: 2}),
    FleetCase((*LAN[:2], behind_nat("c", "10.0.0.9", "10.0.0.1")), limits={EU_NORTH: 2}),
    FleetCase((*LAN[:2], behind_nat("c", "10.0.0.9", None)), limits={EU_NORTH: 2}),
    FleetCase((*LAN[:2], behind_nat("c", None)), limits={EU_NORTH: 2}),
    FleetCase(
        (fleet_host("a", has_openssl=False), fleet_host("b")),
        ("a openssl_missing block",),
        own_keys=frozenset({EU_NORTH}),
        message="eu-north has its hosts make their private keys, and there is no openssl",
    ),
    FleetCase((fleet_host("a", has_openssl=False),), own_keys=frozenset({US_WEST})),
)
