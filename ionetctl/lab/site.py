"""Plans a rehearsal: hosts with names, addresses, GPUs and faults, and the inventory that describes them. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.faults.assignment import FaultRequest, assign
from ionetctl.lab.faults.conditions import with_fault
from ionetctl.lab.host.machine import Machine, sound_machine
from ionetctl.lab.host.nvidia_driver import GPU_MODELS, GpuModel, make_gpus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ionetctl.lab.region.state.introduction import Enforcement

HOSTS_PER_RACK: Final = 16
HOSTS_PER_PROCESS: Final = 500
MODELLED_HOSTS_PER_PROCESS: Final = 5_000
MAX_HOSTS: Final = 20_000
NODE_POOL: Final = "gpu"
DATACENTER: Final = "lab1"
_NETWORK: Final = ipaddress.IPv4Address("127.77.0.0")
_LARGE_PROGRAMS_MAX_HOSTS: Final = 256
_PROGRAM_BYTES: Final = 2 << 20
_SMALL_PROGRAM_BYTES: Final = 128 << 10


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The options of ``lab up``. With ``program_bytes`` 0 the size depends on the number of hosts.

    ``modelled`` hosts are answered by their process (see ``lab.modelled``).
    """

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
    modelled: bool = False

    @property
    def hosts_per_process(self) -> int:
        """How many hosts one process serves."""
        return MODELLED_HOSTS_PER_PROCESS if self.modelled else HOSTS_PER_PROCESS

    @property
    def nomad_size_bytes(self) -> int:
        """The size of the stand-in for the Nomad program."""
        chosen = _PROGRAM_BYTES if self.hosts <= _LARGE_PROGRAMS_MAX_HOSTS else _SMALL_PROGRAM_BYTES
        return self.program_bytes or chosen


@dataclass(frozen=True, slots=True)
class SiteHost:
    """One host of the site. ``faults`` has at most one name."""

    name: str
    address: str
    rack: str
    model: GpuModel
    faults: tuple[str, ...]

    @property
    def machine(self) -> Machine:
        """The host's description; its own address there is in 10.0.0.0/8, not the loopback address it listens on."""
        machine = sound_machine(
            self.name,
            cpu_cores=self.model.cpu_cores,
            memory_gib=self.model.memory_gib,
            gpus=tuple(make_gpus(self.model, self.name, self.model.count)),
            address=self.address.replace("127.", "10.", 1),
        )
        for fault in self.faults:
            machine = with_fault(machine, fault)
        return machine


def plan_site(spec: LabSpec) -> list[SiteHost]:
    """The hosts of a rehearsal, in racks of 16 with one GPU model each. Raises ``UsageError`` for more faults than hosts."""
    names = [_name(number) for number in range(spec.hosts)]
    faults = assign(spec.faults, names, spec.seed)
    return [_host(number, name, faults.get(name)) for number, name in enumerate(names)]


def _name(number: int) -> str:
    return f"{DATACENTER}-{_rack(number)}-g{number % HOSTS_PER_RACK + 1:02}"


def _rack(number: int) -> str:
    return f"r{number // HOSTS_PER_RACK + 1:03}"


def _host(number: int, name: str, fault: str | None) -> SiteHost:
    address = str(_NETWORK + 1 + number)
    model = GPU_MODELS[number // HOSTS_PER_RACK % len(GPU_MODELS)]
    return SiteHost(name, address, _rack(number), model, (fault,) if fault else ())


def inventory_text(
    spec: LabSpec,
    hosts: list[SiteHost],
    host_keys: dict[str, str],
    ports: dict[str, int],
    other_ports: Mapping[str, int] | None = None,
) -> str:
    """The inventory as YAML; ``host_keys`` are public keys by host, ``ports`` has ``ssh``, ``api`` and ``rpc``.

    ``other_ports`` are those of hosts whose SSH port is another.
    """
    own = {name: f"port: {port}, " for name, port in (other_ports or {}).items()}
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
            f'      - {{name: {host.name}, address: {host.address}, ssh: {{{own.get(host.name, "")}host_key: "{host_keys[host.name]}"}}}}'
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
  own_builds: true

defaults:
  region: {spec.region}
  node_pool: {NODE_POOL}
  ssh: {{user: miner, port: {ports["ssh"]}, identity: ./id_ed25519}}
  location: {{country: IS, city: Reykjavik}}
  network: {{mbps: 1000}}
  meta: {{power: rehearsal}}

groups:"""
