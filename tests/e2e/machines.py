"""Real hosts on one machine: Debian with systemd and OpenSSH, each with a disk and a network namespace of its own.

Each host is an overlay over one shared root, booted by systemd-nspawn. Bridge, addresses and faults live in namespaces
that are made here; nothing in the machine's own network changes. Everything made is taken down again, by its own name
or process id, and hosts never outlive the tests that booted them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.e2e import cgroups, leftovers
from tests.e2e.base_root import PASSWORD, PASSWORD_USER, USER, base_root, why_unavailable
from tests.e2e.namespaces import ending_with_us, inside, output_of
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["GATEWAY", "PASSWORD", "PASSWORD_USER", "USER", "Fleet", "Machine", "why_unavailable"]

GATEWAY: Final = "10.77.0.1"
BOOT_TIMEOUT_S: Final = 60.0
DISK_MIB: Final = 20_480
DOCKER_SETTINGS: Final = {
    "storage-driver": "vfs",
    "iptables": False,
    "ip6tables": False,
    "bridge": "none",
    "ip-forward": False,
}
"""Docker's configuration without what the kernel of all hosts cannot do for one of them: overlays inside an overlay, and rules of iptables."""

_MIB: Final = 1 << 20
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SSH_OPTIONS: Final = (
    "StrictHostKeyChecking=yes",
    "LogLevel=ERROR",
    "ConnectTimeout=2",
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "KexAlgorithms=curve25519-sha256",
)


