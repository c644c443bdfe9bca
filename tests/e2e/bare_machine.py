"""A machine that has Python, make and git alone: commands in a copy of the bare root, as root or as a plain user.

Its mounts and processes live in namespaces of the command that runs, so that nothing of them is left when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.base_root import bare_root
from tests.e2e.namespaces import output_of
from tests.support.programs import path_of

USER_ID: Final = 1000
CHECKOUT: Final = "/srv/checkout"
TIMEOUT_S: Final = 600.0

_SOURCE: Final = Path(__file__).parents[2]
_ENTER: Final = """\
set -eu
chroot=$1 root=$2
shift 2
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
exec "$chroot" "$root" "$@"
"""
_AS_USER: Final = (
    "setpriv",
    f"--reuid={USER_ID}",
    f"--regid={USER_ID}",
    "--clear-groups",
    "--bounding-set=-all",
)


@dataclass(frozen=True, slots=True)
class BareMachine:
    """The machine, with a clone of the working tree in ``CHECKOUT`` that belongs to the plain user."""

    root: Path
    pip: dict[str, str] = field(default_factory=dict)

    def run(
        self, command: str, *, as_root: bool, has_network: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the clone, and return it with its output, standard error among it."""
        private = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            *([] if has_network else ["--net"]),
        ]
        user = () if as_root else _AS_USER
        enter = ["sh", "-c", _ENTER, "sh", str(path_of("chroot")), str(self.root)]
        argv = [*private, *enter, *user, "sh", "-c", f"cd {CHECKOUT} && {command}"]
        folders = (
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin" if as_root else "/usr/local/bin:/usr/bin"
        )
        home = "/root" if as_root else "/home/clerk"
        environment = {"PATH": f"{folders}:/bin", "HOME": home, "LANG": "C.UTF-8", **self.pip}
        return subprocess.run(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )


def make_bare_machine(root: Path) -> BareMachine:
    """A machine whose files lie in ``root``, which does not exist yet; it reaches what this machine reaches."""
    output_of(["cp", "--archive", str(bare_root()), str(root)], timeout_s=120)
    output_of(["chroot", str(root), "useradd", "--create-home", f"--uid={USER_ID}", "clerk"])
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())
    _clone(root / CHECKOUT.lstrip("/"))
    return BareMachine(root, _lend_pip_settings(root))


def _clone(target: Path) -> None:
    """The working tree as it would be committed: with what is changed and new, without what git ignores."""
    listed = output_of(
        ["git", "-C", str(_SOURCE), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    )
    target.mkdir(parents=True)
    names = "\0".join(name for name in listed.split("\0") if name and os.path.lexists(_SOURCE / name))
    packed = subprocess.run(
        ["tar", "--null", "--files-from=-", "-cf", "-"],
        cwd=_SOURCE,
        input=names.encode(),
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    subprocess.run(["tar", "-xf", "-"], cwd=target, input=packed.stdout, timeout=60, check=True)
    output_of(["chown", "-R", f"{USER_ID}:{USER_ID}", str(target)])


def _lend_pip_settings(root: Path) -> dict[str, str]:
    """How pip finds packages here, as variables for the machine, and the files and folders that they name copied to it."""
    listed = output_of([sys.executable, "-m", "pip", "config", "list"])
    pairs = (line.partition("=")[::2] for line in listed.splitlines())
    settings = {key.rpartition(".")[2]: value.strip("'\"") for key, value in pairs}
    for path in {Path(word) for value in settings.values() for word in value.split() if word.startswith("/")}:
        if path.exists():
            output_of(["cp", "--recursive", "--dereference", "--parents", str(path), str(root)])
    return {f"PIP_{key.upper().replace('-', '_')}": value for key, value in settings.items()}
