"""The stand-ins for a host's programs: Docker, nvidia-smi, uname, df, programs with fixed output, and the network."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.faults.conditions import CONDITIONS
from ionetctl.lab.host.file_tree import build_tree
from ionetctl.lab.host.machine import Machine, sound_machine
from ionetctl.lab.host.nvidia_driver import GPU_MODELS, make_gpus
from ionetctl.lab.host.programs import PYTHON, SYSTEM_PATH, install_programs, install_tools, search_path

if TYPE_CHECKING:
    from pathlib import Path

NAME = "lab1-r001-g01"
SOUND = sound_machine(
    NAME, cpu_cores=4, memory_gib=32, gpus=tuple(make_gpus(GPU_MODELS[0], NAME, 2)), address="10.77.0.1"
)
ASK = "--query-gpu=index,name,memory.total,pci.bus_id,ecc.mode.current,persistence_mode"


@dataclass(frozen=True, slots=True)
class Host:
    """A host's tree, and the whole environment of its commands."""

    tree: Path
    environment: dict[str, str]

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and standard output of a command."""
        done = subprocess.run(
            ["sh", "-c", command], env=self.environment, capture_output=True, encoding="utf-8", check=False
        )
        return done.returncode, done.stdout


class Builder:
    """Builds hosts that share their programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "bin"
        self.count = 0
        install_programs(self.programs)

    def __call__(self, machine: Machine = SOUND) -> Host:
        self.count += 1
        tree = self.folder / f"host-{self.count}"
        build_tree(tree, machine)
        install_tools(self.programs, tree, machine)
        environment = {
            "IONET_ROOT": str(tree),
            "LAB_PYTHON": sys.executable,
            "LAB_PYTHON_STANDINS": str(self.programs / PYTHON),
            "LAB_SYSTEM_PATH": SYSTEM_PATH,
            "PATH": search_path(self.programs, tree, ()),
        }
        return Host(tree, environment)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def sound(build: Builder) -> Host:
    return build()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("docker version --format '{{.Server.Version}}'", "27.3.1\n"),
        (
            "docker info --format '{{.CgroupDriver}}|{{.CgroupVersion}}|{{.DockerRootDir}}'",
            "systemd|2|/var/lib/docker\n",
        ),
        (
            "docker info -f '{{.DefaultRuntime}}: {{range $name, $_ := .Runtimes}}{{$name}} {{end}}'",
            "runc: io.containerd.runc.v2 nvidia runc \n",
        ),
        ("docker ps --format '{{.Image}}'", ""),
        ("uname -rm", f"6.8.0-45-generic {os.uname().machine}\n"),
        ("uname -n", f"{NAME}\n"),
        ("uname -s", "Linux\n"),
        ("systemd-detect-virt", "none\n"),
        ("nvidia-ctk --version", "NVIDIA Container Toolkit CLI version 1.17.2\n"),
        ("df -Pk /a | tail -n 1", "/dev/nvme0n1p2   959786032 120925232 838860800       9% /\n"),
        (
            f"nvidia-smi {ASK} --format=csv,noheader,nounits",
            (
                "0, NVIDIA GeForce RTX 4090, 24564, 00000000:01:00.0, [N/A], Enabled\n"
                "1, NVIDIA GeForce RTX 4090, 24564, 00000000:02:00.0, [N/A], Enabled\n"
            ),
        ),
    ],
)
def test_output_on_a_sound_host(sound: Host, command: str, said: str) -> None:
    """What the original programs print."""
    assert sound.run(command) == (0, said)


def test_containers_are_listed(build: Builder) -> None:
    """By name, which is also their image's name."""
    assert SOUND.docker is not None
    host = build(replace(SOUND, docker=replace(SOUND.docker, containers=("ionet/worker", "redis"))))
    assert host.run("docker ps --format '{{.Names}} of {{.Image}}'") == (
        0,
        "ionet/worker of ionet/worker\nredis of redis\n",
    )


@pytest.mark.parametrize(
    ("condition", "command", "status"),
    [
        ("docker-down", "docker info", 1),
        ("docker-missing", "docker info", 127),
        ("toolkit-missing", "nvidia-ctk --version", 127),
        ("no-gzip", "gzip --version", 127),
        ("driver-missing", "nvidia-smi", 127),
        ("driver-not-loaded", "nvidia-smi", 9),
        ("driver-mismatch", "nvidia-smi", 9),
        ("gpu-lost", "nvidia-smi", 15),
        ("gpu-unknown", "python3 -c pass", 127),
    ],
)
def test_what_is_missing_fails(build: Builder, condition: str, command: str, status: int) -> None:
    """It fails, even when the machine has such a program. On a sound host it works: the control."""
    assert (build(CONDITIONS[condition].change(SOUND)).run(command)[0], build().run(command)[0]) == (
        status,
        0,
    )


CONNECT = """python3 -c '
import socket
listener = socket.create_server(("127.0.0.1", 0))
try:
    with socket.create_connection(("localhost", listener.getsockname()[1]), timeout=5) as made:
        print("from", made.getsockname()[0])
except OSError as error:
    print(type(error).__name__)
'"""


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("docker-down", "from 10.77.0.1\n"),
        ("rpc-blocked", "TimeoutError\n"),
        ("rpc-blocked-in-part", "ConnectionRefusedError\n"),
        ("dns", "gaierror\n"),
        ("same-address", "from 10.77.255.254\n"),
    ],
)
def test_connections_use_the_hosts_network(build: Builder, condition: str, said: str) -> None:
    """Connections fail in the host's way, or show the host's own address as their source."""
    assert build(CONDITIONS[condition].change(SOUND)).run(CONNECT) == (0, said)
