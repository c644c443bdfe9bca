"""Real hosts on one machine: Debian with systemd and OpenSSH, each in a network namespace of its own.

A base root is made once by debootstrap and kept; each host is an overlay over it, booted by systemd-nspawn. Bridge,
addresses and faults live in namespaces that were made here; nothing in the machine's own network changes. Everything
made is taken down again, by its own name or process id.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES: Final = (
    "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,python3-minimal,ca-certificates,zstd,unzip,procps"
)
SUITE: Final = "bookworm"
GATEWAY: Final = "10.77.0.1"
USER: Final = "miner"
BOOT_TIMEOUT_S: Final = 60.0

_CGROUP_UNIT: Final = """\
[Unit]
Description=Writable cgroup controllers, as a host of its own has them
Before=nomad.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in freezer memory cpu cpuset cpu,cpuacct pids; do \
mount -o remount,bind,rw /sys/fs/cgroup/$c 2>/dev/null || true; done'
[Install]
WantedBy=multi-user.target
"""

_SETUP: Final = f"""\
set -eu
useradd -m -s /bin/bash {USER}
echo '{USER} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
systemctl mask systemd-resolved systemd-networkd systemd-firstboot console-getty getty@ container-getty@ >/dev/null 2>&1
systemctl enable writable-cgroups.service ssh.service >/dev/null 2>&1
rm -f /etc/ssh/ssh_host_*
printf 'PermitRootLogin prohibit-password\\nUseDNS no\\n' > /etc/ssh/sshd_config.d/e2e.conf
: > /etc/machine-id
rm -rf /var/cache/apt/*.bin /var/lib/apt/lists/*
"""


def why_unavailable() -> str | None:
    """Why real hosts cannot be had here; ``None`` where they can."""
    if os.geteuid() != 0:
        return "real hosts need root"
    missing = [
        tool
        for tool in ("systemd-nspawn", "debootstrap", "ip", "ssh", "ssh-keygen")
        if not shutil.which(tool)
    ]
    return f"{', '.join(missing)} not installed" if missing else None


def base_root() -> Path:
    """The shared root file system, made on first use (about a minute, 310 MB)."""
    recipe = hashlib.sha256((PACKAGES + SUITE + _SETUP + _CGROUP_UNIT).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ionetctl-e2e"
    root = cache / f"root-{recipe}"
    if not root.exists():
        partial = cache / f"root-{recipe}.{os.getpid()}"
        cache.mkdir(parents=True, exist_ok=True)
        _make_root(partial)
        partial.rename(root)
    return root


def _make_root(root: Path) -> None:
    _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)], timeout_s=900)
    (root / "etc/systemd/system/writable-cgroups.service").write_text(_CGROUP_UNIT)
    _run(["chroot", str(root), "sh", "-c", _SETUP], timeout_s=120)


def _run(argv: Sequence[str], timeout_s: float = 30.0) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(argv[:4])} …: {done.stderr.strip()[-400:]}")
    return done.stdout


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
    host_key: str = ""
    process_id: int | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def root(self) -> Path:
        """Its root file system, as seen from outside."""
        return self.directory / "root"

    def prepare(self) -> None:
        """Make disk, keys and network; the host stays off."""
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        layers = f"lowerdir={self.base},upperdir={self.directory}/upper,workdir={self.directory}/work"
        _run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)])
        self._write_keys()
        _run(["ip", "netns", "add", self.namespace])
        outside = f"v{self.address.rsplit('.', 1)[1]}"
        _run(
            [
                "ip",
                "-n",
                self.bridge_namespace,
                "link",
                "add",
                outside,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.namespace,
            ]
        )
        _run(["ip", "-n", self.bridge_namespace, "link", "set", outside, "master", "br0", "up"])
        _run(["ip", "-n", self.namespace, "addr", "add", f"{self.address}/16", "dev", "eth0"])
        self.plug()

    def _write_keys(self) -> None:
        key = self.root / "etc/ssh/ssh_host_ed25519_key"
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)])
        self.host_key = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        authorized = self.identity.with_suffix(".pub").read_text()
        for home, owner in (("root", 0), (f"home/{USER}", (self.root / f"home/{USER}").stat().st_uid)):
            folder = self.root / home / ".ssh"
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / "authorized_keys").write_text(authorized)
            os.chown(folder, owner, owner)
            os.chown(folder / "authorized_keys", owner, owner)

    def boot(self) -> None:
        """Switch it on; ``wait_for_ssh`` tells when it is up."""
        log = (self.directory / "console.log").open("ab")
        argv = [
            "systemd-nspawn",
            "-b",
            "-q",
            "-D",
            str(self.root),
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]
        argv += [f"--network-namespace-path=/run/netns/{self.namespace}", f"--machine={self.name}"]
        # A session of its own: a signal meant for the test run must not switch hosts off.
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        self.process_id = self._process.pid
        log.close()

    def wait_for_ssh(self) -> None:
        """Return once a login works; raises ``TimeoutError`` after a minute."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.run("true", check=False).returncode == 0:
                return
            time.sleep(0.2)
        raise TimeoutError(f"{self.name} did not answer; see {self.directory}/console.log")

    def power_cut(self) -> None:
        """Switch it off without a word, as a power cut does."""
        if self._process is not None:
            leader = self._leader()
            if leader is not None:
                os.kill(leader, signal.SIGKILL)
            self._process.kill()
            self._process.wait(timeout=20)
        self._process = self.process_id = None

    def _leader(self) -> int | None:
        """The guest's process 1: the only child of its systemd-nspawn."""
        children = Path(f"/proc/{self.process_id}/task/{self.process_id}/children")
        return (
            int(children.read_text().split()[0])
            if children.exists() and children.read_text().split()
            else None
        )

    def unplug(self) -> None:
        """Pull its network cable."""
        _run(["ip", "-n", self.namespace, "link", "set", "eth0", "down"])

    def plug(self) -> None:
        """Put the cable in."""
        _run(["ip", "-n", self.namespace, "link", "set", "lo", "up"])
        _run(["ip", "-n", self.namespace, "link", "set", "eth0", "up"])
        subprocess.run(
            ["ip", "-n", self.namespace, "route", "add", "default", "via", GATEWAY],
            check=False,
            capture_output=True,
        )

    def run(
        self, command: str, *, check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """What a shell command, run as root over SSH, printed and ended with."""
        options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=2",
        ]
        options += ["BatchMode=yes", "IdentitiesOnly=yes", "KexAlgorithms=curve25519-sha256"]
        flags = [part for option in options for part in ("-o", option)]
        argv = ["ip", "netns", "exec", self.bridge_namespace, "ssh", "-i", str(self.identity), *flags]
        return subprocess.run(
            [*argv, f"root@{self.address}", command],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=check,
        )

    def read(self, path: str) -> str:
        """A file's text, read from outside."""
        return (self.root / path.lstrip("/")).read_text()

    def destroy(self) -> None:
        """Take away all that was made."""
        self.power_cut()
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)
        subprocess.run(["umount", "-R", "-l", str(self.root)], check=False, capture_output=True)


class Fleet:
    """Hosts on a bridge; a context manager. ``run_controller`` runs a command where the hosts can be reached."""

    def __init__(self, count: int, directory: Path) -> None:
        self.directory = directory
        self.bridge_namespace = f"ioe2e-{os.getpid()}"
        self.identity = directory / "id_ed25519"
        self._count = count
        self.machines: list[Machine] = []

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._destroy()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._destroy()

    def _prepare(self) -> None:
        base = base_root()
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f", str(self.identity)])
        _run(["ip", "netns", "add", self.bridge_namespace])
        for command in (
            "link add br0 type bridge",
            f"addr add {GATEWAY}/16 dev br0",
            "link set br0 up",
            "link set lo up",
        ):
            _run(["ip", "-n", self.bridge_namespace, *command.split()])
        for number in range(1, self._count + 1):
            machine = self._machine(number, base)
            self.machines.append(machine)
            machine.prepare()
            machine.boot()
        for machine in self.machines:
            machine.wait_for_ssh()

    def _machine(self, number: int, base: Path) -> Machine:
        name = f"rig-{number:03}"
        namespace = f"{self.bridge_namespace}-{number}"
        place = self.directory / name
        return Machine(
            name, f"10.77.1.{number}", namespace, place, base, self.bridge_namespace, self.identity
        )

    def _destroy(self) -> None:
        for machine in self.machines:
            machine.destroy()
        subprocess.run(["ip", "netns", "del", self.bridge_namespace], check=False, capture_output=True)

    def controller_argv(self, argv: Sequence[str]) -> list[str]:
        """A command as it is run beside the hosts."""
        return ["ip", "netns", "exec", self.bridge_namespace, *argv]

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