@dataclass(slots=True)
class Machine:
    """One host. ``process_id`` is that of its systemd-nspawn, ``None`` while it is off."""

    name: str
    address: str
    namespace: str
    directory: Path
    base: Path
    bridge_namespace: str
    identity: Path
    disk_mib: int = DISK_MIB
    host_key: str = ""
    options: tuple[str, ...] = ()
    process_id: int | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        """Its root file system, as seen from outside; it can be read and written while the host runs or is off."""
        return self.directory / "root"

    @property
    def _disk(self) -> Path:
        return self.directory / "disk"

    # Built and taken away

    def prepare(self) -> None:
        """Make disk, keys and network; the host stays off."""
        self._mount()
        self._write_identity()
        self._write_keys()
        self._lay_cable()
        self.plug()

    def _mount(self) -> None:
        """A disk in memory, of a size that can change, under what the host writes over the shared root."""
        self._disk.mkdir(parents=True)
        self.root.mkdir()
        size = f"size={self.disk_mib}m,mode=0755"
        output_of(["mount", "-t", "tmpfs", "-o", size, self.namespace, str(self._disk)])
        for part in ("upper", "work"):
            (self._disk / part).mkdir()
        layers = f"lowerdir={self.base},upperdir={self._disk}/upper,workdir={self._disk}/work"
        output_of(["mount", "-t", "overlay", "-o", layers, self.namespace, str(self.root)])

    def _write_identity(self) -> None:
        key = self.root / "etc/ssh/ssh_host_ed25519_key"
        output_of(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)])
        self.host_key = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        (self.directory / "known_hosts").write_text(f"{self.address} {self.host_key}\n")
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        # sudo looks its own host up; without an answer every login would wait for a resolver.
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        # sudo looks its host's name up: a name server that nobody can reach would cost it 20 s a time.
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self.address} {self.name}\n")
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        (self.root / "etc/resolv.conf").write_text("")
        # Left empty, every guest would take the same one from the machine that all run on.
        (self.root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")

    def _write_keys(self) -> None:
        authorized = self.identity.with_suffix(".pub").read_text()
        for home in (self.root / "root", self.root / "home" / USER, self.root / "home" / PASSWORD_USER):
            owner = home.stat().st_uid
            folder = home / ".ssh"
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / "authorized_keys").write_text(authorized)
            for path in (folder, folder / "authorized_keys"):
                os.chown(path, owner, owner)

    def _lay_cable(self) -> None:
        """A virtual cable between a bridge port, named after the address, and the host's ``eth0``."""
        output_of(["ip", "netns", "add", self.namespace])
        port = "v" + "-".join(self.address.split(".")[2:])
        bridge = ["ip", "-n", self.bridge_namespace, "link"]
        ends = ["type", "veth", "peer", "name", "eth0", "netns", self.namespace]
        output_of([*bridge, "add", port, *ends])
        output_of([*bridge, "set", port, "master", "br0", "up"])
        output_of(["ip", "-n", self.namespace, "addr", "add", f"{self.address}/16", "dev", "eth0"])

    def destroy(self) -> None:
        """Take away all that was made."""
        self.power_cut()
        leftovers.take_down(self.namespace)

    # Power

    def boot(self) -> None:
        """Switch it on; ``wait_for_ssh`` tells when it is up. To be called from the main thread."""
        groups = cgroups.make(self.namespace)
        argv = [*cgroups.joining(groups), *ending_with_us(), "systemd-nspawn", "--boot", "--quiet"]
        argv += ["--directory", str(self.root), "--register=no", "--keep-unit", "--console=pipe"]
        # As root of a network of its own, as far as its namespace reaches.
        argv += [f"--network-namespace-path=/run/netns/{self.namespace}", "--capability=CAP_NET_ADMIN"]
        argv += [f"--machine={self.namespace}", f"--hostname={self.name}", *self.options]
        with (self.directory / "console.log").open("ab") as log:
            # A session of its own: a signal meant for the test run must not switch hosts off.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # No filter of system calls: Nomad's exec driver and Landlock need what containers may not do otherwise.
                env={"PATH": _PATH, "SYSTEMD_NSPAWN_LOCK": "0", "SYSTEMD_SECCOMP": "0"},
                start_new_session=True,
            )
        self.process_id = self._process.pid

    def wait_for_ssh(self) -> None:
        """Return once the controller can log in and become root; raises ``TimeoutError`` after a minute."""

        def is_up() -> bool:
            return self.run("sudo -n true", user=USER, check=False).returncode == 0

        wait_until(
            is_up, f"a login at {self.name}; see {self.directory}/console.log", timeout_s=BOOT_TIMEOUT_S
        )

    def follow_reboot(self, timeout_s: float) -> None:
        """Switch it on again once it has asked for a reboot: its systemd-nspawn ends then. From the main thread."""
        process = self._process
        if process is None:
            raise RuntimeError(f"{self.name} is off")
        wait_until(lambda: process.poll() is not None, f"the reboot of {self.name}", timeout_s=timeout_s)
        self.boot()

    def power_cut(self) -> None:
        """Switch it off without a word, as a power cut does; what it has written stays on its disk."""
        if self._process is None:
            return
        leader = self._leader()
        if leader is not None:
            os.kill(leader, signal.SIGKILL)
        self._process.kill()
        self._process.wait(timeout=20)
        self._process = self.process_id = None
        if leader is not None:
            wait_until(lambda: _is_gone(leader), f"the end of all processes of {self.name}", timeout_s=20)

    def _leader(self) -> int | None:
        """The guest's process 1, the only child of its systemd-nspawn; ``None`` while there is none."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children")
        try:
            return int(children.read_text().split()[0])
        except (OSError, IndexError):
            return None

    # Faults

    def unplug(self) -> None:
        """Pull its network cable."""
        output_of(["ip", "-n", self.namespace, "link", "set", "eth0", "down"])

    def plug(self) -> None:
        """Put the cable in."""
        for link in ("lo", "eth0"):
            output_of(["ip", "-n", self.namespace, "link", "set", link, "up"])
        output_of(["ip", "-n", self.namespace, "route", "replace", "default", "via", GATEWAY])

    def fill_disk(self, free_mib: int = 0) -> None:
        """Leave so much free space on its disk, as if the rest had been filled."""
        disk = os.statvfs(self._disk)
        used_bytes = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        self._resize_disk(used_bytes + free_mib * _MIB)

    def empty_disk(self) -> None:
        """Give the disk its size back."""
        self._resize_disk(self.disk_mib * _MIB)

    def _resize_disk(self, size_bytes: int) -> None:
        output_of(["mount", "-o", f"remount,size={size_bytes}", str(self._disk)])

    def stop_sshd(self) -> None:
        """Stop its SSH server; sessions that are open go on."""
        self.enter("systemctl stop ssh")

    def start_sshd(self) -> None:
        """Start its SSH server, and wait until it lets the controller in."""
        self.enter("systemctl start ssh")
        self.wait_for_ssh()

    # Looking at it

    def run(
        self, command: str, *, user: str = "root", check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """What a shell command, run over SSH, printed and ended with; ``RuntimeError`` when it fails and ``check``."""
        options = [*_SSH_OPTIONS, f"UserKnownHostsFile={self.directory}/known_hosts"]
        flags = [part for option in options for part in ("-o", option)]
        argv = [*inside(self.bridge_namespace), "ssh", "-i", str(self.identity), *flags]
        return self._finished([*argv, f"{user}@{self.address}", command], check=check, timeout_s=timeout_s)

    def enter(
        self, command: str, *, check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """The same without SSH, as a keyboard at the host would: also when its network or SSH server is down."""
        argv = ["nsenter", "--all", "--target", str(self._leader()), "sh", "-c", command]
        return self._finished(argv, check=check, timeout_s=timeout_s)

    def _finished(
        self, argv: list[str], *, check: bool, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": _PATH, "HOME": "/root"}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, env=env, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {argv[-1]} ended with {done.returncode}: {done.stderr[-400:]}")
        return done

    def read(self, path: str) -> str:
        """A file's text, read from outside."""
        return (self.root / path.lstrip("/")).read_text()


