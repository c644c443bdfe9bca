"""A whole rehearsal in processes of its own: what is served, what each fault looks like from outside, and its end."""

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
from ionetctl.lab.rehearsal import Lab, lab_down, lab_run, lab_up
from ionetctl.lab.site import LabSpec
from ionetctl.remote import survey_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SOUND = ""


@dataclass
class Fleet:
    """The rehearsal that these tests share: a host for each fault, and one without any."""

    lab: Lab

    def host(self, fault: str) -> tuple[str, str, str, int]:
        """Name, address, pinned key and port of the host with this fault, ``SOUND`` for one without."""
        inventory = load_inventory(str(self.lab.inventory))
        wanted = [host for host in inventory.hosts if self.lab.faults.get(host.name, SOUND) == fault]
        host = wanted[0]
        assert host.ssh.port is not None
        return host.name, host.address, host.ssh.host_keys[0], host.ssh.port

    def promised_gpus(self, fault: str) -> int | None:
        """How many cards the inventory promises of that host."""
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
    """Three streams, the exit status, and a tree that stands for the root: the control of all faults."""
    found = await fleet.run(SOUND, 'cat; echo "$IONET_ROOT" >&2; exit 7', b"input")
    assert found == (7, b"input", f"{fleet.tree(SOUND)}\n".encode())


async def test_the_survey_tells_what_the_host_pretends_to_be(fleet: Fleet) -> None:
    """The product's own script, unchanged, as root by sudo."""
    status, out, err = await fleet.run(SOUND, "sudo -n sh -s -- N1 -", survey_script())
    facts = [line.split("\t") for line in out.decode().splitlines()]
    values = {fields[0]: fields[1] for fields in facts}
    assert (status, err, facts[-1]) == (0, b"", ["ionet-survey-end", "N1"])
    assert (values["init"], values["uid"], int(values["gpu.bus"])) == (
        "systemd",
        "0",
        fleet.promised_gpus(SOUND),
    )


async def test_a_large_input_arrives_whole(fleet: Fleet) -> None:
    """Three megabytes through the channel, counted and hashed on the host."""
    data = os.urandom(3 << 20)
    status, out, _ = await fleet.run(SOUND, "wc -c", data)
    assert (status, int(out)) == (0, len(data))


async def test_a_signal_is_told_as_such(fleet: Fleet) -> None:
    """Like sshd, a command that a signal ended has no exit status."""
    async with fleet.connect(SOUND) as connection:
        done = await connection.run("kill -9 $$")
    assert (done.exit_status, done.exit_signal and done.exit_signal[0]) == (-1, "KILL")


async def test_a_command_goes_on_when_its_client_is_gone(fleet: Fleet) -> None:
    """It sees the end of its input, and may finish what it began."""
    mark = fleet.tree(SOUND) / "tmp/finished"
    os.mkfifo(mark)
    async with fleet.connect(SOUND) as connection:
        process = await connection.create_process(f"echo started; cat >/dev/null; echo done >{mark}")
        assert await process.stdout.readline() == "started\n"
        connection.abort()
    assert await asyncio.to_thread(mark.read_text) == "done\n"


async def test_another_user_is_not_let_in(fleet: Fleet) -> None:
    """The key is good for one name only."""
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
async def test_faults_that_keep_one_out(fleet: Fleet, fault: str, error: type[Exception]) -> None:
    """Each fails in its own way, before any command."""
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
    """The program says what the original would say; on a sound host it does its work."""
    status, out, err = await fleet.run(fault, command)
    assert (status, out, err[: len(expected[2])]) == expected


async def test_a_clock_that_is_off(fleet: Fleet) -> None:
    """Ten minutes ahead of a sound host's."""
    ahead, sound = [int((await fleet.run(fault, "date +%s"))[1]) for fault in ("clock", SOUND)]
    assert abs(ahead - sound - 600) <= 5


async def test_a_missing_gpu(fleet: Fleet) -> None:
    """One card fewer than the host's rack has."""
    counts = [
        len((await fleet.run(fault, "nvidia-smi -L"))[1].splitlines()) for fault in ("gpu-missing", SOUND)
    ]
    assert [counts[0] + 1, counts[1]] == [fleet.promised_gpus("gpu-missing"), fleet.promised_gpus(SOUND)]


async def test_a_foreign_nomad_runs(fleet: Fleet) -> None:
    """Active, enabled or not, and with an allocation."""
    assert (await fleet.run("foreign-nomad", "systemctl is-active nomad"))[:2] == (0, b"active\n")
    assert len(list((fleet.tree("foreign-nomad") / "opt/nomad/data/alloc").iterdir())) == 1


async def test_a_lock_that_somebody_holds(fleet: Fleet) -> None:
    """The survey finds it, since its holder lives."""
    _, out, _ = await fleet.run("locked", "sudo -n sh -s -- N1 -", survey_script())
    assert b"lock\tr-rehearsed\tsomebody@elsewhere\t2026-01-01T00:00:00Z\n" in out


async def test_noise_comes_before_the_output(fleet: Fleet) -> None:
    """Escape sequences in both outputs; the output itself is whole."""
    status, out, err = await fleet.run("noisy", "echo hello")
    assert (status, out.startswith(b"\x1b[2J"), out.endswith(b"hello\n"), b"::error::" in err) == (
        0,
        True,
        True,
        True,
    )


