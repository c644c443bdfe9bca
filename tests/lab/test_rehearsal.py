"""A rehearsal in its own processes: what it serves, what a client sees of each fault, and how it is taken down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

from ionetctl.core.errors import UsageError
from ionetctl.inventory.load import load_inventory
from ionetctl.lab import processes
from ionetctl.lab.faults.assignment import FAULTS, parse_fault
from ionetctl.lab.host.programs import SYSTEM_PATH
from ionetctl.lab.paths import LabPaths
from ionetctl.lab.rehearsal import Lab, lab_down, lab_run, lab_up, port_free_on_all
from ionetctl.lab.site import LabSpec
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SOUND = ""


@dataclass
class Fleet:
    """The rehearsal that these tests share: a host for each fault, and one without a fault."""

    lab: Lab

    def host(self, fault: str) -> tuple[str, str, str, int]:
        """Name, address, pinned key and port of the host with this fault, ``SOUND`` for one without."""
        inventory = load_inventory(str(self.lab.inventory))
        wanted = [host for host in inventory.hosts if self.lab.faults.get(host.name, SOUND) == fault]
        host = wanted[0]
        assert host.ssh.port is not None
        return host.name, host.address, host.ssh.host_keys[0], host.ssh.port

    def expected_gpus(self, fault: str) -> int | None:
        """The number of GPUs that the inventory has for that host."""
        hosts = load_inventory(str(self.lab.inventory)).hosts
        return {str(host.name): host.gpus.count for host in hosts}[self.host(fault)[0]]

    def tree(self, fault: str) -> Path:
        return LabPaths(self.lab.directory).tree(self.host(fault)[0])

    @contextlib.asynccontextmanager
    async def connect(
        self, fault: str, timeout_s: float = 5.0
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """An SSH connection as the inventory describes it."""
        _, address, key, port = self.host(fault)
        connecting = asyncssh.connect(
            address,
            port,
            username="miner",
            client_keys=[str(self.lab.directory / "id_ed25519")],
            known_hosts=([asyncssh.import_public_key(key)], [], []),
            agent_path=None,
            config=None,
        )
        async with await asyncio.wait_for(connecting, timeout_s) as connection:
            yield connection

    async def run(self, fault: str, command: str, stdin: bytes = b"") -> tuple[int | None, bytes, bytes]:
        """Status and outputs of a command on a host."""
        async with self.connect(fault) as connection:
            source = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
            done = await connection.run(command, encoding=None, **source)
            assert isinstance(done.stdout, bytes)
            assert isinstance(done.stderr, bytes)
            return done.exit_status, done.stdout, done.stderr


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("lab")
    faults = tuple(parse_fault(f"{name}=1") for name in FAULTS)
    lab = lab_up(LabSpec(len(faults) + 1, directory, faults))
    yield Fleet(lab)
    lab_down(directory)


async def test_a_sound_host_runs_commands_for_real(fleet: Fleet) -> None:
    """All three streams, exit status and file tree work without a fault: the control of all faults."""
    found = await fleet.run(SOUND, 'cat; echo "$IONET_ROOT" >&2; exit 7', b"input")
    assert found == (7, b"input", f"{fleet.tree(SOUND)}\n".encode())


async def test_the_survey_reads_the_hosts_description(fleet: Fleet) -> None:
    """The product's own script, unchanged, run through sudo."""
    status, out, err = await fleet.run(SOUND, "sudo -n sh -s -- N1 -", survey_script())
    facts = [line.split("\t") for line in out.decode().splitlines()]
    values = {fields[0]: fields[1] for fields in facts}
    assert (status, err, facts[-1]) == (0, b"", ["ionet-survey-end", "N1"])
    assert (values["init"], values["uid"], int(values["gpu.bus"])) == (
        "systemd",
        "0",
        fleet.expected_gpus(SOUND),
    )


