"""pyinfra: an inventory and a deploy, by its command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.peers import COMMANDS, FACTS, MAKE_FOLDER, RESTART, VERIFY, Invocation, Task

if TYPE_CHECKING:
    from pathlib import Path

_DEPLOY = """\
from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import files, server

for command in {facts!r}:
    host.get_fact(Command, command)
server.shell(commands=[{make_folder!r}])
for source, path in {copies!r}:
    files.put(src=source, dest=f"{{host.data.root}}/{{path}}")
for command in {commands!r}:
    server.shell(commands=[command])
"""


def deploy(task: Task, build: Path) -> Invocation:
    """Three facts, five files, eight commands."""
    settings = {
        "ssh_user": task.site.user,
        "ssh_port": task.site.port,
        "ssh_key": str(task.site.identity),
        "ssh_known_hosts_file": str(task.site.known_hosts),
    }
    hosts = [(host.address, {**settings, "root": str(host.tree)}) for host in task.hosts]
    inventory = task.write("inventory.py", f"hosts = {hosts!r}\n")
    copies = [(str(source), path) for source, path in task.copies]
    text = _DEPLOY.format(
        facts=FACTS, make_folder=MAKE_FOLDER, copies=copies, commands=(*COMMANDS, RESTART, VERIFY)
    )
    script = task.write("deploy.py", text)
    program = str(build / "peers/bin/pyinfra")
    command = [program, "-y", "--parallel", str(task.concurrency), str(inventory), str(script)]
    return Invocation(command, {"HOME": str(task.directory), "LANG": "C.UTF-8"})
