"""Root file systems, made once and kept: a minimal Debian with systemd, OpenSSH and sudo, one with sudo-rs, and a bare one.

They lie in the user's cache, named after the recipe that made them: a changed recipe makes a new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.e2e.namespaces import output_of

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES: Final = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,python3,ca-certificates,zstd,unzip,procps,cron,screen"
SUDO_RS_PACKAGES: Final = "systemd,systemd-sysv,dbus,openssh-server,sudo-rs,iproute2,procps"
BARE_PACKAGES: Final = "python3,python3-venv,make,git"
SUITE: Final = "bookworm"
SUDO_RS_SUITE: Final = "trixie"
USER: Final = "miner"
"""Logs in with the controller's key; sudo asks it for nothing."""
PASSWORD_USER: Final = "rigadmin"
"""Logs in with the controller's key or with ``PASSWORD``; sudo asks it for the same."""
PASSWORD: Final = "correct horse"
BUILD_TIMEOUT_S: Final = 900.0

_TOOLS: Final = ("systemd-nspawn", "debootstrap", "ip", "nsenter", "mount", "ssh", "ssh-keygen")

_CGROUP_UNIT: Final = """\
[Unit]
Description=Writable cgroup controllers, as a host of its own has them
DefaultDependencies=no
After=sysinit.target
Before=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cd /sys/fs/cgroup && for c in *; do \
if [ -e "$c/tasks" ]; then mount -o remount,bind,rw "/sys/fs/cgroup/$c"; fi; done'
[Install]
WantedBy=basic.target
"""

_SETUP: Final = f"""\
set -eu
useradd -m -s /bin/bash {USER}
useradd -m -s /bin/bash {PASSWORD_USER}
echo '{PASSWORD_USER}:{PASSWORD}' | chpasswd
printf '%s\\n' '{USER} ALL=(ALL) NOPASSWD:ALL' '{PASSWORD_USER} ALL=(ALL) ALL' > /etc/sudoers.d/e2e
chmod 0440 /etc/sudoers.d/e2e
systemctl mask systemd-resolved systemd-networkd systemd-firstboot systemd-remount-fs console-getty \
    getty@ container-getty@
systemctl enable writable-cgroups.service ssh.service
rm -f /etc/ssh/ssh_host_*
printf '%s\\n' 'PermitRootLogin prohibit-password' 'UseDNS no' > /etc/ssh/sshd_config.d/e2e.conf
: > /etc/machine-id
echo '# There is no resolver: names that /etc/hosts lacks fail at once.' > /etc/resolv.conf
rm -rf /var/cache/apt/*.bin /var/lib/apt/lists/*
"""

_SUDO_RS_SETUP: Final = """\
set -eu
ln -s /usr/lib/cargo/bin/sudo /usr/local/bin/sudo
printf '%s\\n' 'root ALL=(ALL:ALL) ALL' '@includedir /etc/sudoers.d' > /etc/sudoers
chmod 0440 /etc/sudoers
"""


def why_unavailable() -> str | None:
    """Why real hosts cannot be had on this machine; ``None`` where they can."""
    if os.geteuid() != 0:
        return "real hosts need root"
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if missing:
        return f"real hosts need {', '.join(missing)}"
    private = ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(private, capture_output=True, check=False, timeout=10).returncode != 0:
        return "real hosts need the right to mount and to make network namespaces"
    return None


def base_root() -> Path:
    """The shared root: from the cache, or made now (about a minute, 310 MB, from Debian's mirror).

    Raises ``RuntimeError`` with debootstrap's last words when it cannot be made.
    """
    return _kept("root", (PACKAGES, SUITE, _CGROUP_UNIT, _SETUP), _make_root)


def sudo_rs_root() -> Path:
    """The next Debian with the same users, where sudo is sudo-rs, as ``base_root`` makes its own."""
    recipe = (SUDO_RS_PACKAGES, SUDO_RS_SUITE, _CGROUP_UNIT, _SUDO_RS_SETUP, _SETUP)
    return _kept("sudo-rs", recipe, _make_sudo_rs_root)


def bare_root() -> Path:
    """A Debian with Python, make and git alone, as ``base_root`` makes its own (230 MB)."""
    return _kept("bare", (BARE_PACKAGES, SUITE), lambda root: _bootstrap(root, BARE_PACKAGES, SUITE))


def _kept(name: str, recipe: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ionetctl-e2e"
    root = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            partial = cache / f"{name}-{digest}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(root)
    return root


def _bootstrap(root: Path, packages: str, suite: str) -> None:
    argv = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(root)]
    output_of(argv, timeout_s=BUILD_TIMEOUT_S)


def _make_root(root: Path) -> None:
    _bootstrap(root, PACKAGES, SUITE)
    _set_up(root, _SETUP)


def _make_sudo_rs_root(root: Path) -> None:
    _bootstrap(root, SUDO_RS_PACKAGES, SUDO_RS_SUITE)
    _set_up(root, _SUDO_RS_SETUP + _SETUP)


def _set_up(root: Path, script: str) -> None:
    (root / "etc/systemd/system/writable-cgroups.service").write_text(_CGROUP_UNIT)
    output_of(["chroot", str(root), "sh", "-c", script], timeout_s=120)
