"""The process of up to a few hundred hosts: ``python -m ionetctl.lab.host.process DIR NAME``. Serves until it is ended.

Reads its plan ``run/NAME.json`` below the rehearsal's directory, starts every host and then writes its ready file.
Commands are its child processes; the hosts' Nomad agents are asyncio tasks. It has no connection to the region's process
other than the agents' own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ionetctl.lab.host.ssh_server import HostPlan, LabHost
from ionetctl.lab.paths import LabPaths
from ionetctl.lab.processes import stop_on_signals, write_ready

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject


def read_plans(document: JsonObject) -> list[HostPlan]:
    """The plans of the hosts that one process serves."""
    common = {"port": document["port"], "client_key": document["client_key"]}
    return [HostPlan(**common, **{**host, "faults": tuple(host["faults"])}) for host in document["hosts"]]


async def serve(directory: Path, name: str, stop: asyncio.Event) -> None:
    """Serve the hosts of plan ``name`` until ``stop`` is set."""
    paths = LabPaths(directory)
    plans = read_plans(json.loads(paths.plan(name).read_text()))
    hosts = [LabHost(plan, paths) for plan in plans]
    opened: list[LabHost] = []
    try:
        for host in hosts:
            opened.append(host)
            await host.open()
        gc.collect()
        gc.freeze()  # the hosts' objects live as long as the process: no collection needs to visit them
        write_ready(paths.ready(name), {"hosts": len(hosts)})
        await stop.wait()
    finally:
        await asyncio.gather(*(host.close() for host in opened), return_exceptions=True)


def raise_file_limit() -> None:
    """Raise this process's limit of open files to the hard limit: an idle host needs three, a busy one a few more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def until_signalled(directory: Path, name: str) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    await serve(directory, name, stop_on_signals())


if __name__ == "__main__":
    raise_file_limit()
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    asyncio.run(until_signalled(Path(sys.argv[1]), sys.argv[2]))