async def test_a_large_input_arrives_whole(fleet: Fleet) -> None:
    """Three megabytes through the channel, counted and hashed on the host."""
    data = os.urandom(3 << 20)
    status, out, _ = await fleet.run(SOUND, "wc -c", data)
    assert (status, int(out)) == (0, len(data))


async def test_a_signal_is_reported(fleet: Fleet) -> None:
    """As with sshd, a command that was ended by a signal has no exit status."""
    async with fleet.connect(SOUND) as connection:
        done = await connection.run("kill -9 $$")
    assert (done.exit_status, done.exit_signal and done.exit_signal[0]) == (-1, "KILL")


async def test_a_command_goes_on_without_its_client(fleet: Fleet) -> None:
    """It gets end of file on its input and runs to its end."""
    mark = fleet.tree(SOUND) / "tmp/finished"
    os.mkfifo(mark)
    async with fleet.connect(SOUND) as connection:
        process = await connection.create_process(f"echo started; cat >/dev/null; echo done >{mark}")
        assert await process.stdout.readline() == "started\n"
        connection.abort()
    assert await asyncio.to_thread(mark.read_text) == "done\n"


async def test_another_user_is_refused(fleet: Fleet) -> None:
    """The key is accepted for one user only."""
    _, address, key, port = fleet.host(SOUND)
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            address,
            port,
            username="root",
            client_keys=[str(fleet.lab.directory / "id_ed25519")],
            known_hosts=([asyncssh.import_public_key(key)], [], []),
            agent_path=None,
            config=None,
        )


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("unreachable", ConnectionRefusedError),
        ("timeout", TimeoutError),
        ("refused", (asyncssh.ConnectionLost, ConnectionResetError)),
        ("silent", TimeoutError),
        ("wrong-key", asyncssh.HostKeyNotVerifiable),
        ("auth", asyncssh.PermissionDenied),
    ],
)
async def test_faults_of_the_connection(fleet: Fleet, fault: str, error: type[Exception]) -> None:
    """Each with the error of its fault, before a command runs."""
    with pytest.raises(error):
        async with fleet.connect(fault, timeout_s=1.0):
            pass


@pytest.mark.parametrize(
    ("fault", "command", "expected"),
    [
        ("sudo", "sudo -n true", (1, b"", b"sudo: a password is required\n")),
        ("disk-full", "tar -xf -", (2, b"", b"tar: f/1: Cannot write: No space left on device\n")),
        (
            "read-only",
            "mkdir -p /x",
            (1, b"", b"mkdir: cannot create directory '/x': Read-only file system\n"),
        ),
    ],
)
async def test_faults_of_programs(
    fleet: Fleet, fault: str, command: str, expected: tuple[int, bytes, bytes]
) -> None:
    """The program prints the original's error; on a host without the fault it works."""
    status, out, err = await fleet.run(fault, command)
    assert (status, out, err[: len(expected[2])]) == expected


async def test_a_clock_that_is_off(fleet: Fleet) -> None:
    """It is ten minutes ahead."""
    ahead, sound = [int((await fleet.run(fault, "date +%s"))[1]) for fault in ("clock", SOUND)]
    assert abs(ahead - sound - 600) <= 5


async def test_a_missing_gpu(fleet: Fleet) -> None:
    """The PCI bus has one GPU fewer than the inventory."""
    counts = [
        len((await fleet.run(fault, "nvidia-smi -L"))[1].splitlines()) for fault in ("gpu-missing", SOUND)
    ]
    assert [counts[0] + 1, counts[1]] == [fleet.expected_gpus("gpu-missing"), fleet.expected_gpus(SOUND)]


async def test_a_foreign_nomad_runs(fleet: Fleet) -> None:
    """Its service is active, and it has an allocation."""
    assert (await fleet.run("foreign-nomad", "systemctl is-active nomad"))[:2] == (0, b"active\n")
    assert len(list((fleet.tree("foreign-nomad") / "opt/nomad/data/alloc").iterdir())) == 1


