"""pdsh with scp, and ClusterShell's clush: OpenSSH's client for every host and command, over connections that are kept."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from tests.bench.peers import COMMANDS, FACTS, MAKE_FOLDER, RESTART, VERIFY, Invocation, Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pdsh(task: Task, build: Path) -> Invocation:
    """Commands by pdsh, files by one scp a host and file. scp's old protocol, so that the host expands the path."""
    del build
    config = task.ssh_config()
    hosts = ",".join(host.address for host in task.hosts)
    listed = task.write("hosts", "".join(f"{host.address}\n" for host in task.hosts))

    def run(command: str) -> str:
        return f"pdsh -S -R ssh -f {task.concurrency} -w {hosts} {shlex.quote(command)}"

    def copy(source: Path, path: str) -> str:
        scp = f"scp -O -q -F {config} {source} '{{}}:$IONET_ROOT/{path}'"
        return f"xargs -a {listed} -P {task.concurrency} -I {{}} {scp}"

    environ = {"PDSH_SSH_ARGS_APPEND": f"-F {config}", "HOME": str(task.directory)}
    return Invocation(["sh", str(_script(task, run, copy))], environ)


def clush(task: Task, build: Path) -> Invocation:
    """Both by clush."""
    del build
    config = task.ssh_config()
    hosts = ",".join(host.address for host in task.hosts)
    settings = f"[Main]\nfanout: {task.concurrency}\nssh_options: -F {config}\nscp_options: -O -F {config}\n"
    task.write("clush.conf", settings)

    def run(command: str) -> str:
        return f"clush -S -q -w {hosts} {shlex.quote(command)} </dev/null"

    def copy(source: Path, path: str) -> str:
        return f"clush -S -q -w {hosts} --copy {source} --dest '$IONET_ROOT/{path}' </dev/null"

    environ = {"CLUSTERSHELL_CFGDIR": str(task.directory), "HOME": str(task.directory)}
    return Invocation(["sh", str(_script(task, run, copy))], {**environ, "PATH": os.environ["PATH"]})


def _script(task: Task, run: Callable[[str], str], copy: Callable[[Path, str], str]) -> Path:
    lines = [
        "set -eu",
        *map(run, (*FACTS, MAKE_FOLDER)),
        *(copy(source, path) for source, path in task.copies),
        *map(run, (*COMMANDS, RESTART, VERIFY)),
    ]
    return task.write("work.sh", "\n".join(lines) + "\n")
