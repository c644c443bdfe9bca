"""The hosts' process: ``python -m ionetctl.lab.hosts_process DIR NAME``. It is a few hundred hosts until it is ended.

It reads its plan from the rehearsal's directory, opens every host, and says so in its ready file. Commands run as its
children; the hosts' agents are tasks of it. It does not know the region.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ionetctl.lab.host.ssh_server import HostPlan, LabHost
from ionetctl.lab.places import Places
from ionetctl.lab.region.process import publish

if TYPE_CHECKING:
    from ionetctl.lab.documents import Document


def read_plans(document: Document) -> list[HostPlan]:
    """The plans of the hosts that one process is to be."""
    common = {"port": document["port"], "client_key": document["client_key"]}
    return [HostPlan(**common, **{**host, "faults": tuple(host["faults"])}) for host in document["hosts"]]


async def serve(directory: Path, name: str, stop: asyncio.Event) -> None:
    """Be the hosts of plan ``name`` until ``stop`` is set."""
    places = Places(directory)
    plans = read_plans(json.loads(places.plan(name).read_text()))
    hosts = [LabHost(plan, places) for plan in plans]
    opened: list[LabHost] = []
    try:
        for host in hosts:
            opened.append(host)
            await host.open()
        gc.collect()
        gc.freeze()  # what a host is made of lives as long as the process
        publish(places.ready(name), {"hosts": len(hosts)})
        await stop.wait()
    finally:
        await asyncio.gather(*(host.close() for host in opened), return_exceptions=True)


def raise_file_limit() -> None:
    """As many open files as the system lets us have: a host needs three at rest, a few more at work."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def until_signalled(directory: Path, name: str) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(directory, name, stop)


if __name__ == "__main__":
    raise_file_limit()
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    asyncio.run(until_signalled(Path(sys.argv[1]), sys.argv[2]))