async def test_a_lock_of_another_rollout(fleet: Fleet) -> None:
    """The survey reports it, since its owner is a running process."""
    _, out, _ = await fleet.run("locked", "sudo -n sh -s -- N1 -", survey_script())
    assert b"lock\tr-rehearsed\tsomebody@elsewhere\t2026-01-01T00:00:00Z\n" in out


async def test_noise_comes_before_the_output(fleet: Fleet) -> None:
    """Escape sequences in both outputs, before the complete output."""
    status, out, err = await fleet.run("noisy", "echo hello")
    assert (status, out.startswith(b"\x1b[2J"), out.endswith(b"hello\n"), b"::error::" in err) == (
        0,
        True,
        True,
        True,
    )


async def test_endless_output_does_not_end(fleet: Fleet) -> None:
    """After a large read there is still more."""
    async with fleet.connect("endless") as connection:
        process = await connection.create_process("true", encoding=None)
        assert len(await process.stdout.readexactly(1 << 20)) == 1 << 20


@pytest.mark.parametrize(("fault", "first"), [("slow", 1 << 16), ("trickle", 1)])
async def test_a_slow_link_is_slow(fleet: Fleet, fault: str, first: int) -> None:
    """The first read returns what the link carries in a second."""
    async with fleet.connect(fault) as connection:
        process = await connection.create_process("head -c 1000000 /dev/zero", encoding=None)
        assert len(await process.stdout.read(first + 1)) <= first


async def test_endless_output_does_not_block_other_hosts(fleet: Fleet) -> None:
    """Another host answers while the output goes on, and after its reader has disconnected."""
    async with fleet.connect("endless") as connection:
        process = await connection.create_process("true", encoding=None)
        await process.stdout.readexactly(1 << 16)
        assert (await fleet.run(SOUND, "echo here"))[1] == b"here\n"
        connection.abort()
    assert (await fleet.run(SOUND, "echo there"))[1] == b"there\n"


async def test_a_dropped_connection_drops_once(fleet: Fleet) -> None:
    """During the first large upload; the second one arrives."""
    data = bytes(1 << 20)
    async with fleet.connect("drop") as connection:
        cut = await connection.run("wc -c", input=data, encoding=None)
    assert cut.exit_status is None
    assert (await fleet.run("drop", "wc -c", data))[0] == 0


def test_the_faults_are_written_down(fleet: Fleet) -> None:
    """In ``faults.json``."""
    written = json.loads((fleet.lab.directory / "faults.json").read_text())
    assert (written, sorted(written.values())) == (dict(fleet.lab.faults), sorted(FAULTS))


def test_secret_files_are_private(fleet: Fleet) -> None:
    """Token, keys, and the plan with the host keys have mode 0600."""
    names = ("token", "id_ed25519", "pki/ca-key.pem", "pki/cli-key.pem", "run/hosts-1.json")
    assert [oct((fleet.lab.directory / name).stat().st_mode & 0o777) for name in names] == ["0o600"] * 5


def test_a_directory_in_use_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """Neither a running rehearsal nor other files are touched."""
    (tmp_path / "precious").write_text("x")
    codes = []
    for directory in (fleet.lab.directory, tmp_path):
        with pytest.raises(UsageError) as caught:
            lab_up(LabSpec(1, directory))
        codes.append(caught.value.code)
    assert (codes, (tmp_path / "precious").read_text()) == (["lab_running", "lab_directory_in_use"], "x")


def test_down_leaves_no_process_and_no_listener(tmp_path: Path) -> None:
    """A second ``lab down`` ends nothing; ``lab up`` works again in the same directory."""
    for _ in range(2):
        lab = lab_up(LabSpec(2, tmp_path))
        host = load_inventory(str(lab.inventory)).hosts[0]
        ended = lab_down(tmp_path)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.address, host.ssh.port or 0), timeout=5)
        assert ended == ["hosts-1", "region"]
        assert [pid for pid in lab.pids.values() if Path(f"/proc/{pid}").exists()] == []
        assert lab_down(tmp_path) == []


