"""ansible-core, as it comes but for what its users set for speed, and the same with mitogen's strategy."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import yaml

from tests.bench.peers import (
    COMMANDS,
    FACTS,
    MAKE_FOLDER,
    RESTART,
    VERIFY,
    Invocation,
    Task,
    python_of,
)

if TYPE_CHECKING:
    from pathlib import Path


def plain(task: Task, build: Path) -> Invocation:
    """Pipelining, one kept connection a host, no gathering of facts."""
    return _invocation(task, build, "")


def with_mitogen(task: Task, build: Path) -> Invocation:
    """The same by mitogen's linear strategy."""
    where = "import ansible_mitogen; print(ansible_mitogen.__path__[0])"
    shown = subprocess.run([python_of(build), "-c", where], capture_output=True, text=True, check=True)
    strategy = f"strategy_plugins = {shown.stdout.strip()}/plugins/strategy\nstrategy = mitogen_linear\n"
    return _invocation(task, build, strategy)


def _invocation(task: Task, build: Path, strategy: str) -> Invocation:
    settings = (
        f"[defaults]\nforks = {task.concurrency}\ninterpreter_python = /usr/bin/python3\n"
        f"local_tmp = {task.directory}/tmp\n{strategy}"
        f"[ssh_connection]\npipelining = True\nssh_args = -F {task.ssh_config()}\n"
    )
    common = (
        f"ansible_user={task.site.user} ansible_port={task.site.port} "
        f"ansible_ssh_private_key_file={task.site.identity} "
        f"ansible_ssh_common_args='-F {task.ssh_config()}'"
    )
    hosts = "".join(f"{host.address} root={host.tree} {common}\n" for host in task.hosts)
    inventory = task.write("hosts.ini", f"[all]\n{hosts}")
    playbook = task.write("playbook.yaml", yaml.safe_dump(_playbook(task), sort_keys=False))
    config = task.write("ansible.cfg", settings)
    command = [str(build / "peers/bin/ansible-playbook"), "-i", str(inventory), str(playbook)]
    environ = {"ANSIBLE_CONFIG": str(config), "HOME": str(task.directory), "LANG": "C.UTF-8"}
    return Invocation(command, environ)


def _playbook(task: Task) -> list[object]:
    copies = [
        {"copy": {"src": str(source), "dest": f"{{{{ root }}}}/{path}"}} for source, path in task.copies
    ]
    tasks = [
        *map(_shell, FACTS),
        _shell(MAKE_FOLDER),
        *copies,
        *map(_shell, COMMANDS),
        _shell(RESTART),
        _shell(VERIFY),
    ]
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks}]


def _shell(command: str) -> dict[str, object]:
    return {"shell": command}