async def test_endless_output_does_not_end(fleet: Fleet) -> None:
    """However much is read, there is more."""
    async with fleet.connect("endless") as connection:
        process = await connection.create_process("true", encoding=None)
        assert len(await process.stdout.readexactly(1 << 20)) == 1 << 20


@pytest.mark.parametrize(("fault", "first"), [("slow", 1 << 16), ("trickle", 1)])
async def test_a_slow_line_is_slow(fleet: Fleet, fault: str, first: int) -> None:
    """What a second's worth is comes first, whatever more there is."""
    async with fleet.connect(fault) as connection:
        process = await connection.create_process("head -c 1000000 /dev/zero", encoding=None)
        assert len(await process.stdout.read(first + 1)) <= first


async def test_a_host_that_babbles_leaves_the_others_their_time(fleet: Fleet) -> None:
    """While one host's output never ends, and after its reader is gone, another one answers."""
    async with fleet.connect("endless") as connection:
        process = await connection.create_process("true", encoding=None)
        await process.stdout.readexactly(1 << 16)
        assert (await fleet.run(SOUND, "echo here"))[1] == b"here\n"
        connection.abort()
    assert (await fleet.run(SOUND, "echo there"))[1] == b"there\n"


async def test_a_dropped_connection_drops_once(fleet: Fleet) -> None:
    """In the middle of the first large upload; the second one arrives."""
    data = bytes(1 << 20)
    async with fleet.connect("drop") as connection:
        cut = await connection.run("wc -c", input=data, encoding=None)
    assert cut.exit_status is None
    assert (await fleet.run("drop", "wc -c", data))[0] == 0


def test_the_faults_are_written_down(fleet: Fleet) -> None:
    """For tests and for people who want to know."""
    written = json.loads((fleet.lab.directory / "faults.json").read_text())
    assert (written, sorted(written.values())) == (dict(fleet.lab.faults), sorted(FAULTS))


def test_what_is_secret_is_the_owners_alone(fleet: Fleet) -> None:
    """Token, keys, and the plan that holds host keys."""
    names = ("token", "id_ed25519", "pki/ca-key.pem", "pki/cli-key.pem", "run/hosts-1.json")
    assert [oct((fleet.lab.directory / name).stat().st_mode & 0o777) for name in names] == ["0o600"] * 5


def test_a_directory_in_use_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """Neither a running rehearsal nor anybody's files are touched."""
    (tmp_path / "precious").write_text("x")
    codes = []
    for directory in (fleet.lab.directory, tmp_path):
        with pytest.raises(UsageError) as caught:
            lab_up(LabSpec(1, directory))
        codes.append(caught.value.code)
    assert (codes, (tmp_path / "precious").read_text()) == (["lab_running", "lab_directory_in_use"], "x")


def test_down_leaves_no_process_and_no_listener(tmp_path: Path) -> None:
    """And a second down finds nothing to end; up and down again work in the same directory."""
    for _ in range(2):
        lab = lab_up(LabSpec(2, tmp_path))
        host = load_inventory(str(lab.inventory)).hosts[0]
        ended = lab_down(tmp_path)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.address, host.ssh.port or 0), timeout=5)
        assert ended == ["hosts-1", "region"]
        assert [pid for pid in lab.pids.values() if Path(f"/proc/{pid}").exists()] == []
        assert lab_down(tmp_path) == []


def test_down_signals_nobody_else(tmp_path: Path) -> None:
    """A pid file whose process has another start time names a stranger."""
    lab_up(LabSpec(1, tmp_path))
    lab_down(tmp_path)
    stranger = {"pid": os.getppid(), "started": "1"}
    LabPaths(tmp_path).pid("region").write_text(json.dumps(stranger))
    assert lab_down(tmp_path) == []


def test_down_without_a_rehearsal_is_a_usage_error(tmp_path: Path) -> None:
    """A directory that is none is not looked into further."""
    with pytest.raises(UsageError, match=r"there is no rehearsal"):
        lab_down(tmp_path)


def test_in_the_foreground_it_ends_with_its_wait(tmp_path: Path) -> None:
    """Also when the wait is broken off."""
    seen: list[Lab] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab_run(LabSpec(1, tmp_path), seen.append, interrupted)
    paths = LabPaths(tmp_path)
    assert ([lab.hosts for lab in seen], processes.process_names(paths)) == ([1], [])


def test_a_process_that_dies_is_reported_with_its_log(tmp_path: Path) -> None:
    """And nothing is left running."""
    paths = LabPaths(tmp_path)
    paths.run.mkdir()
    processes.start_process(paths, "region", "ionetctl.lab.region.process")
    with pytest.raises(processes.LabError, match=r"region\.json"):
        processes.wait_ready(paths, "region", 20.0)


def test_a_process_that_heeds_no_signal_is_killed(tmp_path: Path) -> None:
    """Politely first, then not: a stopped process does not hear the polite one."""
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
async def test_standins_speak_as_the_originals(
    fleet: Fleet, tmp_path: Path, standin: str, arguments: tuple[str, ...], expected: str
) -> None:
    """Owners show as root's, sudo drops its options, everything else is the original's."""
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
    """Shellcheck finds nothing in any of them."""
    import subprocess
    import sys

    folder = Path(__file__).parents[2] / "ionetctl/lab/standins"
    scripts = [
        str(path) for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "python"
    ]
    checker = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([checker, *scripts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