def test_down_signals_no_other_process(tmp_path: Path) -> None:
    """A process with another start time than the pid file's is not signalled."""
    lab_up(LabSpec(1, tmp_path))
    lab_down(tmp_path)
    stranger = {"pid": os.getppid(), "started": "1"}
    LabPaths(tmp_path).pid("region").write_text(json.dumps(stranger))
    assert lab_down(tmp_path) == []


def test_down_without_a_rehearsal_is_a_usage_error(tmp_path: Path) -> None:
    """A directory without a rehearsal is refused."""
    with pytest.raises(UsageError, match=r"there is no rehearsal"):
        lab_down(tmp_path)


def test_in_the_foreground_it_ends_with_its_wait(tmp_path: Path) -> None:
    """It is also taken down when the wait raises."""
    seen: list[Lab] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab_run(LabSpec(1, tmp_path), seen.append, interrupted)
    paths = LabPaths(tmp_path)
    assert ([lab.hosts for lab in seen], processes.process_names(paths)) == ([1], [])


def test_a_process_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    """No process is left running."""
    paths = LabPaths(tmp_path)
    paths.run.mkdir()
    processes.start_process(paths, "region", "ionetctl.lab.region.process")
    with pytest.raises(processes.LabError, match=r"region\.json"):
        processes.wait_ready(paths, "region", 20.0)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """A stopped process ignores SIGTERM and gets SIGKILL."""
    lab = lab_up(LabSpec(1, tmp_path))
    for pid in lab.pids.values():
        os.kill(pid, signal.SIGSTOP)
    ended = processes.end_processes(LabPaths(tmp_path), ["hosts-1", "region"], timeout_s=0.3)
    assert ended == ["hosts-1", "region"]
    assert [pid for pid in lab.pids.values() if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    ("standin", "arguments", "expected"),
    [
        ("stat", ("-c", "%U:%G %u:%g %a %%U %n", "FILE"), "root:root 0:0 640 %U FILE"),
        ("stat", ("--format=%U", "FILE"), "root"),
        ("sudo", ("-n", "-u", "root", "--", "id", "-un"), "root"),
        ("sudo", ("-S", "-p", "prompt", "A=1", "sh", "-c", "echo $A"), "1"),
        ("id", ("-u",), "1000"),
        ("id", (), "uid=1000(miner) gid=1000(miner) groups=1000(miner)"),
        ("chown", ("nobody:nogroup", "FILE"), ""),
    ],
)
async def test_standins_print_what_the_originals_print(
    fleet: Fleet, tmp_path: Path, standin: str, arguments: tuple[str, ...], expected: str
) -> None:
    """Owners are shown as root, sudo removes its options, all else is the original's output."""
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o640)
    programs = LabPaths(fleet.lab.directory).programs / "common"
    process = await asyncio.create_subprocess_exec(
        programs / standin,
        *(str(file) if each == "FILE" else each for each in arguments),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": f"{programs}:{SYSTEM_PATH}", "LAB_SYSTEM_PATH": SYSTEM_PATH},
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == expected.replace("FILE", str(file))


def test_standins_are_sound_shell() -> None:
    """Shellcheck has no findings."""
    import subprocess
    import sys

    folder = Path(__file__).parents[2] / "ionetctl/lab/standins"
    scripts = [
        str(path) for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "python"
    ]
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_port_is_free_on_every_address() -> None:
    """One that something listens at on the last address is passed over; where no other is left, that is said."""
    addresses = [f"127.94.0.{number}" for number in range(1, 4)]
    with (
        socket.create_server((addresses[-1], 0)) as listening,
        socket.create_server(("127.94.1.1", 0)) as other,
    ):
        taken, free = listening.getsockname()[1], other.getsockname()[1]
        assert port_free_on_all(addresses, (taken, free)) == free
        with pytest.raises(processes.LabError, match=r"from 127\.94\.0\.1 to 127\.94\.0\.3"):
            port_free_on_all(addresses, (taken,))
