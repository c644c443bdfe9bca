"""The harness itself: hosts are real enough, faults are real, and nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from tests.e2e import cgroups, leftovers
from tests.e2e.base_root import PASSWORD, PASSWORD_USER, USER
from tests.e2e.cards import install_driver, remove_driver, write_cards
from tests.e2e.machines import Fleet, Machine
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.real_region import RealRegion

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def machine(fleet: Fleet) -> Iterator[Machine]:
    """A host that is up before and after."""
    one = fleet.machines[0]
    one.wait_for_ssh()
    yield one
    one.wait_for_ssh()


def words(machine: Machine, command: str, user: str = USER) -> list[str]:
    """The words that a command prints."""
    return machine.run(command, user=user).stdout.split()


def names_made_here() -> set[str]:
    """Whatever of this process's tags is mounted, a namespace or a control group."""
    mark = f"{leftovers.PREFIX}-{os.getpid()}-"
    mounted = {line.split()[0] for line in Path("/proc/self/mounts").read_text().splitlines()}
    groups = {group.name for root in cgroups.hierarchies() for group in root.iterdir()}
    spaces = {entry.name for entry in Path("/run/netns").iterdir()}
    return {name for name in mounted | groups | spaces if name.startswith(mark)}


def test_every_host_runs_without_a_failed_unit(fleet: Fleet) -> None:
    """All hosts are up, and bear their own names."""
    command = "hostname; systemctl is-system-running --wait"
    assert [words(machine, command) for machine in fleet.machines] == [
        [machine.name, "running"] for machine in fleet.machines
    ]


def test_hosts_are_different_machines(fleet: Fleet) -> None:
    """Machine id, boot id, host key and address are each host's own."""
    command = "cat /etc/machine-id /proc/sys/kernel/random/boot_id"
    ids = [word for machine in fleet.machines for word in words(machine, command)]
    assert len(set(ids)) == 2 * len(fleet.machines)
    assert len({(machine.host_key, machine.address) for machine in fleet.machines}) == len(fleet.machines)


def test_miner_becomes_root_without_a_password(machine: Machine) -> None:
    """The controller's user is nobody special until sudo."""
    assert words(machine, "id -un; sudo -n id -un") == [USER, "root"]


def test_other_user_needs_a_password(machine: Machine) -> None:
    """Without a password sudo refuses the other user; with the right one it does not."""
    become = f"su {PASSWORD_USER} -c"
    assert machine.run(f"{become} 'sudo -n true'", check=False).returncode != 0
    assert words(machine, f"{become} \"echo '{PASSWORD}' | sudo -S -p '' id -un\"", "root") == ["root"]


def test_controller_reaches_hosts_and_the_machine_does_not(fleet: Fleet) -> None:
    """Hosts answer beside the bridge; the machine's own network knows no way to them."""
    probe = "import socket, sys; socket.create_connection((sys.argv[1], 22), 2).close()"
    argv = [sys.executable, "-c", probe, fleet.machines[0].address]
    assert fleet.run_controller(argv, os.environ).returncode == 0
    assert "dev br0" not in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout


def test_power_cut_keeps_what_was_written(machine: Machine) -> None:
    """A host comes back with its disk, as another boot of the same machine."""
    before = words(machine, "sudo touch /opt/kept; cat /proc/sys/kernel/random/boot_id /etc/machine-id")
    machine.power_cut()
    assert machine.run("true", check=False).returncode != 0
    machine.boot()
    machine.wait_for_ssh()
    after = words(machine, "ls -d /opt/kept; cat /proc/sys/kernel/random/boot_id /etc/machine-id")
    assert after[0] == "/opt/kept"
    assert after[1] != before[0]
    assert after[2] == before[1]


def test_full_disk_takes_nothing(machine: Machine) -> None:
    """Writing fails while the disk is full, on that host alone, and works again afterwards."""
    write = "dd if=/dev/zero of=/opt/big bs=1M count=4 conv=fsync && rm /opt/big"
    machine.fill_disk(free_mib=1)
    try:
        assert "No space left" in machine.run(write, check=False).stderr
    finally:
        machine.run("rm -f /opt/big")
        machine.empty_disk()
    machine.run(write)


def test_unplugged_host_is_unreachable(machine: Machine) -> None:
    """A host whose cable is out does not answer, and does when it is in again."""
    machine.unplug()
    try:
        assert machine.run("true", check=False).returncode != 0
        assert machine.enter("hostname").stdout.strip() == machine.name
    finally:
        machine.plug()
    wait_until(lambda: machine.run("true", check=False).returncode == 0, "an answer", timeout_s=20)


