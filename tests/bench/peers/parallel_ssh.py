"""parallel-ssh: a program with its client, which does one step on all hosts after the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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

_PROGRAM = """\
import json, sys
from gevent import joinall
from pssh.clients import ParallelSSHClient

task = json.load(open(sys.argv[1]))
client = ParallelSSHClient(
    task["hosts"], user=task["user"], port=task["port"], pkey=task["pkey"], pool_size=task["pool_size"]
)

def run(commands):
    for command in commands:
        output = client.run_command(command)
        client.join(output, consume_output=True)
        for host in output:
            assert host.exit_code == 0, (host.host, command, host.exit_code)

run(task["before"])
for source, targets in task["copies"]:
    arguments = [{"local_file": source, "remote_file": target} for target in targets]
    joinall(client.copy_file("%(local_file)s", "%(remote_file)s", copy_args=arguments), raise_error=True)
run(task["after"])
"""


def program(task: Task, build: Path) -> Invocation:
    """Every command and file in its turn, on all hosts at once."""
    document = {
        "hosts": [host.address for host in task.hosts],
        "user": task.site.user,
        "port": task.site.port,
        "pkey": str(task.site.identity),
        "pool_size": task.concurrency,
        "before": [*FACTS, MAKE_FOLDER],
        "copies": [
            (str(source), [str(host.tree / path) for host in task.hosts]) for source, path in task.copies
        ],
        "after": [*COMMANDS, RESTART, VERIFY],
    }
    settings = task.write("task.json", json.dumps(document))
    script = task.write("parallel_ssh_program.py", _PROGRAM)
    return Invocation([str(python_of(build)), str(script), str(settings)], {"HOME": str(task.directory)})