def _is_gone(process_id: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Fleet:
    """Hosts on a bridge; a context manager. ``run_controller`` runs a command where the hosts can be reached.

    ``furnish`` is given every host before it boots for the first time; ``base`` makes the root that they share, ``options`` are
    systemd-nspawn's.
    """

    def __init__(
        self,
        count: int,
        directory: Path,
        *,
        disk_mib: int = DISK_MIB,
        furnish: Callable[[Machine], None] = lambda _: None,
        base: Callable[[], Path] = base_root,
        options: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.bridge_namespace = leftovers.new_tag()
        self.identity = directory / "id_ed25519"
        self.machines: list[Machine] = []
        self._count = count
        self._disk_mib = disk_mib
        self._furnish = furnish
        self._base = base
        self._options = options

    def __enter__(self) -> Self:
        leftovers.sweep()
        try:
            self._prepare()
        except BaseException:
            self._destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._destroy()

    def _prepare(self) -> None:
        base = self._base()
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f", str(self.identity)]
        output_of(key)
        self._build_bridge()
        for index in range(self._count):
            machine = self._machine(index, base)
            self.machines.append(machine)
            machine.prepare()
            self._furnish(machine)
            machine.boot()
        for machine in self.machines:
            machine.wait_for_ssh()

    def _build_bridge(self) -> None:
        output_of(["ip", "netns", "add", self.bridge_namespace])
        for command in (
            "link add br0 type bridge",
            f"addr add {GATEWAY}/16 dev br0",
            "link set br0 up",
            "link set lo up",
        ):
            output_of(["ip", "-n", self.bridge_namespace, *command.split()])

    def _machine(self, index: int, base: Path) -> Machine:
        name = f"rig-{index + 1:03}"
        return Machine(
            name,
            f"10.77.{index // 250 + 1}.{index % 250 + 1}",
            leftovers.new_tag(),
            self.directory / name,
            base,
            self.bridge_namespace,
            self.identity,
            self._disk_mib,
            options=self._options,
        )

    def _destroy(self) -> None:
        for machine in self.machines:
            machine.destroy()
        leftovers.take_down(self.bridge_namespace)

    def controller_argv(self, argv: Sequence[str]) -> list[str]:
        """A command as it is run beside the hosts."""
        return [*inside(self.bridge_namespace), *argv]

    def run_controller(
        self, argv: Sequence[str], env: Mapping[str, str], timeout_s: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside the hosts, whatever its exit status."""
        return subprocess.run(
            self.controller_argv(argv),
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