def test_stopped_sshd_refuses(machine: Machine) -> None:
    """A host without SSH server refuses connections while it runs on."""
    machine.stop_sshd()
    try:
        assert "refused" in machine.run("true", check=False).stderr
    finally:
        machine.start_sshd()


def test_hosts_do_not_share_control_groups(fleet: Fleet) -> None:
    """Each host's systemd and Nomad find groups of their own, in every hierarchy."""
    groups = [Path(f"/proc/{machine._leader()}/cgroup").read_text().split() for machine in fleet.machines]
    for of_each_host in zip(*groups, strict=True):
        assert len(set(of_each_host)) == len(fleet.machines)


def test_cards_are_listed_by_nvidia_smi(machine: Machine, nvml_library: Path) -> None:
    """A host shows the cards it was given, fails once one is lost, and has none without a driver."""
    rig = make_gpus(GPU_MODELS[0], machine.name, 2)
    query = "nvidia-smi --query-gpu=index,name,uuid,memory.total,pci.bus_id --format=csv,noheader,nounits"
    install_driver(machine, nvml_library, rig)
    try:
        assert machine.run(query).stdout.splitlines() == [
            f"{card.index}, {card.name}, {card.uuid}, {card.memory_mib}, {card.pci}" for card in rig
        ]
        write_cards(machine, rig, lost={1})
        assert "GPU is lost" in machine.run(query, check=False).stdout
    finally:
        remove_driver(machine)
    assert machine.run("command -v nvidia-smi", check=False).returncode != 0


@pytest.mark.nomad
def test_real_region_gives_just_the_documented_rights(real_region: RealRegion) -> None:
    """The admin's token lists nodes, reads the agent and introduces nodes; it may not write policies."""
    assert real_region.request("GET", "/v1/nodes", token=real_region.token).document == []
    assert real_region.request("GET", "/v1/agent/self", token=real_region.token).status == 200
    assert real_region.introduce("rig-001").count(".") == 2
    denied = real_region.request(
        "POST", "/v1/acl/policy/x", {"Name": "x", "Rules": ""}, token=real_region.token
    )
    assert (denied.status, denied.body) == (403, b"Permission denied")
    pools = real_region.request("GET", "/v1/node/pools", token=real_region.token).document
    assert "gpu" in {pool["Name"] for pool in pools}


@pytest.mark.nomad
def test_real_region_remembers_across_a_restart(real_region: RealRegion) -> None:
    """A server that is stopped and started again knows its tokens."""
    real_region.stop()
    real_region.start()
    wait_until(
        lambda: real_region.answers("/v1/nodes", real_region.token), "the server's return", timeout_s=60
    )


def test_nothing_stays_behind(debian: Path, tmp_path: Path) -> None:
    """A fleet that has gone leaves no mount, namespace, control group or process."""
    assert debian.is_dir()
    before = names_made_here()
    with Fleet(1, tmp_path) as fleet:
        process_id = fleet.machines[0].process_id
        assert names_made_here() > before
    assert names_made_here() == before
    assert not Path(f"/proc/{process_id}").exists()


def test_killed_run_is_swept_up(debian: Path, tmp_path: Path) -> None:
    """Hosts end with the process that booted them, however it ends, and the next run takes down what was left."""
    assert debian.is_dir()
    script = (
        "import os, signal, sys; from pathlib import Path; from tests.e2e.machines import Fleet\n"
        "with Fleet(1, Path(sys.argv[1])) as fleet:\n"
        "    print(fleet.machines[0].process_id, fleet.machines[0].namespace, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    killed = subprocess.run(argv, capture_output=True, text=True, cwd=REPOSITORY, timeout=120, check=False)
    process_id, tag = killed.stdout.split()
    wait_until(lambda: not Path(f"/proc/{process_id}").exists(), "the host's end", timeout_s=20)
    assert (Path("/run/netns") / tag).exists()
    leftovers.sweep()
    assert not (Path("/run/netns") / tag).exists()
    assert tag not in Path("/proc/self/mounts").read_text()


SLOW = """
import os, signal, sys
from pathlib import Path
import pytest
from tests.e2e.conftest import ended_by_sigterm

@pytest.fixture
def guest():
    yield
    Path(__file__).with_name("down").touch()

def test_it(guest):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""


def test_run_that_is_ended_by_sigterm_takes_its_guests_down(tmp_path: Path) -> None:
    """As one that is interrupted: the fixtures' ends are run."""
    (tmp_path / "test_slow.py").write_text(SLOW)
    argv = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(argv, capture_output=True, text=True, env=environ, timeout=120, check=False)
    assert (ended.returncode, (tmp_path / "down").exists()) == (2, True), ended.stdout + ended.stderr
