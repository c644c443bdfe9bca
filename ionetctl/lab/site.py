"""What a rehearsal consists of: hosts with names, addresses, cards and faults, and the inventory an admin would write.

Pure: from a ``LabSpec`` to plans and text. Nothing is written or started here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.cards import CATALOGUE, GpuModel, cards
from ionetctl.lab.faults.assignment import FaultRequest, assign
from ionetctl.lab.faults.conditions import changed
from ionetctl.lab.host.machine import Machine, sound_machine

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.lab.region.state.introduction import Enforcement

HOSTS_PER_RACK: Final = 16
HOSTS_PER_PROCESS: Final = 500
MAX_HOSTS: Final = 20_000
NODE_POOL: Final = "gpu"
DATACENTER: Final = "lab1"
_NETWORK: Final = ipaddress.IPv4Address("127.77.0.0")
_FEW_HOSTS: Final = 256
_PROGRAM_BYTES: Final = 2 << 20
_SMALL_PROGRAM_BYTES: Final = 128 << 10


@dataclass(frozen=True, slots=True)
class LabSpec:
    """What is asked for. ``program_bytes`` 0 chooses a size by the number of hosts."""

    hosts: int
    directory: Path
    faults: tuple[FaultRequest, ...] = ()
    region: str = "eu-north"
    enforcement: Enforcement = "strict"
    nomad_version: str = "2.0.5"
    device_plugin_version: str = "1.1.0"
    federated_regions: tuple[str, ...] = ("us-west",)
    program_bytes: int = 0
    seed: int = 1

    @property
    def size_bytes(self) -> int:
        """How large the stand-in for the Nomad program is."""
        chosen = _PROGRAM_BYTES if self.hosts <= _FEW_HOSTS else _SMALL_PROGRAM_BYTES
        return self.program_bytes or chosen


@dataclass(frozen=True, slots=True)
class SiteHost:
    """One host of the site. ``faults`` has one name at most for now."""

    name: str
    address: str
    rack: str
    model: GpuModel
    faults: tuple[str, ...]

    @property
    def machine(self) -> Machine:
        """What it pretends to be; by its own account it is in a private network, and not on loopback."""
        machine = sound_machine(
            self.name,
            cpu_cores=self.model.cpu_cores,
            memory_gib=self.model.memory_gib,
            gpus=tuple(cards(self.model, self.name, self.model.count)),
            address=self.address.replace("127.", "10.", 1),
        )
        for fault in self.faults:
            machine = changed(machine, fault)
        return machine


def plan_site(spec: LabSpec) -> list[SiteHost]:
    """The hosts of a rehearsal: racks of sixteen, one GPU model a rack, faults by the seed; raises ``UsageError``."""
    names = [_name(number) for number in range(spec.hosts)]
    faulty = assign(spec.faults, names, spec.seed)
    return [_host(number, name, faulty.get(name)) for number, name in enumerate(names)]


def _name(number: int) -> str:
    return f"{DATACENTER}-{_rack(number)}-g{number % HOSTS_PER_RACK + 1:02}"


def _rack(number: int) -> str:
    return f"r{number // HOSTS_PER_RACK + 1:03}"


def _host(number: int, name: str, fault: str | None) -> SiteHost:
    address = str(_NETWORK + 1 + number)
    model = CATALOGUE[number // HOSTS_PER_RACK % len(CATALOGUE)]
    return SiteHost(name, address, _rack(number), model, (fault,) if fault else ())


def inventory_text(
    spec: LabSpec, hosts: list[SiteHost], host_keys: dict[str, str], ports: dict[str, int]
) -> str:
    """The inventory; ``host_keys`` are public keys by host, ``ports`` those of ``ssh``, ``api`` and ``rpc``."""
    lines = [_head(spec, ports)]
    for rack in dict.fromkeys(host.rack for host in hosts):
        members = [host for host in hosts if host.rack == rack]
        model = members[0].model
        lines.append(f"  rack-{rack}:")
        lines.append(f"    rack: {rack}")
        lines.append(f"    gpus: {{model: {model.short}, count: {model.count}}}")
        lines.append(f"    expect: {{cpu_cores: {model.cpu_cores}, memory_gib: {model.memory_gib}}}")
        lines.append("    hosts:")
        lines += [
            f'      - {{name: {host.name}, address: {host.address}, ssh: {{host_key: "{host_keys[host.name]}"}}}}'
            for host in members
        ]
    return "\n".join(lines) + "\n"


def _head(spec: LabSpec, ports: dict[str, int]) -> str:
    return f"""\
# A rehearsal site of {spec.hosts} hosts, written by `ionetctl lab up`. Nothing in it is real but the loopback
# interface: the hosts are processes on this machine, and so is the region.
version: 1
datacenter: {DATACENTER}

regions:
  {spec.region}:
    api: [https://127.0.0.1:{ports["api"]}]
    servers: ["127.0.0.1:{ports["rpc"]}", "localhost:{ports["rpc"]}"]
    token: {{file: token}}
    tls:
      ca: pki/ca.pem
      client: {{cert: pki/cli.pem, key: {{file: pki/cli-key.pem}}}}
      issuer: {{cert: pki/ca.pem, key: {{file: pki/ca-key.pem}}}}

nomad:
  version: {spec.nomad_version}
  device_plugin_version: {spec.device_plugin_version}
  mirror: ./artifacts

defaults:
  region: {spec.region}
  node_pool: {NODE_POOL}
  ssh: {{user: miner, port: {ports["ssh"]}, identity: ./id_ed25519}}
  location: {{country: IS, city: Reykjavik}}
  network: {{mbps: 1000}}
  meta: {{power: rehearsal}}

groups:"""
