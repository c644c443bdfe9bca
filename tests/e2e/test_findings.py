"""What a preflight finds on real systemd hosts: each spoiled one is named for what it has, the sound one for nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from tests.e2e.base_root import USER
from tests.e2e.cards import hang_driver, install_driver, remove_driver, write_cards
from tests.e2e.machines import GATEWAY, Fleet
from tests.e2e.namespaces import output_of
from tests.e2e.real_region import Address
from tests.e2e.site import Site
from tests.e2e.standin_region import StandInRegion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.machines import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RTX_4090 = GPU_MODELS[0]
CLONED_ID = "0123456789abcdef0123456789abcdef"


def lose_a_card(machine: Machine, _site: Site) -> None:
    write_cards(machine, make_gpus(RTX_4090, machine.name, 4), lost={2})


def hang(machine: Machine, _site: Site) -> None:
    hang_driver(machine)


def take_the_driver(machine: Machine, _site: Site) -> None:
    """No driver, and no card on the PCI bus that these hosts share: that is none, not nobody knows."""
    remove_driver(machine)


def mine(machine: Machine, _site: Site) -> None:
    start_named(machine, "xmrig")


def work_for_ionet(machine: Machine, _site: Site) -> None:
    start_named(machine, "io-worker-monitor")


def start_named(machine: Machine, program: str) -> None:
    """A service whose process bears that name; it sleeps."""
    machine.run(f"sudo cp /bin/sleep /usr/local/bin/{program}")
    machine.run(f"sudo systemd-run --unit {program} /usr/local/bin/{program} 3600")


def close_the_way(machine: Machine, site: Site) -> None:
    port = site.region.rpc.rpartition(":")[2]
    rule = f"ip rule add ipproto 6 dport {port} unreachable"
    output_of(["ip", "netns", "exec", machine.namespace, *rule.split()])


def clone(machine: Machine, _site: Site) -> None:
    machine.run(f"echo {CLONED_ID} | sudo tee /etc/machine-id")


def mount_noexec(machine: Machine, _site: Site) -> None:
    machine.run("sudo mkdir -p /opt/nomad && sudo mount -t tmpfs -o noexec,size=2g tmpfs /opt/nomad")


SPOILS: dict[str, tuple[Callable[[Machine, Site], None], int]] = {
    "gpu_lost": (lose_a_card, 1),
    "driver_hanging": (hang, 1),
    "gpu_count_mismatch": (take_the_driver, 1),
    "miner_running": (mine, 1),
    "ionet_worker_present": (work_for_ionet, 1),
    "servers_unreachable": (close_the_way, 1),
    "disk_noexec": (mount_noexec, 1),
    "machine_id_doubled": (clone, 2),
}
"""By code what brings it about, and on how many hosts it has to be."""
HOSTS = 1 + sum(count for _, count in SPOILS.values())


@pytest.fixture(scope="module")
def site(debian: Path, nvml_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A sound host and the spoiled ones, with four cards each, beside a region."""
    assert debian.is_dir()
    directory = tmp_path_factory.mktemp("findings")
    with Fleet(HOSTS, tmp_path_factory.mktemp("finding-hosts")) as fleet:
        for machine in fleet.machines:
            install_driver(machine, nvml_library, make_gpus(RTX_4090, machine.name, 4))
        address = Address.in_namespace(GATEWAY, fleet.bridge_namespace)
        with StandInRegion(directory / "region", address) as region:
            site = Site(fleet, region, directory, gpus={"model": "rtx-4090", "count": 4})
            site.write(fleet.machines)
            yield site


def test_each_spoiled_host_is_named_for_what_it_has(site: Site) -> None:
    """Every code is found on the hosts that were spoiled for it, and on no other."""
    sound, *others = site.fleet.machines
    expected: dict[str, list[str]] = {}
    for code, (spoil, count) in SPOILS.items():
        chosen, others = others[:count], others[count:]
        for machine in chosen:
            spoil(machine, site)
        expected[code] = [machine.name for machine in chosen]
    done = site.run("preflight", str(site.inventory), "-o", "json")
    assert done.exit_code == 6, done.stderr
    found = {
        code: [
            host["name"]
            for host in done.document["hosts"]
            if code in {finding["code"] for finding in host["findings"]}
        ]
        for code in SPOILS
    }
    assert found == expected
    fitness = {host["name"]: host["outcome"] for host in done.document["hosts"]}
    assert fitness[sound.name] == "fit"
    healthy = next(host for host in done.document["hosts"] if host["name"] == sound.name)
    assert healthy["gpus"] == {"expected": 4, "seen": 4, "models": {"nvidia.rtx.4090.24gb": 4}}


def break_library(machine: Machine) -> str:
    """A bash that asks for a library which is not there, as after half an upgrade."""
    program = (machine.root / "bin/bash").read_bytes().replace(b"libtinfo.so.6", b"libtinfo.so.9")
    return write_shell(machine, program)


def take_interpreter(machine: Machine) -> str:
    """A shell that is a script for a program which is not there."""
    return write_shell(machine, b"#!/opt/fish\n")


def write_shell(machine: Machine, program: bytes) -> str:
    path = machine.root / "usr/local/bin/shell"
    path.write_bytes(program)
    path.chmod(0o755)
    return "/usr/local/bin/shell"


def name_nologin(_machine: Machine) -> str:
    return "/usr/sbin/nologin"


def name_nothing(_machine: Machine) -> str:
    """OpenSSH refuses the login then, and says why in its own log alone."""
    return "/opt/fish"


SHELLS: tuple[tuple[Callable[[Machine], str], str, str], ...] = (
    (
        name_nologin,
        "session_refused",
        "ended with status 1, and said: This account is currently not available.",
    ),
    (
        break_library,
        "session_refused",
        "ended with status 127, and said: shell: error while loading shared libraries",
    ),
    (
        take_interpreter,
        "session_refused",
        "ended with status 1, and said: /usr/local/bin/shell: No such file or directory",
    ),
    (name_nothing, "auth_failed", "sshd also refuses an account whose shell does not exist"),
)
"""A login shell in which no command can run, the code of the error, and what message or hint says."""


def test_broken_login_shell_is_named_by_what_it_said(site: Site) -> None:
    """With OpenSSH and real shells: where no command can run, sudo has refused nothing."""
    machines = site.fleet.machines[: len(SHELLS)]
    try:
        for machine, (shell, _, _) in zip(machines, SHELLS, strict=True):
            machine.run(f"usermod --shell {shell(machine)} {USER}")
        names = ",".join(machine.name for machine in machines)
        done = site.run("preflight", str(site.inventory), "--limit", names, "-o", "json")
    finally:
        for machine in machines:
            machine.run(f"usermod --shell /bin/bash {USER}")
    assert done.exit_code == 5, done.stderr
    for host, (_, code, said) in zip(done.document["hosts"], SHELLS, strict=True):
        assert host["error"]["code"] == code
        assert said in f"{host['error']['message']}; {host['error']['hint']}"
