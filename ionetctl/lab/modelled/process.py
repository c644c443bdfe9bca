"""The process of up to some thousand modelled hosts: ``python -m ionetctl.lab.modelled.process DIR NAME``.

Reads its plan ``run/NAME.json`` below the rehearsal's directory and serves until it is ended. It has no connection to the
region's process other than the agents' own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncssh

from ionetctl.lab.host.process import raise_file_limit
from ionetctl.lab.host.ssh_server import HostPlan, LabHost
from ionetctl.lab.modelled.listener import Listener
from ionetctl.lab.modelled.modelled_host import HostKind, ModelledHost
from ionetctl.lab.modelled.payload_reader import ProgramCache
from ionetctl.lab.modelled.shared_heartbeats import Heartbeats
from ionetctl.lab.modelled.template_host import TemplateHost
from ionetctl.lab.paths import LabPaths
from ionetctl.lab.processes import stop_on_signals, write_ready

if TYPE_CHECKING:
    from ionetctl.lab.json_object import JsonObject

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a new directory of our own in it
"""Where file trees that exist for a moment cost least."""


async def serve(directory: Path, name: str, stop: asyncio.Event) -> None:
    """Serve the hosts of plan ``name`` until ``stop`` is set."""
    paths = LabPaths(directory)
    plan = json.loads(paths.plan(name).read_text())
    trees = Path(tempfile.mkdtemp(prefix="ionet-lab-", dir=_MEMORY if _MEMORY.is_dir() else None))
    heartbeats = Heartbeats()
    templates = {each["name"]: _template(paths, each) for each in plan["templates"]}
    programs = ProgramCache(next(iter(templates.values())).host.environment())
    kinds = {each: HostKind(template, programs, heartbeats, trees) for each, template in templates.items()}
    hosts = [
        ModelledHost(
            host["name"], host["address"], host["host_key"], "".join(host["faults"]), kinds[host["template"]]
        )
        for host in plan["hosts"]
    ]
    listener = Listener(
        {host.address: host for host in hosts}, asyncssh.import_public_key(plan["client_key"])
    )
    beating = asyncio.create_task(heartbeats.run())
    try:
        ports = listener.open()
        gc.collect()
        gc.freeze()  # the hosts' objects live as long as the process: no collection needs to visit them
        write_ready(paths.ready(name), {"ports": ports})
        await stop.wait()
    finally:
        beating.cancel()
        closing = [host.close() for host in hosts] + [
            template.host.close() for template in templates.values()
        ]
        await asyncio.gather(listener.close(), beating, *closing, return_exceptions=True)
        shutil.rmtree(trees, ignore_errors=True)


def _template(paths: LabPaths, template: JsonObject) -> TemplateHost:
    plan = HostPlan(template["name"], template["address"], 0, "", "", tuple(template["faults"]))
    host = LabHost(plan, paths)
    host.open_programs()
    return TemplateHost(host, template["model"])


async def until_signalled(directory: Path, name: str) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    await serve(directory, name, stop_on_signals())


if __name__ == "__main__":
    raise_file_limit()
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    asyncio.run(until_signalled(Path(sys.argv[1]), sys.argv[2]))
