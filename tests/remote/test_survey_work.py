"""What the survey finds a host to work for already: miners, io.net's workers, Nomad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.core import host_paths
from ionetctl.core.observed import Workload
from tests.remote.rehearsal import Host, shim
from tests.support.sample import bundle

if TYPE_CHECKING:
    from ionetctl.core.model.inventory import TaskDriver
    from ionetctl.core.observed import MachineFacts

SERVICE = "0::/system.slice/{}\n"


def process(host: Host, pid: int, name: str, cgroup: str = "") -> None:
    """A process of that name."""
    host.write(f"/proc/{pid}/comm", f"{name}\n")
    if cgroup:
        host.write(f"/proc/{pid}/cgroup", cgroup)


def machine(host: Host) -> MachineFacts:
    return host.survey().machine


MINERS = (
    "t-rex lolMiner nbminer miner PhoenixMiner teamredminer bzminer rigel SRBMiner-MULTI xmrig xmrig-cuda ethminer "
    "ethdcrminer64 claymore wildrig-multi cpuminer-avx2 onezerominer miniZ nanominer ccminer"
)


@pytest.mark.parametrize("name", MINERS.split())
def test_miners_are_known_by_name(one_host: Host, name: str) -> None:
    """A process that bears a miner's name is one."""
    process(one_host, 7, name[:15])
    assert machine(one_host).miners == (Workload(name[:15], 7),)


@pytest.mark.parametrize(
    "name", ["minerva", "determiner", "rigel-db", "t-rexd", "python3", "nomad", "miner.sh"]
)
def test_others_are_no_miners(one_host: Host, name: str) -> None:
    """A name that only contains a miner's is another's."""
    process(one_host, 7, name)
    assert machine(one_host).miners == ()


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (SERVICE.format("t-rex.service"), "t-rex.service"),
        ("4:memory:/\n1:name=systemd:/system.slice/t-rex.service/sub\n", "t-rex.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/t-rex.service\n", None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/system.slice/docker-0123abcd.scope\n", None),
    ],
)
def test_a_miner_s_unit_is_told(host: Host, cgroup: str, expected: str | None) -> None:
    """The unit is one that the system's manager can stop."""
    process(host, 7, "t-rex", cgroup)
    assert machine(host).miners == (Workload("t-rex", 7, expected),)


def test_workers_are_known_by_name(host: Host) -> None:
    """io.net's programs are told apart from miners and from others."""
    process(host, 7, "io_net_launch_b", SERVICE.format("ionet.service"))
    process(host, 8, "io-worker-vc")
    process(host, 9, "iotop")
    found = machine(host)
    assert (found.miners, set(found.ionet_workers or ())) == (
        (),
        {Workload("io_net_launch_b", 7, "ionet.service"), Workload("io-worker-vc", 8)},
    )


def test_workers_are_known_by_image(host: Host) -> None:
    """Their containers bear made-up names and run programs of any name: the image tells."""
    images = ("ionetcontainers/io-worker-monitor", "ionetcontainers/io-worker-vc:v2", "nginx:1.27", "x/ionet")
    lines = "".join(f"echo {image}; " for image in images)
    shim(
        host,
        "docker",
        f"if [ $1 = info ]; then echo '24.0.7|systemd|/srv/docker|runc|runc |2'; else {lines}:; fi",
    )
    process(host, 1, "systemd")
    workers = machine(host).ionet_workers or ()
    assert {worker.name for worker in workers} == {"io-worker-monitor", "io-worker-vc"}


def test_agents_are_told_from_their_helpers(host: Host) -> None:
    """All are called nomad; what each was started to be is one of its arguments."""
    for pid, arguments in enumerate(
        (["logmon"], ["executor", "agents"], ["agent", "-config", "/x"], ["agent"]), 7
    ):
        process(host, pid, "nomad")
        host.write(f"/proc/{pid}/cmdline", "".join(f"{word}\0" for word in ("/usr/bin/nomad", *arguments)))
    assert "nomad.process\t2" in host.survey_output().decode().splitlines()


def test_processes_without_end_are_bounded(one_host: Host) -> None:
    """A host of hundreds of miners is still surveyed."""
    for pid in range(100, 300):
        process(one_host, pid, "xmrig")
    assert len(machine(one_host).miners or ()) == 64


def test_a_process_s_name_cannot_forge_a_record(host: Host) -> None:
    """A name is one value, whatever is in it."""
    process(host, 7, "xmrig\t9\tssh.service")
    assert machine(host).miners == (Workload("xmrig 9 ssh.service", 7),)


def test_the_region_of_a_configuration_is_told(host: Host) -> None:
    """The region is what stands outside of every block."""
    text = '# region = "no"\nmeta {\n  region = "moon"\n}\n  region = "eu-north" # ours\n'
    host.write(host_paths.CLIENT_CONFIG, text)
    assert machine(host).nomad_region == "eu-north"


def test_a_configuration_without_region_has_none(host: Host) -> None:
    """A word inside a block means something else."""
    host.write(host_paths.CLIENT_CONFIG, 'client {\n  meta {\n    region = "moon"\n  }\n}\n')
    assert machine(host).nomad_region is None


@pytest.mark.parametrize(
    ("path", "line", "expected"),
    [
        (host_paths.CLIENT_CONFIG, '"driver.allowlist" = "docker,exec"', ("docker", "exec")),
        (host_paths.CLIENT_CONFIG, '"driver.denylist" = "exec"', None),
        (f"{host_paths.CONFIG_DIR}/other.hcl", '"driver.allowlist" = "docker"', None),
    ],
)
def test_drivers_that_jobs_may_use_are_told(
    host: Host, path: str, line: str, expected: tuple[str, ...] | None
) -> None:
    """As ionetctl's own configuration lists them; beside them the region is told as ever."""
    host.write(host_paths.CLIENT_CONFIG, 'region = "eu-north"\nclient {\n}\n')
    host.write(path, f'region = "eu-north"\nclient {{\n  options {{\n    {line}\n  }}\n}}\n')
    facts = machine(host)
    assert (facts.nomad_drivers, facts.nomad_region) == (expected, "eu-north")


def test_drivers_are_told_of_what_ionetctl_writes(host: Host) -> None:
    """The survey reads the configuration that the plan makes."""
    drivers: tuple[TaskDriver, ...] = ("docker", "raw_exec")
    files = {file.path: file.content for file in bundle(drivers=drivers).files}
    host.write(host_paths.CLIENT_CONFIG, files[host_paths.CLIENT_CONFIG].decode())
    assert machine(host).nomad_drivers == drivers
